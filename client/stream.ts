import type { IdRun, LagReason } from '@pushcluster/protocol/frames.ts';
import { onAbort } from './argument.ts';
import { Emitter } from './emitter.ts';
import { Positions } from './positions.ts';
import type { PushError } from './pushError.ts';
import { Queue } from './queue.ts';

/** Items that did not come. `queue`: a `for await` here was too slow; the other reasons are the gateway's. */
export type Lagged = { room: string | undefined; dropped: number; reason: LagReason | 'queue' };

/**
 * Counters of one publisher that were skipped before the next item: lost (while connected or between two connections),
 * or cut by the room's policy.
 */
export type Gap = { room: string | undefined; publisher: string; missed: number };

export type StreamEvents<Item> = { item: Item; lagged: Lagged; gap: Gap };

/** Items in order, each once: by `for await`, or by `on('item', ...)`. */
export interface Stream<Item = unknown> extends AsyncIterable<Item> {
  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof StreamEvents<Item>>(
    name: Name,
    listener: (event: StreamEvents<Item>[Name]) => void,
  ): () => void;
  /**
   * Items from now on, through a queue of its own that holds at most `queueLimit`. Ends with the stream; throws a
   * PushError where that was not your doing.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Item, undefined>;
}

export interface Room<Item = unknown> extends Stream<Item> {
  readonly name: string;
  /** Resolves when a gateway answers OK; rejects with a PushError where it refuses, takes you out, or you leave before. */
  readonly joined: Promise<void>;
  /** Ends it at once, for all who joined it: no more items, not even those that are queued. Joining again gives a new Room. */
  leave(): void;
}

/** Pushes with an `id` that are remembered for one stream, and for how long (milliseconds): a backend may retry them. */
const MAX_PUSHES = 10_000;
const PUSH_REMEMBERED = 120_000;

/** What a stream tells the client that it belongs to. */
export interface StreamOwner {
  lagged(event: Lagged): void;
  gap(event: Gap): void;
}

/** The inside of a stream: drops repeats, tells gaps, feeds listeners and queues. */
export class Feed<Item = unknown> implements Stream<Item> {
  readonly #room: string | undefined;
  readonly #owner: StreamOwner;
  readonly #limit: number;
  readonly #gaps: boolean;
  readonly #emitter = new Emitter<StreamEvents<Item>>();
  readonly #queues = new Set<Queue<Item>>();
  readonly #positions: Positions;
  /** Pushes with an `id`: a retry of one may come through another publisher. */
  readonly #pushes: Positions;
  #ended: { error?: PushError | undefined } | undefined;

  /**
   * @param gaps whether every item of a publisher is meant for us, so that a missing counter is a missing item
   * @param former an earlier stream of the same room, which was left: what came by it comes no more
   */
  constructor(room: string | undefined, owner: StreamOwner, limit: number, gaps = true, former?: Feed) {
    this.#room = room;
    this.#owner = owner;
    this.#limit = limit;
    this.#gaps = gaps;
    this.#positions = former ? former.#positions.resume() : new Positions();
    this.#pushes = former ? former.#pushes : new Positions(MAX_PUSHES, PUSH_REMEMBERED);
  }

