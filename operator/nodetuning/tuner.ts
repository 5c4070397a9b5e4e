import { type Host, NotApplicable } from './host.ts';
import type { Entry, NodeRecord } from './nodeRecord.ts';
import type { Plan, Planned, Skipped } from './plan.ts';

export type Change = { name: string; from: string; to: string };

/** What was changed and what was not, and why. Settings that had their desired value already are not included. */
export type Outcome = {
  changed: Change[];
  restored: Change[];
  /** Settings that the node does not have, which is no failure. */
  skipped: Skipped[];
  /** Settings that somebody else has changed, and that are not restored. */
  left: Skipped[];
  failed: Skipped[];
};

/** Applies a plan, and restores settings that it no longer contains. A failure does not affect other settings. */
export async function apply({ planned, skipped }: Plan, host: Host, record: NodeRecord): Promise<Outcome> {
  const outcome: Outcome = { changed: [], restored: [], skipped: [...skipped], left: [], failed: [] };
  const names = new Set(planned.map(({ name }) => name));
  const unasked = record.entries.filter(({ name }) => !names.has(name));
  for (const entry of unasked.reverse()) await putBack(entry, host, record, outcome);
  for (const one of planned) await telling(outcome, one.name, () => set(one, host, record, outcome));
  return outcome;
}

/** Restores all settings, in reverse order. */
export async function restore(host: Host, record: NodeRecord): Promise<Outcome> {
  const outcome: Outcome = { changed: [], restored: [], skipped: [], left: [], failed: [] };
  for (const entry of [...record.entries].reverse()) await putBack(entry, host, record, outcome);
  return outcome;
}

async function set({ name, wanted }: Planned, host: Host, record: NodeRecord, outcome: Outcome): Promise<void> {
  const before = await host.read(name);
  const former = record.get(name);
  // A value that somebody else has set meanwhile becomes the original value.
  const own = former !== undefined && before === former.to ? former.from : before;
  const asked = wanted(own);
  if (former !== undefined && before === former.to && asked === former.asked) return;
  if (asked === own) {
    if (former !== undefined) await putBack(former, host, record, outcome);
    return;
  }
  await record.put({ name, from: own, asked, to: asked });
  try {
    await host.write(name, asked);
  } catch (error) {
    await record.drop(name);
    // The kernel rejected the new value. The previous change remains, and its original value is still needed.
    if (former !== undefined && before === former.to) await record.put(former);
    throw error;
  }
  const to = await host.read(name);
  if (to === own) {
    await record.drop(name);
    throw new Error(`the kernel kept ${own} instead of ${asked}`);
  }
  // The kernel rounds some values.
  if (to !== asked) await record.put({ name, from: own, asked, to });
  outcome.changed.push({ name, from: before, to });
}

async function putBack(entry: Entry, host: Host, record: NodeRecord, outcome: Outcome): Promise<void> {
  const { name, from, asked, to } = entry;
  await telling(outcome, name, async () => {
    let now: string;
    try {
      now = await host.read(name);
    } catch (error) {
      // The settings of a removed interface are lost with it.
      if (error instanceof NotApplicable) await record.drop(name);
      throw error;
    }
    if (now === to || now === asked) {
      await host.write(name, from);
      outcome.restored.push({ name, from: now, to: await host.read(name) });
    } else if (now !== from) {
      outcome.left.push({ name, reason: `changed to ${now} by somebody else: not restored` });
    }
    await record.drop(name);
  });
}

async function telling(outcome: Outcome, name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const list = error instanceof NotApplicable ? outcome.skipped : outcome.failed;
    list.push({ name, reason: error instanceof Error ? error.message : String(error) });
  }
}
