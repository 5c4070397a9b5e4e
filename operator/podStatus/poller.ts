import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import type { KubeObject } from '../kube/objects.ts';
import { StatusClient } from './statusClient.ts';

/** What a pod said of itself, and when: milliseconds since 1970. */
export type Reading = { status: PodStatus; at: number };

/** How often a pod is asked, milliseconds. */
const PERIOD_MS = 10_000;
/** The same where somebody waits for it: it drains, or has yet to take up its settings. */
const URGENT_PERIOD_MS = 2_000;
/** How often it is looked which pods are due. */
const TURN_MS = 250;
/** Pods that are asked at the same time: one that hangs holds a place for 2 s. */
const CONCURRENCY = 64;
/** So long all are waited for who are asked anew: some don't answer, and there may be more of those than are asked at once. */
const REFRESH_MS = 5_000;
/** A reading that is older tells nothing of now: two questions in a row had no answer. */
export const STALE_MS = 20_000;

export type PodStatusPollerOptions = {
  /** Gateway and logic pods as they are now, those that are about to end too. */
  pods: () => Iterable<KubeObject>;
  /** Where pods answer; default 9090. */
  port?: number;
  /** Whether somebody waits for what a pod says. */
  isUrgent?: (pod: KubeObject) => boolean;
  /** Called with each answer, and with the answer before it. Must not throw. */
  onReading?: (pod: KubeObject, reading: Reading, before: Reading | undefined) => void;
  /** Called when a pod that answered, or was never asked, gives no answer. Must not throw. */
  onSilence?: (pod: KubeObject, why: string) => void;
  clock?: Clock;
  /** 0 to 1, for jitter. Default: Math.random. */
  random?: () => number;
};

type Known = {
  /** When to ask next, by the clock's `now`. */
  due: number;
  isAsked: boolean;
  reading: Reading | undefined;
  /** When that came, by the clock's `now`. */
  readAt: number;
  failure: string | undefined;
  /** Called at the end of the next question to begin. */
  waiting: (() => void)[];
};

const Running = z.object({
  metadata: z.object({ uid: z.string() }),
  status: z.object({ podIP: z.string().min(1), phase: z.literal('Running') }),
});

/**
 * Asks pods for their status over and over, and keeps the last answer of each. It remembers just the pods that there are.
 */
export class PodStatusPoller {
  readonly counts = { answered: 0, unanswered: 0 };
  readonly #options: PodStatusPollerOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #client: StatusClient;
  readonly #known = new Map<string, Known>();
  #asking = 0;
  #turnedAt: number;
  #callOff: (() => void) | undefined;
  readonly #ending = Promise.withResolvers<void>();
  #isEnding = false;

  constructor(options: PodStatusPollerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#turnedAt = this.#clock.now();
    this.#client = new StatusClient(options.port ?? 9_090, this.#clock);
  }

  start(): void {
    if (this.#callOff) return;
    this.#turn();
  }

  /** Nobody is asked any more, nor waited for. */
  stop(): void {
    this.#isEnding = true;
    this.#ending.resolve();
    this.#callOff?.();
    this.#callOff = undefined;
    this.#client.close();
  }

  /** The last answer of a pod, however old. */
  reading(uid: string): Reading | undefined {
    return this.#known.get(uid)?.reading;
  }

  /** The last answer where it still tells how the pod is. */
  freshReading(uid: string): Reading | undefined {
    const known = this.#known.get(uid);
    return known && this.#clock.now() - known.readAt <= STALE_MS ? known.reading : undefined;
  }

  /** Why the last question to a pod had no answer; undefined where it had one, or none was put yet. */
  failure(uid: string): string | undefined {
    return this.#known.get(uid)?.failure;
  }

  /**
   * Asks pods anew, out of their turn, and resolves when each has answered or has not: after 5 s at most. A question that
   * is under way tells of before, and does not count. Pods that don't run can't be asked.
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

  /** Milliseconds since pods were last gone through: far more than a second where something is stuck. */
  get idleFor(): number {
    return this.#clock.now() - this.#turnedAt;
  }

  #turn(): void {
    this.#callOff = this.#clock.after(TURN_MS, () => this.#turn());
    this.#turnedAt = this.#clock.now();
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
      // A pod that has just begun may not listen yet. Those that came together are not asked together for ever.
      known.due = this.#clock.now() + (isNews ? URGENT_PERIOD_MS : PERIOD_MS * (0.9 + 0.1 * this.#random()));
      for (const tell of waiting) tell();
      if (known.waiting.length > 0) {
        known.due = this.#clock.now();
        this.#ask();
      }
    }
  }
}
