import type { IdRun, ServerFrame } from '@pushcluster/protocol/frames.ts';
import type { Connection } from './connection.ts';
import { Emitter } from './emitter.ts';
import { type Delivery, Handover } from './handover.ts';
import { MAX_PUSHES, PUSH_REMEMBERED } from './limits.ts';
import { Positions } from './positions.ts';
import type { PushError } from './pushError.ts';
import type { PushEvents } from './pushEvents.ts';
import { Queue } from './queue.ts';
import type { RoomEvents, RoomPosition, Stream } from './stream.ts';

/** What a stream is told. */
export type StreamFrame = Extract<ServerFrame, { type: 'PUSH' | 'LAGGED' | 'LEAVE' | 'RESET' }>;

/** The inside of a stream: takes frames from one connection after the other, drops repeats, reports gaps, feeds its readers. */
export class Subscription<Item = unknown> implements Stream<Item> {
  /** Decides which of the two connections delivers frames during a move. */
  readonly handover: Handover;
  /** Set at the end. `error` is for iterations that begin later. */
  ended: { error?: PushError | undefined } | undefined;
  readonly name: string | undefined;
  readonly #events: Emitter<PushEvents>;
  readonly #limit: number;
  readonly #isComplete: boolean;
  readonly #emitter = new Emitter<RoomEvents<Item>>();
  readonly #queues = new Set<Queue<Item>>();
  readonly #positions: Positions;
  /** Pushes with an `id`: a retry of one may come through another publisher. */
  readonly #pushes: Positions;

  /**
   * @param events of the client: what the stream tells is told there too
   * @param limit items that a queue holds
   * @param isComplete whether every item of a publisher is meant for this stream, so that a missing counter is a missing item
   * @param former an earlier subscription of the same room, which has ended: what it delivered is not delivered again
   */
  constructor(
    name: string | undefined,
    events: Emitter<PushEvents>,
    limit: number,
    isComplete = true,
    former?: Subscription,
  ) {
    this.handover = new Handover(
      (frame, at) => this.#deliver(frame, at),
      () => this.admit(),
    );
    this.name = name;
    this.#events = events;
    this.#limit = limit;
    this.#isComplete = isComplete;
    this.#positions = former ? former.#positions.resume() : new Positions();
    this.#pushes = former ? former.#pushes : new Positions(MAX_PUSHES, PUSH_REMEMBERED);
  }

  on<Name extends keyof RoomEvents<Item>>(name: Name, listener: (event: RoomEvents<Item>[Name]) => void) {
    return this.#emitter.on(name, listener);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Item, undefined> {
    const forget = () => this.#queues.delete(queue);
    const queue: Queue<Item> = new Queue(this.#limit, forget);
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
    this.handover.setReady(connection, true);
  }

  /** The connection whose frames are delivered is ready. */
  admit(): void {}

  /** @returns how many items of the frame are held */
  receive(connection: Connection, frame: StreamFrame): number {
    return frame.type === 'PUSH' || frame.type === 'LAGGED' ? this.handover.receive(connection, frame) : 0;
  }

  emit<Name extends 'resumed' | 'reset'>(name: Name, event: RoomEvents<Item>[Name]): void {
    this.#emitter.emit(name, event);
  }

  /** Drops held frames of `connection` that bring nothing new. @returns how many of its items are left */
  dropRepeats(connection: Connection): number {
    return this.handover.keep(
      connection,
      ({ type, data }) => type !== 'PUSH' || !data.ids || !this.#positions.covers(data.ids),
    );
  }

  /** The gateway ended it: queued items still come, then the end or `error`. */
  end(error?: PushError): void {
    this.#end(error, (queue) => queue.end(error));
  }

  /** The page ended it: nothing comes any more. `_refusal` is for rooms. */
  discard(_refusal?: PushError): void {
    this.#end(undefined, (queue) => queue.discard());
  }

  #end(error: PushError | undefined, end: (queue: Queue<Item>) => void) {
    if (this.ended) return;
    this.ended = { error };
    this.handover.release();
    this.#emitter.end();
    for (const queue of this.#queues) end(queue);
    this.#queues.clear();
  }

  /** @param now when the frame came, by the clock's `now` */
  #deliver(frame: Delivery, now: number) {
    if (frame.type === 'PUSH') {
      // What was held back of a history is asked for again, if it turned out that the room was in it before.
      if (!frame.data.epoch || !this.position) this.take(frame.data, now);
      return;
    }
    const { room, dropped, reason } = frame.data;
    // Without a room it is not known which stream missed items: only the client tells it.
    const event = { room, dropped, reason };
    if (room !== undefined) this.#tell('lagged', event);
    else this.#events.emit('lagged', event);
  }

  /**
   * `ids` says who published the items; without it nothing is dropped. @param isNew what the ids tell is known better
   */
  take(
    { items, ids = [] }: { items: readonly unknown[]; ids?: readonly IdRun[] | undefined },
    now: number,
    isNew = false,
  ): void {
    let at = 0;
    let dropped = 0;
    const takeTo = (to: number) => {
      // A listener may leave in the middle of a frame.
      for (; at < to && !this.ended; at++) {
        const item = items[at] as Item;
        this.#emitter.emit('item', item);
        for (const queue of this.#queues) if (queue.push(item)) dropped++;
      }
    };
    for (const run of ids) {
      const { repeats, missed } = this.#positions.advance(run, now);
      const [, , length, push, index = 0] = run;
      const again = push && length ? this.#pushes.advance([`${push}`, index, length], now).repeats : 0;
      if (missed > 0 && this.#isComplete && !isNew) this.#tell('gap', { room: this.name, publisher: run[0], missed });
      const end = Math.min(items.length, at + length);
      if (!isNew) at += Math.max(repeats, again);
      takeTo(end);
      at = end;
    }
    takeTo(items.length);
    if (dropped > 0) this.#tell('lagged', { room: this.name, dropped, reason: 'queue' });
  }

  #tell<Name extends 'lagged' | 'gap'>(name: Name, event: RoomEvents<Item>[Name] & PushEvents[Name]) {
    if (this.ended) return;
    this.#emitter.emit(name, event);
    this.#events.emit(name, event);
  }
}

// The queue of an iterator that is dropped without `return()` would be filled for ever. A queue does not refer to its
// iterator, so the iterator can be collected. An iterator that is waited for by `next()` stays: its queue refers to the wait.
const abandoned = new FinalizationRegistry<() => void>((forget) => forget());

function iteratorOf<Item>(queue: Queue<Item>): AsyncIterableIterator<Item, undefined> {
  return {
    next: () => queue.next(),
    return: () => queue.return(),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
