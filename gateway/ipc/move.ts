/** Why connections were asked to move: the gateway shuts down, it drains, or it rebalances. */
export const MOVE_REASONS = ['leave', 'drain', 'rebalance'] as const;
export type MoveReason = (typeof MOVE_REASONS)[number];

/** What RECONNECT tells a v1 client that is asked to move. Milliseconds. */
export type MoveTime = {
  /** The client should be connected to another gateway by then. */
  withinMs: number;
  /**
   * How long the client must keep this connection once it is in its rooms on the other one: what waits in a window
   * here still comes.
   */
  overlapMs: number;
};
