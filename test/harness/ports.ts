import { createServer } from 'node:net';

/**
 * Where free ports are looked for: below the kernel's own range for outgoing connections, so that none of a test's
 * clients takes the port of a server that is just being restarted.
 */
const FIRST = 12_000;
const LAST = 32_000;

/** `count` ports that nobody listens on, on any address. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

/** Whether this process alone could listen on `port` now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
