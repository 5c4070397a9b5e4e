import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import type { KubeObject } from '../kube/objects.ts';
import { StatusClient } from './statusClient.ts';

/** A status that a pod reported, and when: milliseconds since 1970. */
export type Reading = { status: PodStatus; at: number };

/** Polling interval of a pod, milliseconds. */
const PERIOD_MS = 10_000;
/** The same for a pod whose status is awaited: it is draining, or has not loaded its settings yet. */
const URGENT_PERIOD_MS = 2_000;
/** Interval of the timer that polls the pods that are due, milliseconds. */
const TICK_MS = 250;
/** Maximum number of concurrent requests. A pod that hangs occupies one for 2 s. */
const CONCURRENCY = 64;
/** Maximum time of `refresh`, milliseconds: more pods may fail to respond than are polled concurrently. */
const REFRESH_MS = 5_000;
/** Age after which a status is outdated, milliseconds: two requests in a row had no response. */
export const STALE_MS = 20_000;

export type PodStatusPollerOptions = {
  /** The current gateway and logic pods, including those that are terminating. */
  pods: () => Iterable<KubeObject>;
  /** Port of GET /status; default 9090. */
  port?: number;
  /** Whether the status of a pod is awaited. */
  isUrgent?: (pod: KubeObject) => boolean;
  /** Called with each status, and the one before it. Must not throw. */
  onReading?: (pod: KubeObject, reading: Reading, before: Reading | undefined) => void;
  /** Called when a request fails and the one before did not. Must not throw. */
  onSilence?: (pod: KubeObject, why: string) => void;
  clock?: Clock;
  /** 0 to 1, for jitter. Default: Math.random. */
  random?: () => number;
};

type Known = {
  /** Time of the next request, by the clock's `now`. */
  due: number;
  isAsked: boolean;
  reading: Reading | undefined;
  /** Time of the reading, by the clock's `now`. */
  readAt: number;
  failure: string | undefined;
  /** Called when the next request that starts has ended. */
  waiting: (() => void)[];
};

const Running = z.object({
  metadata: z.object({ uid: z.string() }),
  status: z.object({ podIP: z.string().min(1), phase: z.literal('Running') }),
});

/** Polls the status of pods, and keeps the last one of each existing pod. */
export class PodStatusPoller {
  readonly counts = { answered: 0, unanswered: 0 };
  readonly #options: PodStatusPollerOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #client: StatusClient;
  readonly #known = new Map<string, Known>();
  #asking = 0;
  #tickedAt: number;
  #callOff: (() => void) | undefined;
  readonly #ending = Promise.withResolvers<void>();
  #isEnding = false;

  constructor(options: PodStatusPollerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#tickedAt = this.#clock.now();
    this.#client = new StatusClient(options.port ?? 9_090, this.#clock);
  }

  start(): void {
    if (this.#callOff) return;
    this.#tick();
  }

  /** Stops polling. Pending calls of `refresh` resolve. */
  stop(): void {
    this.#isEnding = true;
    this.#ending.resolve();
    this.#callOff?.();
    this.#callOff = undefined;
    this.#client.close();
  }

  /** The last status of a pod, however old. */
  reading(uid: string): Reading | undefined {
    return this.#known.get(uid)?.reading;
  }

  /** The last status of a pod if it is not outdated. */
  freshReading(uid: string): Reading | undefined {
    const known = this.#known.get(uid);
    return known && this.#clock.now() - known.readAt <= STALE_MS ? known.reading : undefined;
  }

  /** Why the last request to a pod failed; undefined if it succeeded or there was none yet. */
  failure(uid: string): string | undefined {
    return this.#known.get(uid)?.failure;
  }

  /**
   * Polls pods immediately. Resolves when each request has ended, after 5 s at most. A request that is running already
   * does not count, since its response may describe an earlier state. Pods that are not running are skipped.
   */
  async refresh(uids: readonly string[]): Promise<void> {
    if (this.#isEnding) return;
    const questions: Promise<void>[] = [];
    for (const uid of uids) {
      const known = this.#known.get(uid);
      if (!known) continue;
      known.due = Math.min(known.due, this.#clock.now());
      questions.push(new Promise((resolve) => known.waiting.push(resolve)));
    }
    this.#ask();
    let callOff = () => {};
    const late = new Promise<void>((resolve) => {
      callOff = this.#clock.after(REFRESH_MS, resolve);
    });
    await Promise.race([Promise.all(questions), late, this.#ending.promise]);
    callOff();
  }

  /** Milliseconds since the timer last ran. */
  get idleFor(): number {
    return this.#clock.now() - this.#tickedAt;
  }

  #tick(): void {
    this.#callOff = this.#clock.after(TICK_MS, () => this.#tick());
    this.#tickedAt = this.#clock.now();
    this.#ask();
  }

  #ask(): void {
    if (this.#isEnding) return;
    const now = this.#clock.now();
    const seen = new Set<string>();
    const due: { pod: KubeObject; known: Known; address: string }[] = [];
    for (const pod of this.#options.pods()) {
      const running = Running.safeParse(pod);
      if (!running.success) continue;
      const { metadata, status } = running.data;
      seen.add(metadata.uid);
      const known = this.#known.get(metadata.uid) ?? {
        due: now,
        isAsked: false,
        reading: undefined,
        readAt: now,
        failure: undefined,
        waiting: [],
      };
      this.#known.set(metadata.uid, known);
      if (this.#options.isUrgent?.(pod)) known.due = Math.min(known.due, now + URGENT_PERIOD_MS);
      if (!known.isAsked && known.due <= now) due.push({ pod, known, address: status.podIP });
    }
    for (const [uid, { isAsked, waiting }] of this.#known) {
      if (seen.has(uid) || isAsked) continue;
      this.#known.delete(uid);
      for (const tell of waiting) tell();
    }
    due.sort((a, b) => a.known.due - b.known.due);
    for (const each of due.slice(0, CONCURRENCY - this.#asking)) void this.#askPod(each.pod, each.known, each.address);
  }

  async #askPod(pod: KubeObject, known: Known, address: string): Promise<void> {
    known.isAsked = true;
    this.#asking++;
    const waiting = known.waiting.splice(0);
    let isNews = false;
    try {
      const status = await this.#client.ask(address);
      const before = known.reading;
      known.reading = { status, at: this.#clock.wall() };
      known.readAt = this.#clock.now();
      known.failure = undefined;
      this.counts.answered++;
      this.#options.onReading?.(pod, known.reading, before);
    } catch (error) {
      isNews = known.failure === undefined;
      known.failure = error instanceof Error ? error.message : String(error);
      this.counts.unanswered++;
      if (isNews && this.#callOff) this.#options.onSilence?.(pod, known.failure);
    } finally {
      this.#asking--;
      known.isAsked = false;
      // A new pod may not listen yet. Jitter spreads the requests to pods that started together.
      known.due = this.#clock.now() + (isNews ? URGENT_PERIOD_MS : PERIOD_MS * (0.9 + 0.1 * this.#random()));
      for (const tell of waiting) tell();
      if (known.waiting.length > 0) {
        known.due = this.#clock.now();
        this.#ask();
      }
    }
  }
}
