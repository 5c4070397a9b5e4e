import type { JoinFrom, Position } from '@pushcluster/protocol/frames.ts';

/** What a member of a room with history asks the hub for. */
export type ResumeFrom =
  /** The answer to a JOIN: what was missed since a position, the last pushes, or neither. */
  | ({ type: 'join' } & JoinFrom)
  /** What follows on a push that the member has. `away`: milliseconds since it had all that there was, if that is known. */
  | { type: 'next'; after: Position; away?: number };

/** A PUSH frame that was missed, the position of its last push, and its items. `deflated`: the compressed form, as base64. */
export type ResumeFrame = { seq: number; items: number } & ({ text: string } | { deflated: string });

/** The hub's answer, in order with the room's frames. */
export type ResumeAnswer =
  | {
      type: 'resumed';
      /** What is sent to the room from now on follows on it. */
      place: Position;
      /** Absent if the JOIN asked for nothing. False: something may be missing, and there are no frames. */
      recovered?: boolean;
      /** What was missed up to `place`, or its beginning. */
      frames: readonly ResumeFrame[];
      /** Position of the last push of what was missed, or of the client if nothing was; absent if it is that of `place`. */
      replayTo?: number;
      /** Otherwise the member is still behind once it has the frames. */
      isAll: boolean;
    }
  /** The room has no history here: its policy has changed. */
  | { type: 'none' }
  /** The store does not answer. */
  | { type: 'unavailable' };

function bodyOf(frame: ResumeFrame): string {
  return 'text' in frame ? frame.text : frame.deflated;
}

/** What the member's socket is sent. */
export function messageOf(frame: ResumeFrame): string | Uint8Array {
  return 'text' in frame ? frame.text : Buffer.from(frame.deflated, 'base64');
}

/** Bytes of an answer for flow control, about. */
export function answerSize(answer: ResumeAnswer): number {
  let size = 256;
  if (answer.type === 'resumed') for (const frame of answer.frames) size += bodyOf(frame).length;
  return size;
}
