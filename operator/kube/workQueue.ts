import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';

/** 5 ms as client-go's work queue has it, doubling. What failed for long is to be done soon after its cause is gone. */
const RETRY = { first: 5, longest: 15_000 };

/**
 * Keys to work on. A key is there once, however often it was added; it is never with two workers at once; one that is
 * added while it is worked on comes again afterwards. It has at most as many keys as there are objects.
 */
export class WorkQueue {
  readonly #clock: Clock;
  readonly #ready = new Set<string>();
  readonly #working = new Set<string>();
  /** Added while worked on. */
  readonly #again = new Set<string>();
  readonly #later = new Map<string, { at: number; callOff: () => void }>();
  readonly #failures = new Map<string, number>();
  readonly #takers: ((key: string | undefined) => void)[] = [];
  #closed = false;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Keys that wait for a worker now. */
  get depth(): number {
    return this.#ready.size + this.#again.size;
  }

  /** Keys that wait for their time. */
  get delayed(): number {
    return this.#later.size;
  }

  /** Keys whose last try failed. */
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

  /** Adds a key in `ms`; where it waits already, at the earlier of the two times. */
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

  /** Adds a key that failed, after twice the wait of the time before. Returns that wait in milliseconds. */
  retry(key: string, atLeast = 0): number {
    const failures = this.#failures.get(key) ?? 0;
    this.#failures.set(key, failures + 1);
    const wait = Math.max(atLeast, retryDelay(failures));
    this.addAfter(key, wait);
    return wait;
  }

  /** The key has done well, or is gone: its next failure is its first. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** How often the key has failed in a row. */
  failures(key: string): number {
    return this.#failures.get(key) ?? 0;
  }

  /** The next key, when there is one: the one who waited longest. Undefined when the queue is closed. Call `done` afterwards. */
  take(): Promise<string | undefined> {
    if (this.#closed) return Promise.resolve(undefined);
    const [key] = this.#ready;
    if (key === undefined) return new Promise((resolve) => this.#takers.push(resolve));
    this.#ready.delete(key);
    this.#working.add(key);
    return Promise.resolve(key);
  }

  /** The key isn't worked on any more. */
  done(key: string): void {
    this.#working.delete(key);
    if (this.#again.delete(key)) this.add(key);
  }

  /** Nothing is taken any more, and those who wait are told. */
  close(): void {
    this.#closed = true;
    for (const { callOff } of this.#later.values()) callOff();
    this.#later.clear();
    this.#ready.clear();
    this.#again.clear();
    for (const taker of this.#takers.splice(0)) taker(undefined);
  }
}

/** Milliseconds to wait after `failures` failures before this one. */
export function retryDelay(failures: number): number {
  return Math.min(RETRY.longest, RETRY.first * 2 ** Math.min(failures, 30));
}
