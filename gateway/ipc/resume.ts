import type { JoinFrom, Position } from '@pushcluster/protocol/frames.ts';

/** What a member of a room with history asks the hub for. */
export type ResumeFrom =
  /** The answer to a JOIN: what was missed since a position, the last pushes, or neither. */
  | ({ type: 'join' } & JoinFrom)
  /** What follows a frame of an earlier answer, which was not the last. */
  | { type: 'next'; after: Position };

/**
 * The hub's answer, in order with the room's frames: what it tells of is before them. `frames` are PUSH frames as JSON. `more`:
 * they are not all, and the member is still behind.
 */
export type ResumeAnswer =
  | { type: 'resumed'; position: Position; recovered?: boolean; frames: string[]; more: boolean }
  /** The room has no history here: its policy has changed. */
  | { type: 'none' }
  /** The store does not answer. */
  | { type: 'unavailable' };
