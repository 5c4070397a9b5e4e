import type { LagReason } from '@pushcluster/protocol/frames.ts';

/** Items that did not come. `queue`: a `for await` here was too slow; the other reasons are the gateway's. */
export type Lagged = { room: string | undefined; dropped: number; reason: LagReason | 'queue' };

/**
 * Counters of one publisher that were skipped before the next item. The items were lost, while connected or between two
 * connections, or dropped by the room's overload policy.
 */
export type Gap = { room: string | undefined; publisher: string; missed: number };

export type StreamEvents<Item> = { item: Item; lagged: Lagged; gap: Gap };

/** A place in a room's history. As JSON it can be stored. */
export type RoomPosition = {
  epoch: string;
  seq: number;
  /** When nothing was missing up to it, milliseconds since the epoch. */
  at?: number | undefined;
};

/** Where a position is kept: `sessionStorage`, or anything with these two. If they throw, or answer by promises, nothing is kept. */
export type PositionStorage = {
  getItem(key: string): string | null | undefined;
  setItem(key: string, value: string): void;
};

export type JoinOptions = {
  /** Leaves the room when it aborts. */
  signal?: AbortSignal | null | undefined;
  /** A room with history goes on here: the `position` of an earlier Room, perhaps of another page. */
  since?: RoomPosition | null | undefined;
  /** A room with history begins with its last pushes, so many, 1 to 1,000. `since` comes first. */
  last?: number | null | undefined;
  /** Keeps the position, so that a page that is loaded again goes on where it was. `since` comes first, and `last` after it. */
  storage?: PositionStorage | null | undefined;
};

/**
 * Why a room did not go on where it was. `unrecovered`: its history no longer reaches back, or the gateway has none.
 * `reset`: the history was made anew, or ended.
 */
export type ResetReason = 'unrecovered' | 'reset';

export type RoomEvents<Item> = StreamEvents<Item> & {
  /** The missed items of the room's history have come: so many. */
  resumed: { items: number };
  /** Items may be missing before the next one. */
  reset: { reason: ResetReason };
};

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
  /** Where the room is in its history; undefined if it has none, or that is not known yet. */
  readonly position: RoomPosition | undefined;
  /** Calls `listener` at each event until the returned function is called. */
  on<Name extends keyof RoomEvents<Item>>(name: Name, listener: (event: RoomEvents<Item>[Name]) => void): () => void;
  /**
   * Resolves when a gateway answers the JOIN with OK: code that awaits it runs before anything that follows. Rejects with
   * a PushError if the gateway refuses it, the API takes you out of the room, or you leave before the answer.
   */
  readonly joined: Promise<void>;
  /**
   * Leaves the room at once, for everyone who joined it on this client. No more items come, not even queued ones. If you
   * join the room again, you get a new Room.
   */
  leave(): void;
}
