import type { MeasuredHistoryStore, StreamUsage } from '@pushcluster/runtime/history/historyStore.ts';
import { Gauge, type Registry } from 'prom-client';

const FIGURES: readonly { name: string; help: string; of: (usage: StreamUsage) => number | undefined }[] = [
  { name: 'messages', help: 'Messages in the histories of rooms, by policy.', of: ({ pushes }) => pushes },
  { name: 'bytes', help: 'Bytes of the histories of rooms in one copy, by policy.', of: ({ bytes }) => bytes },
  {
    name: 'oldest_timestamp_seconds',
    help: 'Unix time at which the oldest message in the histories of rooms was stored, by policy.',
    of: ({ oldestAt }) => oldestAt && oldestAt / 1_000,
  },
];

/**
 * Exports how much is in the streams. The store is asked at each scrape, once for each policy; there is no sample of one that
 * does not answer.
 * @param matches `rooms[].match` of the policies that have a history
 */
export function exportStreams(
  registry: Registry,
  store: Pick<MeasuredHistoryStore, 'usage'>,
  matches: () => readonly string[],
): void {
  let asked: Promise<readonly [match: string, usage: StreamUsage][]> | undefined;
  const ask = () => {
    // All figures of a scrape are of one answer.
    asked ??= usages(store, matches()).finally(() => {
      asked = undefined;
    });
    return asked;
  };
  for (const { name, help, of } of FIGURES)
    new Gauge({
      name: `pushcluster_logic_history_${name}`,
      help,
      labelNames: ['match'],
      registers: [registry],
      async collect() {
        const all = await ask();
        this.reset();
        for (const [match, usage] of all) {
          const value = of(usage);
          if (value !== undefined) this.set({ match }, value);
        }
      },
    });
}

async function usages(store: Pick<MeasuredHistoryStore, 'usage'>, matches: readonly string[]) {
  const settled = await Promise.allSettled(matches.map((match) => store.usage(match)));
  return settled.flatMap((each, i): [string, StreamUsage][] =>
    each.status === 'fulfilled' ? [[matches[i]!, each.value]] : [],
  );
}
