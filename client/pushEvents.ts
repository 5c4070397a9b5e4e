import type { PushError } from './pushError.ts';
import type { Gap, Lagged } from './stream.ts';

/**
 * `connecting` · `open` · `moving` (open, and on its way to another gateway) · `waiting` (for the next attempt) ·
 * `closed` (for good).
 */
export type ClientState = 'connecting' | 'open' | 'moving' | 'waiting' | 'closed';

export type Closed = {
  code: number;
  reason: string;
  willRetry: boolean;
  /** Milliseconds until the next attempt. Absent if there is none, or if it is under way. */
  retryIn?: number;
};

export type Left = { room: string; reason: string };

/** A frame as it came on the wire. */
export type WireFrame = {
  /** Bytes on the wire: compressed, if the frame was. */
  bytes: number;
  /** The JSON text. */
  text: string;
  /** Number of items in it. */
  items: number;
  /** Milliseconds since the epoch. */
  at: number;
};

/** What a client tells its page. */
export type PushEvents = {
  state: ClientState;
  /** Connected; again after each reconnect. */
  open: undefined;
  /** The connection was lost or ended. Not emitted by close(), nor if another connection has already taken over. */
  close: Closed;
  /** Another gateway took over, with nothing lost and nothing twice. */
  moved: undefined;
  lagged: Lagged;
  gap: Gap;
  /** The API took you out of a room. */
  left: Left;
  /** A refused room, a token callback that failed, a malformed frame. The client goes on. */
  error: PushError;
  /** Every frame, for debugging. */
  frame: WireFrame;
};
