import { type Clock, pause, systemClock } from '@pushcluster/runtime/clock.ts';
import type { Client } from './client.ts';
import { isKubeError, KubeError } from './errors.ts';
import {
  held,
  isFree,
  isUnused,
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

/** A write was rejected because this process is not the leader, or no longer. */
export class NotLeading extends Error {
  override readonly name = 'NotLeading';
}

export type ElectorOptions = {
  client: Client;
  name: string;
  namespace: string;
  /** Unique to this process: the name of the pod and a random suffix. */
  identity: string;
  times?: LeaseTimes;
  /**
   * The name of the lease in earlier versions. Nobody leads under the new name while a process of an earlier version
   * may lead under the former one. `isOther`: whether a holder may have it, because that is no process of this operator.
   */
  former?: { name: string; isOther: (holder: string) => boolean };
  /** Whether this process could do a leader's work. If not, it acquires no lease. Default: always. */
  isUsable?: () => boolean;
  /** Called once if a leader is not usable any more: it should shut down, which releases the lease. */
  onUnusable?: () => void;
  clock?: Clock;
  random?: () => number;
  /** Called when a request for the lease failed. */
  onTrouble?: (error: unknown) => void;
};

/**
 * Leader election with a Lease. A process is on standby, then leads at most once, then exits. Two processes never lead
 * at the same time provided that their clocks run at about the same speed: a leader stops writing 5 s before its lease
 * ends.
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
  #formerSighting: Sighting | undefined;
  #running: Promise<void> | undefined;
  #activeAt: number;
  #isGivingUp = false;

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

  /** Milliseconds since the last attempt to acquire or renew: a few seconds even if the API server does not respond. */
  get idleFor(): number {
    return this.#clock.now() - this.#activeAt;
  }

  /** The last known holder of the lease; empty if there is none. */
  get holder(): string {
    return this.#lease?.spec.holderIdentity ?? '';
  }

  /** Resolves with true once this process leads, with false if it was stopped before. */
  whenElected(): Promise<boolean> {
    return this.#elected.promise;
  }

  /** Resolves when this process no longer leads and never will again. On `lost`, the process should exit. */
  whenEnded(): Promise<'released' | 'lost'> {
    return this.#ended.promise;
  }

  /**
   * Guard for `Client.guarded`. Its clock keeps counting while the process is stopped, so that a process that resumes
   * after another took over cannot write.
   * @returns milliseconds for which this process still leads
   * @throws NotLeading
   */
  readonly assertLeading = (): number => {
    const left = this.#leadsUntil - this.#clock.now();
    if (this.#state === 'leading' && left > 0) return left;
    if (this.#state === 'leading') this.#end('lost');
    throw new NotLeading(`${this.identity} is not the leader: the write was rejected`);
  };

  /**
   * Releases the lease if this process holds it, so that the next leader need not wait until it expires. Let running
   * writes finish before: the next leader may start immediately.
   */
  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    if (this.isLeading && this.#lease) {
      const lease = released(this.#lease, this.#clock.wall());
      // No other write is allowed from here on.
      const allowed = this.assertLeading();
      this.#state = 'ended';
      const until = this.#leadsUntil;
      const client = this.#client.guarded(
        () => {
          if (this.#clock.now() < until) return until - this.#clock.now();
          throw new NotLeading(`${this.identity} is not the leader: its lease is not released`);
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
        if (this.#state === 'leading') await this.#renew();
        else if (this.#isUsable) await this.#acquire();
      } catch (error) {
        // Another process acquired it first, which is no error.
        const isTaken = this.#state === 'standby' && isKubeError(error, 'conflict');
        if (!signal.aborted && !isTaken) this.#options.onTrouble?.(error);
      }
      if (this.#state === 'leading' && !this.isLeading) this.#end('lost');
      if (this.#state === 'leading' && !this.#isUsable && !this.#isGivingUp) {
        this.#isGivingUp = true;
        this.#options.onUnusable?.();
      }
      const { retryPeriod } = this.#times;
      // Jitter spreads the requests of standby processes. A leader wakes up no later than the end of its term.
      const wait = retryPeriod * (1 + 0.2 * this.#random());
      const left = this.#state === 'leading' ? this.#leadsUntil - this.#clock.now() : Number.POSITIVE_INFINITY;
      if (!signal.aborted) await pause(this.#clock, Math.max(0, Math.min(wait, left)), signal);
    }
  }

  get #isUsable(): boolean {
    return this.#options.isUsable?.() ?? true;
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
      if (await this.#isFormerUsed()) return;
      await this.#lead(client.create(newLease(this.#options, this.#times, this.#clock.wall())), sentAt);
      return;
    }
    const lease = leaseOf(found);
    this.#lease = lease;
    // The response may be as old as the request: this process may have been stopped in between.
    this.#sighting = sighted(lease, this.#sighting, askedAt);
    // The lease is this process's own if an earlier request was successful but its response was lost.
    const isOwn = lease.spec.holderIdentity === this.identity;
    if (!isOwn && !isFree(lease, this.#sighting, askedAt)) return;
    if (!isOwn && (await this.#isFormerUsed())) return;
    await this.#lead(client.replace(held(lease, this.identity, this.#times, this.#clock.wall())), sentAt);
  }

  async #isFormerUsed(): Promise<boolean> {
    const { former, namespace } = this.#options;
    if (!former) return false;
    const { apiVersion, kind } = KINDS.leases;
    const askedAt = this.#clock.now();
    const found = await this.#client.get({ apiVersion, kind, metadata: { name: former.name, namespace } });
    if (!found) return false;
    const lease = leaseOf(found);
    this.#formerSighting = sighted(lease, this.#formerSighting, askedAt);
    if (former.isOther(lease.spec.holderIdentity)) return false;
    return !isUnused(lease, this.#formerSighting, askedAt, this.#clock.wall());
  }

  async #renew(): Promise<void> {
    const lease = this.#lease;
    if (!lease) return;
    const sentAt = this.#clock.now();
    // If one attempt hangs, there is time for another.
    const client = this.#client.guarded(this.assertLeading, this.#times.renewDeadline / 2);
    try {
      await this.#lead(client.replace(held(lease, this.identity, this.#times, this.#clock.wall())), sentAt);
    } catch (error) {
      // An earlier response may have been lost, or the lease was modified: check who holds it.
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
      throw new KubeError('unavailable', 'the lease was acquired, but the response arrived after its deadline');
    this.#state = 'leading';
    this.#elected.resolve(true);
  }

  /** Guards against a decision that is based on an outdated lease. */
  #fresh(decidedAt: number): () => number {
    return () => {
      const left = decidedAt + this.#times.retryPeriod - this.#clock.now();
      if (left > 0) return this.#times.renewDeadline;
      throw new NotLeading(`${this.identity} read the lease too long ago to acquire it`);
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
