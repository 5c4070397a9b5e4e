import type { Client } from '../kube/client.ts';
import { isKubeError } from '../kube/errors.ts';
import type { EventInput, EventRecorder } from '../kube/eventRecorder.ts';
import { KINDS, type KubeObject } from '../kube/objects.ts';
import type { Entry } from './nodeRecord.ts';
import type { Outcome } from './tuner.ts';

const PREFIX = 'node-tuning.pushcluster.dev';
/** Annotation: `namespace/name` of the DaemonSet that tunes the node. */
export const OWNER = `${PREFIX}/owner`;
/** Annotation: JSON of the changed settings, with original and new value, by name. */
export const CHANGED = `${PREFIX}/changed`;
/** Annotation: JSON of the settings that were not changed, and why, by name. */
export const SKIPPED = `${PREFIX}/skipped`;

/** Maximum number of settings in an Event: a node may have many queues. */
const MAX_NAMED = 12;

const CLAIM_ATTEMPTS = 5;

/** Another DaemonSet tunes the node. */
export class NotOurs extends Error {
  override readonly name = 'NotOurs';
}

/** Reports the tuning of a node in its annotations and Events. */
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

  /** Claims the node before any setting is changed. If two do so at the same time, one succeeds. @throws NotOurs */
  async claim(): Promise<void> {
    for (let left = CLAIM_ATTEMPTS - 1; ; left--) {
      try {
        return await this.#tryToClaim();
      } catch (error) {
        // The kubelet updates the node frequently: retry conflicts.
        if (left === 0 || !isKubeError(error, 'conflict')) throw error;
      }
    }
  }

  /** Updates the annotations if they have changed. */
  async say(entries: readonly Entry[], { skipped, left, failed }: Outcome): Promise<void> {
    const changed = Object.fromEntries(entries.map(({ name, from, to }) => [name, { from, to }]));
    const reasons = Object.fromEntries([...skipped, ...left, ...failed].map(({ name, reason }) => [name, reason]));
    const wanted = { [CHANGED]: JSON.stringify(changed), [SKIPPED]: JSON.stringify(reasons) };
    const { annotations = {} } = (await this.#node()).metadata;
    if (Object.entries(wanted).every(([key, value]) => annotations[key] === value)) return;
    await this.#annotate(wanted);
  }

  /** Removes the annotations, unless another DaemonSet has claimed the node. */
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
        `node ${this.#name} is tuned by DaemonSet ${owner}: nothing was changed. Delete that DaemonSet. If it no longer exists, run kubectl annotate node ${this.#name} ${OWNER}-`,
      );
    // A conflict if the node has changed, possibly by another claim.
    const { resourceVersion } = node.metadata;
    await this.#annotate({ [OWNER]: this.#owner }, resourceVersion);
  }

  async #annotate(annotations: Record<string, string | null>, resourceVersion?: string): Promise<void> {
    const version = resourceVersion === undefined ? {} : { resourceVersion };
    await this.#client.patch(this.#ref(), { metadata: { ...version, annotations } });
  }

  async #node(): Promise<KubeObject> {
    const node = await this.#client.get(this.#ref());
    if (node === undefined) throw new Error(`node ${this.#name} does not exist`);
    return node;
  }

  #ref() {
    const { apiVersion, kind } = KINDS.nodes;
    return { apiVersion, kind, metadata: { name: this.#name } };
  }
}

/** The Events of an outcome; none if nothing was done and nothing failed. */
export function eventsOf({ changed, restored, left, failed }: Outcome): EventInput[] {
  const action = 'Tune';
  const changes = (all: Outcome['changed']) => listed(all.map(({ name, from, to }) => `${name} from ${from} to ${to}`));
  const reasons = (all: Outcome['failed']) => listed(all.map(({ name, reason }) => `${name}: ${reason}`));
  return [
    ...(changed.length > 0
      ? [{ type: 'Normal' as const, reason: 'NodeTuned', action, note: `Set ${changes(changed)}` }]
      : []),
    ...(restored.length > 0
      ? [{ type: 'Normal' as const, reason: 'NodeRestored', action, note: `Restored ${changes(restored)}` }]
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
