/**
 * Where a test listens, or knows that nobody does: an address of loopback that no other process has. Whoever listens on
 * 127.0.0.1 on whichever port is not met there.
 * @param last 1 to 254: a process has that many addresses
 */
export function ownAddress(last: number): string {
  return `127.${64 + ((process.pid >> 8) & 0x7f)}.${process.pid & 0xff}.${last}`;
}

/** Below the ports that the system hands out by itself, so that none that listens on every address gets it by chance. */
export const OWN_PORT = 17_790;
