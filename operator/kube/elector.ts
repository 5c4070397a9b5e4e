import { type Clock, pause, systemClock } from '@pushcluster/runtime/clock.ts';
import type { Client } from './client.ts';
import { isKubeError, KubeError } from './errors.ts';
import {
  held,
  isFree,
  LEASE_TIMES,
  type Lease,
  type LeaseTimes,
  leadsUntil,
  leaseOf,
  newLease,
  released,
  type Sighting,
  sighted,
} from './lease.ts';
import { KINDS } from './objects.ts';

/** A write was about to be made by a process that isn't the leader (any more). */
export class NotLeading extends Error {
  override readonly name = 'NotLeading';
}

export type ElectorOptions = {
  client: Client;
  name: string;
  namespace: string;
  /** Of this process, and of no other ever: a pod's name and something random. */
  identity: string;
  times?: LeaseTimes;
  clock?: Clock;
  random?: () => number;
  /** Called when asking for the lease failed. */
  onTrouble?: (error: unknown) => void;
};

/**
 * Wants to be the leader, is it, and then isn't any more: a process leads at most once, and ends afterwards.
 * Two never lead at once, as far as clocks run at about the same speed: a leader stops writing 5 s before its lease ends.
 */
export class Elector {
  readonly identity: string;
  readonly #options: ElectorOptions;
  readonly #client: Client;
  readonly #times: LeaseTimes;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #ending = new AbortController();
  readonly #elected = Promise.withResolvers<boolean>();
  readonly #ended = Promise.withResolvers<'released' | 'lost'>();
  #state: 'standby' | 'leading' | 'ended' = 'standby';
  #leadsUntil = Number.NEGATIVE_INFINITY;
  #lease: Lease | undefined;
  #sighting: Sighting | undefined;
  #running: Promise<void> | undefined;
  #activeAt: number;

  constructor(options: ElectorOptions) {
    this.identity = options.identity;
    this.#options = options;
    this.#client = options.client;
    this.#times = options.times ?? LEASE_TIMES;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#activeAt = this.#clock.now();
  }

  start(): void {
    this.#running ??= this.#run();
  }

  get isLeading(): boolean {
    return this.#state === 'leading' && this.#clock.now() < this.#leadsUntil;
  }

  /** Milliseconds since it last looked after the lease: some seconds, whether the API server answers or not. */
  get idleFor(): number {
    return this.#clock.now() - this.#activeAt;
  }

  /** Who was seen to hold the lease last; empty where nobody did. */
  get holder(): string {
    return this.#lease?.spec.holderIdentity ?? '';
  }

  /** Resolves with true when this process has become the leader, with false when it was stopped before. */
  whenElected(): Promise<boolean> {
    return this.#elected.promise;
  }

  /** Resolves when this process leads no more, and never will again. On `lost` it should exit. */
  whenEnded(): Promise<'released' | 'lost'> {
    return this.#ended.promise;
  }

