import { STAT_STALE_MS, Stat } from '@pushcluster/protocol/control.ts';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';

/** Gateways remembered; more are not heard. */
const MAX_PEERS = 10_000;

export type PeersOptions = {
  /** The name of this gateway: what it says itself is not heard. */
  gateway: string;
  bus: Bus;
  subjects: Subjects;
  /** Milliseconds of a clock that never goes back. */
  now: () => number;
  /** Called for a report that was not understood. */
  ignored: () => void;
  /** Called when one began to move its surplus, or has ended to. */
  rebalancing: () => void;
  maxPeers?: number;
};

/** Another gateway, as it last said. */
export type Peer = Pick<Stat, 'gateway' | 'draining' | 'rebalancing' | 'template'> & {
  /** Connections that it has not asked to move. */
  unasked: number;
};

/**
 * The other gateways: they report themselves. One that is silent is forgotten, but not while the bus is away: then
 * nobody can be heard, and those who drain still do.
 */
export class Peers {
  readonly #options: PeersOptions;
  readonly #heard = new Map<string, { peer: Peer; at: number }>();
  readonly #close: () => void;
  #changedAt: number;

  constructor(options: PeersOptions) {
    this.#options = options;
    const { bus, subjects, now } = options;
    this.#changedAt = now();
    const subscription = bus.subscribe(subjects.everyStat, (bytes) => this.#hear(bytes));
    const off = bus.onEvent(({ type }) => {
      if (type !== 'connected') return;
      this.#changedAt = now();
      for (const known of this.#heard.values()) known.at = now();
    });
    this.#close = () => {
      subscription.unsubscribe();
      off();
    };
  }

  /** Those heard lately. */
  get all(): Peer[] {
    this.#forget();
    return Array.from(this.#heard.values(), ({ peer }) => peer);
  }

  /** How many move their connections away since they leave: of those the pace of a drain is shared with. */
  get draining(): number {
    return this.all.filter(({ draining, unasked }) => draining && unasked > 0).length;
  }

  /** When one of them came, went, began or ceased to drain; or the bus came back. */
  get changedAt(): number {
    this.#forget();
    return this.#changedAt;
  }

  close(): void {
    this.#close();
    this.#heard.clear();
  }

  #hear(bytes: Uint8Array) {
    const { gateway, now, ignored, maxPeers = MAX_PEERS } = this.#options;
    const stat = parseJson(bytes, Stat);
    if (!stat) {
      ignored();
      return;
    }
    if (stat.gateway === gateway) return;
    const before = this.#heard.get(stat.gateway)?.peer;
    if (stat.leaving) {
      if (this.#heard.delete(stat.gateway)) this.#changedAt = now();
      return;
    }
    if (!before) {
      this.#forget();
      if (this.#heard.size >= maxPeers) return;
    }
    const { draining, rebalancing, template, connections } = stat;
    const peer = { gateway: stat.gateway, draining, rebalancing, template, unasked: stat.unasked ?? connections };
    if (before?.draining !== draining || before.template !== template) this.#changedAt = now();
    this.#heard.set(stat.gateway, { peer, at: now() });
    if ((before?.rebalancing ?? false) !== peer.rebalancing) this.#options.rebalancing();
  }

  #forget() {
    const { bus, now } = this.#options;
    if (!bus.connected) return;
    const since = now() - STAT_STALE_MS;
    for (const [gateway, { at }] of this.#heard) {
      if (at >= since) continue;
      this.#heard.delete(gateway);
      this.#changedAt = now();
    }
  }
}
