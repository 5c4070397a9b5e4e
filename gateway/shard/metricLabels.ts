import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import type { ErrorCode } from '@pushcluster/protocol/frames.ts';

/** Values of metrics' labels: each is there from the start, at 0, so that its first increase is one. */

const KNOWN_CODES = [1000, 1001, 1005, 1006, 1007, 1011, ...Object.values(CloseCode)];
export const CLOSE_LABELS: readonly string[] = [...KNOWN_CODES.map(String), 'other'];

/** Strangers choose close codes: those that we know have a label, others share one. */
export function closeLabel(code: number): string {
  const label = String(code);
  return CLOSE_LABELS.includes(label) ? label : 'other';
}

const REFUSED_FRAMES = {
  bad_frame: true,
  bad_room: true,
  room_limit: true,
  room_forbidden: true,
  left: true,
  unauthorized: true,
  unavailable: true,
} satisfies Record<ErrorCode, true>;

/** Why frames of clients have no effect. */
export const IGNORED_REASONS: readonly string[] = ['binary', 'unknown', ...Object.keys(REFUSED_FRAMES)];