  /**
   * To be asked before every write: give it to `Client.guarded`. Goes by a clock that runs on while the process is
   * stopped, and so throws in one that comes back after others have taken over, before anything else has noticed.
   * @returns milliseconds for which it still leads
   * @throws NotLeading
   */
  readonly assertLeading = (): number => {
    const left = this.#leadsUntil - this.#clock.now();
    if (this.#state === 'leading' && left > 0) return left;
    if (this.#state === 'leading') this.#end('lost');
    throw new NotLeading(`${this.identity} is not the leader: nothing is written`);
  };

  /**
   * Gives the lease back, if this process has it, so that the next leader needn't wait for its end.
   * Let writes that are under way finish before: the next leader is there at once.
   */
  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    if (this.isLeading && this.#lease) {
      const lease = released(this.#lease, this.#clock.wall());
      // From here on nothing else is written.
      const allowed = this.assertLeading();
      this.#state = 'ended';
      const until = this.#leadsUntil;
      const client = this.#client.guarded(
        () => {
          if (this.#clock.now() < until) return until - this.#clock.now();
          throw new NotLeading(`${this.identity} is not the leader: its lease is not given back`);
        },
        Math.min(allowed, this.#times.retryPeriod),
      );
      await client.replace(lease).catch((error: unknown) => this.#options.onTrouble?.(error));
    }
    this.#end('released');
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      this.#activeAt = this.#clock.now();
      try {
        await (this.#state === 'leading' ? this.#renew() : this.#acquire());
      } catch (error) {
        // Another was first to take it: all is well.
        const isTaken = this.#state === 'standby' && isKubeError(error, 'conflict');
        if (!signal.aborted && !isTaken) this.#options.onTrouble?.(error);
      }
      if (this.#state === 'leading' && !this.isLeading) this.#end('lost');
      const { retryPeriod } = this.#times;
      // Those who wait don't ask in step. A leader doesn't sleep past its end.
      const wait = retryPeriod * (1 + 0.2 * this.#random());
      const left = this.#state === 'leading' ? this.#leadsUntil - this.#clock.now() : Number.POSITIVE_INFINITY;
      if (!signal.aborted) await pause(this.#clock, Math.max(0, Math.min(wait, left)), signal);
    }
  }

  async #acquire(): Promise<void> {
    const { name, namespace } = this.#options;
    const { apiVersion, kind } = KINDS.leases;
    const askedAt = this.#clock.now();
    const found = await this.#client.get({ apiVersion, kind, metadata: { name, namespace } });
    if (this.#ending.signal.aborted) return;
    const sentAt = this.#clock.now();
    const client = this.#client.guarded(this.#fresh(sentAt), this.#times.renewDeadline);
    if (!found) {
      await this.#lead(client.create(newLease(this.#options, this.#times, this.#clock.wall())), sentAt);
      return;
    }
    const lease = leaseOf(found);
    this.#lease = lease;
    // The answer is as old as the question: this process may have stood still in between.
    this.#sighting = sighted(lease, this.#sighting, askedAt);
    // Its own where it was taken, but the answer was lost.
    const isOwn = lease.spec.holderIdentity === this.identity;
    if (!isOwn && !isFree(lease, this.#sighting, askedAt)) return;
    await this.#lead(client.replace(held(lease, this.identity, this.#times, this.#clock.wall())), sentAt);
  }

  async #renew(): Promise<void> {
    const lease = this.#lease;
    if (!lease) return;
    const sentAt = this.#clock.now();
    // A try that hangs leaves time for another.
    const client = this.#client.guarded(this.assertLeading, this.#times.renewDeadline / 2);
    try {
      await this.#lead(client.replace(held(lease, this.identity, this.#times, this.#clock.wall())), sentAt);
    } catch (error) {
      // Its answer may have been lost, or somebody has touched the lease: whose is it?
      if (isKubeError(error, 'conflict')) await this.#lookAgain(lease);
      else if (isKubeError(error, 'notFound')) this.#end('lost');
      throw error;
    }
  }

  async #lookAgain(lease: Lease): Promise<void> {
    const { apiVersion, kind } = KINDS.leases;
    const found = await this.#client.get({ apiVersion, kind, metadata: lease.metadata });
    const now = found && leaseOf(found);
    if (now?.spec.holderIdentity === this.identity) this.#lease = now;
    else this.#end('lost');
  }

  async #lead(answer: Promise<Parameters<typeof leaseOf>[0]>, sentAt: number): Promise<void> {
    const lease = leaseOf(await answer);
    if (this.#state === 'ended') return;
    this.#lease = lease;
    this.#leadsUntil = leadsUntil(sentAt, this.#times);
    if (this.#state === 'leading') return;
    if (this.#clock.now() >= this.#leadsUntil)
      throw new KubeError('unavailable', 'the lease was taken, but the answer came so late that it counts for nothing');
    this.#state = 'leading';
    this.#elected.resolve(true);
  }

  /** What was decided on an old look at the lease isn't done any more. */
  #fresh(decidedAt: number): () => number {
    return () => {
      const left = decidedAt + this.#times.retryPeriod - this.#clock.now();
      if (left > 0) return this.#times.renewDeadline;
      throw new NotLeading(`${this.identity} looked at the lease too long ago to take it`);
    };
  }

  #end(how: 'released' | 'lost'): void {
    this.#state = 'ended';
    this.#leadsUntil = Number.NEGATIVE_INFINITY;
    this.#elected.resolve(false);
    this.#ended.resolve(how);
    this.#ending.abort();
  }
}
