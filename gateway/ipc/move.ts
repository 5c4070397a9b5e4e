/** Why connections were asked to move: the process ends, it was told to drain, or others have more room. */
export const MOVE_REASONS = ['leave', 'drain', 'rebalance'] as const;
export type MoveReason = (typeof MOVE_REASONS)[number];

/** What a v1 client is told when it is asked to move. Milliseconds. */
export type MoveTime = {
  /** By then it should be served elsewhere. */
  withinMs: number;
  /** How long it has to listen here once it is in its rooms elsewhere: what waits in a window reaches it. */
  overlapMs: number;
};
