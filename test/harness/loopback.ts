/**
 * A loopback address that no other process uses, for a test that listens there or needs an address where nobody
 * listens. Servers on any port of 127.0.0.1 are not reachable there.
 * @param last 1 to 254, the last byte of the address
 */
export function ownAddress(last: number): string {
  return `127.${64 + ((process.pid >> 8) & 0x7f)}.${process.pid & 0xff}.${last}`;
}

/** Below the range of ephemeral ports and that of freePorts, so that nobody takes it on all addresses by chance. */
export const OWN_PORT = 11_790;
