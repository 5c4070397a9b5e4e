import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import type { ErrorCode } from '@pushcluster/protocol/frames.ts';

/** Values of metrics' labels. Each is there from the start with 0, so that Prometheus sees the first increase. */

const KNOWN_CODES = [1000, 1001, 1005, 1006, 1007, 1011, ...Object.values(CloseCode)];
export const CLOSE_LABELS: readonly string[] = [...KNOWN_CODES.map(String), 'other'];

/** The label of a close code. Clients choose codes at will, so codes that are not known share a label. */
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

/** Why frames of clients have no effect: labels of `frames_ignored_total`. */
export const IGNORED_REASONS: readonly string[] = ['binary', 'unknown', ...Object.keys(REFUSED_FRAMES)];
