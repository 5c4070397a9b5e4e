import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';

/** Back-off, milliseconds: 5 ms as in client-go, doubling. The maximum is short so that recovery is noticed soon. */
const RETRY = { first: 5, longest: 15_000 };

/**
 * A queue of keys to reconcile. A key is queued once, however often it was added, and is never processed by two workers
 * at the same time. A key that is added while it is processed is queued again afterwards.
 */
export class WorkQueue {
  readonly #clock: Clock;
  readonly #ready = new Set<string>();
  readonly #working = new Set<string>();
  /** Keys that were added while they were processed. */
  readonly #again = new Set<string>();
  readonly #later = new Map<string, { at: number; callOff: () => void }>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  #closed = false;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Number of keys that wait for a worker. */
  get depth(): number {
    return this.#ready.size + this.#again.size;
  }

  /** Number of keys that are added later. */
  get delayed(): number {
    return this.#later.size;
  }

  /** Number of keys whose last attempt failed. */
  get failing(): number {
    return this.#failures.size;
  }

  add(key: string): void {
    if (this.#closed) return;
    if (this.#working.has(key)) {
      this.#again.add(key);
      return;
    }
    const taker = this.#ready.has(key) ? undefined : this.#takers.shift();
    if (taker) {
      this.#working.add(key);
      taker(key);
    } else this.#ready.add(key);
  }

  /** Adds a key after `ms` milliseconds. If it is already scheduled, the earlier time counts. */
  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const at = this.#clock.now() + ms;
    const earlier = this.#later.get(key);
    if (earlier) {
      if (earlier.at <= at) return;
      earlier.callOff();
    }
    const callOff = this.#clock.after(ms, () => {
      this.#later.delete(key);
      this.add(key);
    });
    this.#later.set(key, { at, callOff });
  }

  /** Adds a failed key after its back-off, but not before `atLeast`. Returns the wait in milliseconds. */
  retry(key: string, atLeast = 0): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const wait = Math.max(atLeast, requeueDelay(failures));
    this.addAfter(key, wait);
    return wait;
  }

  /** Resets the back-off of a key that succeeded or was deleted. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** Consecutive failures of a key. */
  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** Resolves with the key that waited longest; undefined if the queue is closed. Call `done` afterwards. */
  take(): Promise<string | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    const [key] = this.#ready;
    if (key === undefined) return new Promise((resolve) => this.#takers.push(resolve));
    this.#ready.delete(key);
    this.#working.add(key);
    return Promise.resolve(key);
  }

  /** The key is no longer processed. */
  done(key: string): void {
    this.#working.delete(key);
    if (this.#again.delete(key)) this.add(key);
  }

  /** Drops all keys. Pending calls of `take` resolve with undefined. */
  close(): void {
    this.#closed = true;
    for (const { callOff } of this.#later.values()) callOff();
    this.#later.clear();
    this.#ready.clear();
    this.#again.clear();
    for (const taker of this.#takers.splice(0)) taker(undefined);
  }
}

/** Back-off in milliseconds. @param failures consecutive failures before this one */
export function requeueDelay(failures: number): number {
  return Math.min(RETRY.longest, RETRY.first * 2 ** Math.min(failures, 30));
}
