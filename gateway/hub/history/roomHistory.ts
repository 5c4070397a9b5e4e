import type { Position } from '@pushcluster/protocol/frames.ts';
import type { Extract, StoredPush, StreamState } from '@pushcluster/runtime/history/historyStore.ts';
import type { RoomRing } from './roomRing.ts';

/** Pushes read at once. */
export const BATCH = 200;

/** Where a room of this gateway is in its history, for members that come back, or come late. */
export interface RoomHistory {
  /** Everything up to this sequence number was taken; undefined before the room has begun. */
  readonly head: number | undefined;
  /** The history that the numbers count in; undefined before the store has said so. */
  readonly epoch: string | undefined;
  /** The stream as it was last seen. */
  readonly stream: StreamState | undefined;
  /** Its last messages. */
  readonly ring: RoomRing;
  /** Messages are on their way to a frame that was not sent. */
  readonly isPending: boolean;
  /**
   * Where members are that are not behind: all frames that are sent from now on have larger numbers. Undefined before the
   * store has said where the room is.
   */
  place(): Position | undefined;
  /**
   * A member that was placed has everything up to this number, which is more than `head`: it is told of nothing again, so no
   * frame has pushes of both sides of it.
   */
  isAhead(seq: number): void;
  /** A frame that ends with this number was sent to the shards. */
  framesSent(position: { epoch: string | undefined; seq: number }): void;
  /** Pushes of the room from `from` on. Rejects as the store does. @param limit at most BATCH, which it is by default */
  read(from: number, limit?: number): Promise<Extract>;
  /** Keeps pushes that were read: all between `after` and the ring's floor. */
  keep(pushes: readonly StoredPush[], after: number): void;
  /**
   * Number of the room's first push after `after`, by a server that knows the stream up to `upTo`; infinite if it has none.
   * Rejects as the store does.
   */
  next(after: number, upTo: number): Promise<number>;
  /** Resolves once the store has said, from now on, which history it has. Rejects as the store does. */
  looked(): Promise<void>;
  /** Milliseconds for which an answer of the store may be one of a former leader. */
  readonly formerMs: number;
  /** The stream lacks what it had, as far as this gateway knows, and may have been set back. It is known soon. */
  readonly mayBeSetBack: boolean;
  /** Whether the stream has this number already: a client may have it from a gateway that is ahead. */
  hasReached(seq: number): Promise<boolean>;
}
