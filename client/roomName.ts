import { MAX_NAME_BYTES } from '@pushcluster/protocol/names.ts';

/** Whether a room may have this name: as the protocol's `nameProblem`, in less code. */
export function isRoomName(name: string): boolean {
  try {
    // Throws if half a character is alone.
    const { length } = encodeURIComponent(name).replace(/%../g, '.');
    return length > 0 && length <= MAX_NAME_BYTES;
  } catch {
    return false;
  }
}
