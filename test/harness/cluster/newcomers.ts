import { Connection } from '../connection.ts';
import { until } from '../until.ts';
import type { Address } from './audience.ts';

/** Milliseconds until a new connection counts as timed out: a person has left by then. */
const TIMEOUT_MS = 10_000;
/** How long a connection stays open, milliseconds. */
const STAY_MS = 500;

/** A new connection: when it began, and how it went. Milliseconds of performance.now(). */
export type Attempt = { at: number; tookMs: number | undefined; error: string | undefined };

/** A steady stream of clients that open a connection, stay for a moment, and go. */
export class Newcomers {
  readonly attempts: Attempt[] = [];
  readonly #address: Address;
  readonly #timer: NodeJS.Timeout;

  /** @param rate new connections a second */
  constructor(address: Address, rate: number) {
    this.#address = address;
    this.#timer = setInterval(() => void this.#come(), 1_000 / rate);
  }

  /** Waits until `count` more clients have come. */
  async more(count: number): Promise<void> {
    const goal = this.attempts.length + count;
    // A busy machine comes late with each of them.
    await until(`${count} more clients have come`, () => this.attempts.length >= goal, 300_000, 50);
  }

  /** The clients that came while `step` ran, after all of them know how it went. */
  async during(step: () => Promise<void>): Promise<Arrivals> {
    const first = this.attempts.length;
    const began = performance.now();
    await step();
    const attempts = this.attempts.slice(first);
    await until('all who came know how it went', () => attempts.every(({ tookMs }) => tookMs !== undefined));
    return new Arrivals(attempts, began);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #come(): Promise<void> {
    const attempt: Attempt = { at: performance.now(), tookMs: undefined, error: undefined };
    this.attempts.push(attempt);
    const opening = Connection.open({ ...this.#address, form: 'v1' });
    // A connection that opens late is closed too.
    void opening.then(
      (connection) => setTimeout(() => connection.cut(), STAY_MS),
      () => {},
    );
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error('timed out')), TIMEOUT_MS);
    try {
      await Promise.race([opening, late]);
    } catch (error) {
      attempt.error = error instanceof Error ? error.message : String(error);
    }
    clearTimeout(timer);
    attempt.tookMs = performance.now() - attempt.at;
  }
}

/** The clients that came during a step. */
export class Arrivals {
  readonly attempts: readonly Attempt[];
  readonly #began: number;

  constructor(attempts: readonly Attempt[], began: number) {
    this.attempts = attempts;
    this.#began = began;
  }

  get failures(): readonly Attempt[] {
    return this.attempts.filter(({ error }) => error !== undefined);
  }

  toString(): string {
    const { attempts, failures } = this;
    const slowest = Math.max(0, ...attempts.map(({ tookMs = 0 }) => tookMs));
    const summary = `${attempts.length} new connections, ${failures.length} failed, the slowest took ${slowest.toFixed(0)} ms`;
    const [first, last] = [failures[0], failures.at(-1)];
    if (first === undefined || last === undefined) return summary;
    const second = ({ at }: Attempt) => ((at - this.#began) / 1_000).toFixed(1);
    const errors = [...new Set(failures.map(({ error }) => error))].join(', ');
    return `${summary}; failures from ${second(first)} s to ${second(last)} s: ${errors}`;
  }
}
