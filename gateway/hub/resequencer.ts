import type { PushHeader } from '@pushcluster/protocol/push.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import type { PublisherCounters } from './publisherCounters.ts';
import type { SlicedWork } from './slicedWork.ts';

/**
 * A message waits for those before it for this long at most, milliseconds. What comes later was lost. Longer than a NATS
 * server on a busy machine stands still, short enough for what is told late where messages were lost. It also waits after this
 * gateway was away itself: its publishers may have moved at the same moment, as where one server of a cluster ends, and what
 * they sent through the former one may come last. What was lost is then told a second later, and nothing more is lost by it.
 */
export const LATE_MS = 1_000;
/** Bytes of the messages of a hub that wait at most. Beyond them, nothing waits. */
const MAX_WAITING_BYTES = 16 * 1_048_576;

/** The bytes of all messages of a hub that wait for earlier ones. */
export class WaitingBytes {
  bytes = 0;
}

export type ResequencerOptions = {
  clock: Clock;
  waiting: WaitingBytes;
  /** For what has waited: up to 16 MiB, which would hold up everything else. */
  work: Pick<SlicedWork, 'start'>;
  metrics: Pick<GatewayMetrics, 'late'>;
  /** An error of one message: the others go on. */
  failed: (error: unknown) => void;
};

type Waiting<Push> = { push: Push; count: number; size: number };
/** Of one publisher, by counter. */
type Queue<Push> = {
  waiting: Waiting<Push>[];
  /** So many of them were taken. */
  taken: number;
  /** Whether a message need not wait any longer; undefined while nothing is being taken. */
  isDue: ((message: Waiting<Push>) => boolean) | undefined;
  cancel: () => void;
};

/**
 * Puts the messages of each publisher of a subject in order. They come out of order where a publisher goes on at another
 * NATS server: the servers pass on what comes from each of the others in order, but not what comes from two of them.
 * The publishers' counters show it: a message that comes before others of its publisher waits for them.
 */
export class Resequencer<Push extends PushHeader> {
  readonly #counters: PublisherCounters;
  readonly #options: ResequencerOptions;
  readonly #take: (push: Push, count: number) => void;
  /** By publisher. Undefined until a message has waited: a gateway may have many subjects. */
  #queues: Map<string, Queue<Push>> | undefined;

  /** @param take gets the messages in order, and must have `counters` accept each: what has not come by then was lost */
  constructor(counters: PublisherCounters, options: ResequencerOptions, take: (push: Push, count: number) => void) {
    this.#counters = counters;
    this.#options = options;
    this.#take = take;
  }

  /** @param count items of the message  @param size its bytes */
  receive(push: Push, count: number, size: number): void {
    const ahead = this.#counters.ahead(push);
    const queue = this.#queues?.get(push.publisher);
    // Behind those that are being taken.
    if (ahead > 0 || queue?.isDue) {
      this.#hold({ push, count, size }, queue);
      return;
    }
    if (queue) this.#options.metrics.late.inc(Math.max(0, count + ahead));
    this.#take(push, count);
    if (queue) this.#release(push.publisher, queue, (message) => this.#counters.ahead(message.push) <= 0);
  }

  /** Nothing waits any longer. */
  close(): void {
    for (const [publisher, queue] of this.#queues ?? []) {
      queue.isDue = () => true;
      for (const message of this.#due(publisher, queue)) this.#pass(message);
    }
  }

  #hold(message: Waiting<Push>, queue = this.#wait(message.push.publisher)): void {
    const { waiting } = this.#options;
    const { publisher, counter } = message.push;
    const after = queue.waiting.findLastIndex(({ push }) => push.counter <= counter) + 1;
    const place = Math.max(queue.taken, after);
    queue.waiting.splice(place, 0, message);
    waiting.bytes += message.size;
    if (waiting.bytes <= MAX_WAITING_BYTES) return;
    this.#release(publisher, queue, () => true);
    // What comes faster than slices pass it on must not add up.
    const due = this.#due(publisher, queue);
    while (waiting.bytes > MAX_WAITING_BYTES) {
      const { done, value } = due.next();
      if (done) return;
      this.#pass(value);
    }
  }

  #wait(publisher: string): Queue<Push> {
    const cancel = this.#options.clock.after(LATE_MS, () => this.#release(publisher, queue, () => true));
    const queue: Queue<Push> = { waiting: [], taken: 0, isDue: undefined, cancel };
    this.#queues ??= new Map();
    this.#queues.set(publisher, queue);
    return queue;
  }

  /** Takes the messages at the front that are due, in slices. */
  #release(publisher: string, queue: Queue<Push>, isDue: (message: Waiting<Push>) => boolean): void {
    const isUnderWay = queue.isDue !== undefined;
    queue.isDue = isDue;
    if (!isUnderWay) this.#options.work.start(this.#due(publisher, queue), (message) => this.#pass(message));
  }

  *#due(publisher: string, queue: Queue<Push>): Generator<Waiting<Push>> {
    for (let next = queue.waiting[queue.taken]; next && queue.isDue?.(next); next = queue.waiting[queue.taken]) {
      queue.taken++;
      yield next;
    }
    queue.waiting.splice(0, queue.taken);
    queue.taken = 0;
    queue.isDue = undefined;
    if (queue.waiting.length > 0) return;
    queue.cancel();
    this.#queues?.delete(publisher);
  }

  #pass({ push, count, size }: Waiting<Push>): void {
    const { waiting, failed } = this.#options;
    waiting.bytes -= size;
    try {
      this.#take(push, count);
    } catch (error) {
      failed(error);
    }
  }
}
