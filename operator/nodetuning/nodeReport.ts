import type { Client } from '../kube/client.ts';
import { isKubeError } from '../kube/errors.ts';
import type { EventInput, EventRecorder } from '../kube/eventRecorder.ts';
import { KINDS, type KubeObject } from '../kube/objects.ts';
import type { Entry } from './nodeRecord.ts';
import type { Outcome } from './tuner.ts';

const PREFIX = 'node-tuning.pushcluster.dev';
/** `namespace/name` of the DaemonSet that may tune the node. */
export const OWNER = `${PREFIX}/owner`;
/** JSON: what is set, from what to what, by name. */
export const CHANGED = `${PREFIX}/changed`;
/** JSON: what the node doesn't have or keeps, and why, by name. */
export const SKIPPED = `${PREFIX}/skipped`;

/** So many things an event names of a node with many queues. */
const MAX_NAMED = 12;

const CLAIM_ATTEMPTS = 5;

/** The node is somebody else's to tune. */
export class NotOurs extends Error {
  override readonly name = 'NotOurs';
}

/** What a node's object says about its tuning: annotations, and events. */
export class NodeReport {
  readonly #client: Client;
  readonly #recorder: EventRecorder;
  readonly #name: string;
  readonly #owner: string;

  constructor(client: Client, recorder: EventRecorder, { node, owner }: { node: string; owner: string }) {
    this.#client = client;
    this.#recorder = recorder;
    this.#name = node;
    this.#owner = owner;
  }

  /** Marks the node as ours before anything is set. Throws NotOurs where it is marked already; of two at once one wins. */
  async claim(): Promise<void> {
    for (let left = CLAIM_ATTEMPTS - 1; ; left--) {
      try {
        return await this.#tryToClaim();
      } catch (error) {
        // Its kubelet writes to it all the time.
        if (left === 0 || !isKubeError(error, 'conflict')) throw error;
      }
    }
  }

  /** Says on the node what is set, and what was not and why. Writes nothing where it says so already. */
  async say(entries: readonly Entry[], { skipped, left, failed }: Outcome): Promise<void> {
    const changed = Object.fromEntries(entries.map(({ name, from, to }) => [name, { from, to }]));
    const reasons = Object.fromEntries([...skipped, ...left, ...failed].map(({ name, reason }) => [name, reason]));
    const wanted = { [CHANGED]: JSON.stringify(changed), [SKIPPED]: JSON.stringify(reasons) };
    const { annotations = {} } = (await this.#node()).metadata;
    if (Object.entries(wanted).every(([key, value]) => annotations[key] === value)) return;
    await this.#annotate(wanted);
  }

  /** Takes all of it off the node again; nothing where another's mark is there. */
  async release(): Promise<void> {
    if ((await this.#node()).metadata.annotations?.[OWNER] !== this.#owner) return;
    await this.#annotate({ [OWNER]: null, [CHANGED]: null, [SKIPPED]: null });
  }

  async event(event: EventInput): Promise<void> {
    this.#recorder.record(await this.#node(), event);
    await this.#recorder.flush();
  }

  async #tryToClaim(): Promise<void> {
    const node = await this.#node();
    const owner = node.metadata.annotations?.[OWNER];
    if (owner === this.#owner) return;
    if (owner !== undefined)
      throw new NotOurs(
        `node ${this.#name} is tuned by DaemonSet ${owner}: nothing was changed. Remove that one; where it is gone already: kubectl annotate node ${this.#name} ${OWNER}-`,
      );
    // A conflict where the node has changed since, perhaps by another's mark.
    const { resourceVersion } = node.metadata;
    await this.#annotate({ [OWNER]: this.#owner }, resourceVersion);
  }

  async #annotate(annotations: Record<string, string | null>, resourceVersion?: string): Promise<void> {
    const version = resourceVersion === undefined ? {} : { resourceVersion };
    await this.#client.patch(this.#ref(), { metadata: { ...version, annotations } });
  }

  async #node(): Promise<KubeObject> {
    const node = await this.#client.get(this.#ref());
    if (node === undefined) throw new Error(`there is no node ${this.#name}`);
    return node;
  }

  #ref() {
    const { apiVersion, kind } = KINDS.nodes;
    return { apiVersion, kind, metadata: { name: this.#name } };
  }
}

/** The events that an outcome deserves: none where nothing was done and nothing failed. */
export function eventsOf({ changed, restored, left, failed }: Outcome): EventInput[] {
  const action = 'Tune';
  const changes = (all: Outcome['changed']) => listed(all.map(({ name, from, to }) => `${name} from ${from} to ${to}`));
  const reasons = (all: Outcome['failed']) => listed(all.map(({ name, reason }) => `${name}: ${reason}`));
  return [
    ...(changed.length > 0
      ? [{ type: 'Normal' as const, reason: 'NodeTuned', action, note: `Set ${changes(changed)}` }]
      : []),
    ...(restored.length > 0
      ? [{ type: 'Normal' as const, reason: 'NodeRestored', action, note: `Put back ${changes(restored)}` }]
      : []),
    ...(left.length > 0 ? [{ type: 'Warning' as const, reason: 'NodeTuningLeft', action, note: reasons(left) }] : []),
    ...(failed.length > 0
      ? [{ type: 'Warning' as const, reason: 'NodeTuningFailed', action, note: reasons(failed) }]
      : []),
  ];
}

function listed(texts: readonly string[]): string {
  const more = texts.length - MAX_NAMED;
  return texts.slice(0, MAX_NAMED).join('; ') + (more > 0 ? `; and ${more} more` : '');
}
