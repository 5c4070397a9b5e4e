import type { LagReason } from '@pushcluster/protocol/frames.ts';

/** Items that did not come. `queue`: a `for await` here was too slow; the other reasons are the gateway's. */
export type Lagged = { room: string | undefined; dropped: number; reason: LagReason | 'queue' };

/**
 * Counters of one publisher that were skipped before the next item. The items were lost, while connected or between two
 * connections, or dropped by the room's overload policy.
 */
export type Gap = { room: string | undefined; publisher: string; missed: number };

export type StreamEvents<Item> = { item: Item; lagged: Lagged; gap: Gap };

/** Items in order, each once. Read them with `for await`, or with `on('item', ...)`. */
export interface Stream<Item = unknown> extends AsyncIterable<Item> {
  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof StreamEvents<Item>>(
    name: Name,
    listener: (event: StreamEvents<Item>[Name]) => void,
  ): () => void;
  /**
   * Items from now on, through a queue of its own that holds at most `queueLimit` items. The iteration ends with the
   * stream. It throws a PushError if the gateway ended the stream with an error.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Item, undefined>;
}

export interface Room<Item = unknown> extends Stream<Item> {
  readonly name: string;
  /**
   * Resolves when a gateway answers the JOIN with OK. Rejects with a PushError if the gateway refuses it, the API takes
   * you out of the room, or you leave before the answer.
   */
  readonly joined: Promise<void>;
  /**
   * Leaves the room at once, for everyone who joined it on this client. No more items come, not even queued ones. If you
   * join the room again, you get a new Room.
   */
  leave(): void;
}