  on<Name extends keyof StreamEvents<Item>>(name: Name, listener: (event: StreamEvents<Item>[Name]) => void) {
    return this.#emitter.on(name, listener);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Item, undefined> {
    const queue = new Queue<Item>(this.#limit, () => this.#queues.delete(queue));
    if (this.#ended) queue.end(this.#ended.error);
    else this.#queues.add(queue);
    const iterator = iteratorOf(queue);
    abandoned.register(iterator, { queue, queues: this.#queues });
    return iterator;
  }

  /** Takes the items of one frame, of which `ids` says who published them; without it nothing is dropped. */
  deliver(items: readonly Item[], ids: readonly IdRun[] = []): void {
    let at = 0;
    let dropped = 0;
    const take = (to: number) => {
      // A listener may leave in the middle of a frame.
      for (; at < to && !this.#ended; at++) {
        const item = items[at]!;
        this.#emitter.emit('item', item);
        for (const queue of this.#queues) if (queue.push(item)) dropped++;
      }
    };
    for (const run of ids) {
      const { repeats, missed } = this.#positions.advance(run);
      const [, , length, push, index = 0] = run;
      const again = push && length ? this.#pushes.advance([`${push}`, index, length]).repeats : 0;
      if (missed > 0 && this.#gaps) this.#gap({ room: this.#room, publisher: run[0], missed });
      const end = Math.min(items.length, at + length);
      at += Math.max(repeats, again);
      take(end);
      at = end;
    }
    take(items.length);
    if (dropped > 0) this.lagged({ room: this.#room, dropped, reason: 'queue' });
  }

  /** Whether every item of `ids` was delivered before. */
  covers(ids: readonly IdRun[] | undefined): boolean {
    return ids !== undefined && this.#positions.covers(ids);
  }

  lagged(event: Lagged): void {
    if (this.#ended) return;
    this.#emitter.emit('lagged', event);
    this.#owner.lagged(event);
  }

  /** The gateway ended it: what is queued still comes. */
  end(error?: PushError): void {
    this.#end(error, (queue) => queue.end(error));
  }

  /** The page ended it: nothing comes any more. */
  discard(): void {
    this.#end(undefined, (queue) => queue.discard());
  }

  #end(error: PushError | undefined, end: (queue: Queue<Item>) => void) {
    if (this.#ended) return;
    this.#ended = { error };
    this.#emitter.end();
    for (const queue of this.#queues) end(queue);
    this.#queues.clear();
  }

  #gap(event: Gap) {
    if (this.#ended) return;
    this.#emitter.emit('gap', event);
    this.#owner.gap(event);
  }
}

// An iterator that is dropped without `return()` would have its queue filled for good. The queue does not refer to the
// iterator; who waits for `next()` is reached by way of the queue, and stays.
type Abandoned = { queue: Queue<unknown>; queues: Set<Queue<unknown>> };
const abandoned = new FinalizationRegistry<Abandoned>(({ queue, queues }) => queues.delete(queue));

function iteratorOf<Item>(queue: Queue<Item>): AsyncIterableIterator<Item, undefined> {
  return {
    next: () => queue.next(),
    return: () => queue.return(),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

export class RoomFeed<Item = unknown> extends Feed<Item> implements Room<Item> {
  readonly name: string;
  readonly joined: Promise<void>;
  readonly leave: () => void;
  readonly admit: () => void;
  readonly #refuse: (error: PushError) => void;
  readonly #signals = new Set<AbortSignal>();

  constructor(
    name: string,
    owner: StreamOwner,
    limit: number,
    leave: (room: RoomFeed<Item>) => void,
    former: RoomFeed | undefined,
  ) {
    super(name, owner, limit, true, former);
    this.name = name;
    this.leave = () => leave(this);
    const { promise, resolve, reject } = withResolvers();
    this.joined = promise;
    this.admit = resolve;
    this.#refuse = reject;
    // Refusals are told by an event too: nobody has to look at the promise.
    promise.catch(() => {});
  }

  /** Leaves when `signal` aborts. It is let go when the room ends before. */
  leaveOn(signal: AbortSignal): void {
    onAbort(signal, this.leave);
    this.#signals.add(signal);
  }

  /** `refusal` is for who still waits for `joined`; `error` for iterations, which end quietly without. */
  override end(error?: PushError, refusal = error): void {
    super.end(error);
    this.#settle(refusal);
  }

  override discard(refusal?: PushError): void {
    super.discard();
    this.#settle(refusal);
  }

  #settle(refusal: PushError | undefined) {
    if (refusal) this.#refuse(refusal);
    for (const signal of this.#signals) signal.removeEventListener('abort', this.leave);
    this.#signals.clear();
  }
}

// Promise.withResolvers needs newer browsers than the rest.
function withResolvers() {
  let resolve!: () => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
