/**
 * A loopback address that no other process uses, for a test that listens there or needs an address where nobody
 * listens. Servers on any port of 127.0.0.1 are not reachable there.
 * @param last 1 to 254, the last byte of the address
 */
export function ownAddress(last: number): string {
  return `127.${64 + ((process.pid >> 8) & 0x7f)}.${process.pid & 0xff}.${last}`;
}

/** Below the range of ephemeral ports, so that no server that listens on all addresses gets this port by chance. */
export const OWN_PORT = 17_790;
