import type { IdRun, ServerFrame } from '@pushcluster/protocol/frames.ts';
import type { Clock } from './clock.ts';
import type { Connection, Delivery, Target } from './connection.ts';
import { Emitter } from './emitter.ts';
import { MAX_PUSHES, PUSH_REMEMBERED } from './limits.ts';
import { Positions } from './positions.ts';
import type { PushError } from './pushError.ts';
import type { PushEvents } from './pushEvents.ts';
import { Queue } from './queue.ts';
import type { Lagged, RoomEvents, RoomPosition, Stream } from './stream.ts';

/** What a stream is told. */
export type StreamFrame = Extract<ServerFrame, { type: 'PUSH' | 'LAGGED' | 'LEAVE' | 'RESET' }>;

export type StreamConfig = { events: Emitter<PushEvents>; queueLimit: number; clock: Clock };

/** The inside of a stream: takes the frames of one connection after the other, drops repeats, reports gaps, feeds its readers. */
export class Subscription extends Emitter<RoomEvents<unknown>> implements Stream, Target {
  /** Set at the end. `error` is for iterations that begin later. */
  ended: { error?: PushError | undefined } | undefined;
  readonly name: string | undefined;
  readonly config: StreamConfig;
  readonly #isComplete: boolean;
  readonly #queues = new Set<Queue<unknown>>();
  readonly #positions: Positions;
  /** Pushes with an `id`: a retry of one may come through another publisher. */
  readonly #pushes: Positions;

  /**
   * @param isComplete whether every item of a publisher is meant for this stream, so that a missing counter is a missing item
   * @param former an earlier subscription of the same room, which has ended: what it delivered is not delivered again
   */
  constructor(name: string | undefined, config: StreamConfig, isComplete = true, former?: Subscription) {
    super();
    this.name = name;
    this.config = config;
    this.#isComplete = isComplete;
    this.#positions = former ? former.#positions.resume() : new Positions();
    this.#pushes = former ? former.#pushes : new Positions(MAX_PUSHES, PUSH_REMEMBERED);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<unknown, undefined> {
    const forget = () => this.#queues.delete(queue);
    const queue: Queue<unknown> = new Queue(this.config.queueLimit, forget);
    if (this.ended) queue.end(this.ended.error);
    else this.#queues.add(queue);
    const iterator = iteratorOf(queue);
    abandoned.register(iterator, forget);
    return iterator;
  }

  get position(): RoomPosition | undefined {
    return undefined;
  }

  /** `connection` has opened: it brings all that is pushed from now on. */
  opened(connection: Connection): void {
    connection.ready.set(this, connection.now());
  }

  /** `connection` serves, and is ready. */
  admit(_connection: Connection): void {}

  /** @returns whether the frame is to be delivered, or held until `connection` serves */
  receive(_connection: Connection, { type }: StreamFrame): boolean {
    return type === 'PUSH' || type === 'LAGGED';
  }

  /**
   * @param why if the client was taken out of a room (`left`), or `isAtOnce`, iterations end without an error
   * @param isAtOnce the page ended it: nothing comes any more. Otherwise queued items still come before the end.
   */
  finish(why: PushError, isAtOnce = false): void {
    if (this.ended) return;
    const error = isAtOnce || why.code === 'left' ? undefined : why;
    this.ended = { error };
    this.end();
    for (const queue of this.#queues) isAtOnce ? queue.discard() : queue.end(error);
    this.#queues.clear();
  }

  /** @param now when the frame came, by the clock's `now` */
  deliver(frame: Delivery, now: number): void {
    if (this.ended) return;
    if (frame.type === 'PUSH') {
      // What was held back of a history is asked for again, if it turned out that the room was in it before.
      if (!frame.data.epoch || !this.position) this.take(frame.data, now);
      return;
    }
    // Without a room it is not known which stream missed items: only the client tells it.
    if (this.name) this.#tell('lagged', frame.data as Lagged);
    else this.config.events.emit('lagged', frame.data as Lagged);
  }

  /**
   * `ids` says who published the items; without it nothing is dropped. @param isNew what the ids tell is known better
   */
  take(
    { items, ids = [] }: { items: readonly unknown[]; ids?: readonly IdRun[] | undefined },
    now: number,
    isNew?: object,
    isMissed?: object,
  ): void {
    let at = 0;
    let isOver = false;
    const deliver = (from: number, to?: number) => {
      for (const item of items.slice(from, to)) {
        // A listener may leave in the middle of a frame.
        if (this.ended) return;
        this.emit('item', item);
        for (const queue of this.#queues) if (queue.push(item, isMissed)) isOver = true;
      }
    };
    for (const run of ids) {
      const [publisher, , length, push, index = 0] = run;
      const { repeats, missed } = this.#positions.advance(run, now);
      const again = push && length ? this.#pushes.advance([`${push}`, index, length], now).repeats : 0;
      if (missed > 0 && this.#isComplete && !isNew) this.#tell('gap', { room: this.name, publisher, missed });
      deliver(isNew ? at : at + Math.max(repeats, again), at + length);
      at += length;
    }
    deliver(at);
    if (!isOver) return;
    this.config.clock.after(0, () => {
      let dropped = 0;
      for (const queue of this.#queues) dropped += queue.shorten();
      if (dropped > 0) this.#tell('lagged', { room: this.name, dropped, reason: 'queue' });
    });
  }

  #tell<Name extends 'lagged' | 'gap'>(name: Name, event: RoomEvents<unknown>[Name] & PushEvents[Name]) {
    if (this.ended) return;
    this.emit(name, event);
    this.config.events.emit(name, event);
  }
}

// The queue of an iterator that is dropped without `return()` would be filled for ever. A queue does not refer to its
// iterator, so the iterator can be collected. An iterator that is waited for by `next()` stays: its queue refers to the wait.
const abandoned = new FinalizationRegistry<() => void>((forget) => forget());

function iteratorOf(queue: Queue<unknown>): AsyncIterableIterator<unknown, undefined> {
  return {
    next: () => queue.next(),
    return: () => queue.return(),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
