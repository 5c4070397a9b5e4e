import { MAX_NAME_BYTES } from '@pushcluster/protocol/names.ts';

/** Whether a room may have this name: as the protocol's `nameProblem`, in less code. */
export function isRoomName(name: string): boolean {
  const { size } = new Blob([name]);
  return size > 0 && size <= MAX_NAME_BYTES && !/\p{Surrogate}/u.test(name);
}
