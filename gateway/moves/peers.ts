import { STAT_STALE_MS, Stat } from '@pushcluster/protocol/control.ts';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';

/** Other gateways that are remembered. Further ones are ignored. */
const MAX_PEERS = 10_000;

export type PeersOptions = {
  /** The name of this gateway: its own reports are ignored. */
  gateway: string;
  bus: Bus;
  subjects: Subjects;
  /** The clock of the Rebalancer, which compares `changedAt` with it. */
  clock: Pick<Clock, 'now'>;
  /** Called for a report that could not be parsed. */
  ignored: () => void;
  /** Called when another gateway begins or ends to move its surplus. */
  rebalancing: () => void;
  maxPeers?: number;
};

/** Another gateway, by its last report. */
export type Peer = Pick<Stat, 'gateway' | 'draining' | 'rebalancing' | 'template'> & {
  /** Connections that it has not asked to move. */
  unasked: number;
};

/**
 * The other gateways, from their own reports. A silent one is forgotten, but not while the bus is disconnected: nobody can
 * report then, and a draining gateway still drains.
 */
export class Peers {
  readonly #options: PeersOptions;
  readonly #known = new Map<string, { peer: Peer; at: number }>();
  readonly #close: () => void;
  #changedAt: number;

  constructor(options: PeersOptions) {
    this.#options = options;
    const { bus, subjects, clock } = options;
    this.#changedAt = clock.now();
    const subscription = bus.subscribe(subjects.everyStat, (bytes) => this.#receive(bytes));
    const off = bus.onEvent(({ type }) => {
      if (type !== 'connected') return;
      this.#changedAt = clock.now();
      for (const known of this.#known.values()) known.at = clock.now();
    });
    this.#close = () => {
      subscription.unsubscribe();
      off();
    };
  }

  /** Those that reported lately. */
  get all(): Peer[] {
    this.#forget();
    return Array.from(this.#known.values(), ({ peer }) => peer);
  }

  /** How many drain and have connections left to ask: they share the rate of a drain. */
  get draining(): number {
    return this.all.filter(({ draining, unasked }) => draining && unasked > 0).length;
  }

  /** When one of them last appeared, disappeared, began or ended to drain, or the bus reconnected. */
  get changedAt(): number {
    this.#forget();
    return this.#changedAt;
  }

  close(): void {
    this.#close();
    this.#known.clear();
  }

  #receive(bytes: Uint8Array) {
    const { gateway, clock, ignored, maxPeers = MAX_PEERS } = this.#options;
    const stat = parseJson(bytes, Stat);
    if (!stat) {
      ignored();
      return;
    }
    if (stat.gateway === gateway) return;
    const before = this.#known.get(stat.gateway)?.peer;
    if (stat.leaving) {
      if (this.#known.delete(stat.gateway)) this.#changedAt = clock.now();
      return;
    }
    if (!before) {
      this.#forget();
      if (this.#known.size >= maxPeers) return;
    }
    const { draining, rebalancing, template, connections } = stat;
    const peer = { gateway: stat.gateway, draining, rebalancing, template, unasked: stat.unasked ?? connections };
    if (before?.draining !== draining || before.template !== template) this.#changedAt = clock.now();
    this.#known.set(stat.gateway, { peer, at: clock.now() });
    if ((before?.rebalancing ?? false) !== peer.rebalancing) this.#options.rebalancing();
  }

  #forget() {
    const { bus, clock } = this.#options;
    if (!bus.connected) return;
    const since = clock.now() - STAT_STALE_MS;
    for (const [gateway, { at }] of this.#known) {
      if (at >= since) continue;
      this.#known.delete(gateway);
      this.#changedAt = clock.now();
    }
  }
}
