import type { IdRun, LagReason } from '@pushcluster/protocol/frames.ts';
import { Emitter } from './emitter.ts';
import { Positions } from './positions.ts';
import type { PushError } from './pushError.ts';
import { Queue } from './queue.ts';

/** Items that did not come. `queue`: a `for await` here was too slow; the other reasons are the gateway's. */
export type Lagged = { room: string | undefined; dropped: number; reason: LagReason | 'queue' };

/**
 * Counters of one publisher that were skipped before the next item: lost (while connected or between two connections),
 * cut by the room's policy, or the repeat of a push that the gateway dropped.
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
  /** Resolves at the gateway's first OK; rejects with a PushError where it refuses, or you leave before. */
  readonly joined: Promise<void>;
  /** Takes no more items. Joining again gives a new Room. */
  leave(): void;
}

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
  readonly #positions = new Positions();
  #ended: { error?: PushError | undefined } | undefined;

  /** @param gaps whether every item of a publisher is meant for us, so that a missing counter is a missing item */
  constructor(room: string | undefined, owner: StreamOwner, limit: number, gaps = true) {
    this.#room = room;
    this.#owner = owner;
    this.#limit = limit;
    this.#gaps = gaps;
  }

  on<Name extends keyof StreamEvents<Item>>(name: Name, listener: (event: StreamEvents<Item>[Name]) => void) {
    return this.#emitter.on(name, listener);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Item, undefined> {
    const queue = new Queue<Item>(this.#limit, () => this.#queues.delete(queue));
    if (this.#ended) queue.end(this.#ended.error);
    else this.#queues.add(queue);
    return queue;
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
      if (missed > 0 && this.#gaps) this.#gap({ room: this.#room, publisher: run[0], missed });
      const end = Math.min(items.length, at + run[2]);
      at += repeats;
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
    this.#emitter.emit('lagged', event);
    this.#owner.lagged(event);
  }

  end(error?: PushError): void {
    this.#ended ??= { error };
    for (const queue of this.#queues) queue.end(error);
    this.#queues.clear();
  }

  #gap(event: Gap) {
    this.#emitter.emit('gap', event);
    this.#owner.gap(event);
  }
}

export class RoomFeed<Item = unknown> extends Feed<Item> implements Room<Item> {
  readonly name: string;
  readonly joined: Promise<void>;
  readonly leave: () => void;
  readonly admit: () => void;
  readonly #refuse: (error: PushError) => void;

  constructor(name: string, owner: StreamOwner, limit: number, leave: (room: RoomFeed<Item>) => void) {
    super(name, owner, limit);
    this.name = name;
    this.leave = () => leave(this);
    const { promise, resolve, reject } = withResolvers();
    this.joined = promise;
    this.admit = resolve;
    this.#refuse = reject;
    // Refusals are told by an event too: nobody has to look at the promise.
    promise.catch(() => {});
  }

  /** `refusal` is for who still waits for `joined`; `error` for iterations, which end quietly without. */
  override end(error?: PushError, refusal = error): void {
    super.end(error);
    if (refusal) this.#refuse(refusal);
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
