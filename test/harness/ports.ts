import { createServer } from 'node:net';

/**
 * The first port to try. Free ports are below the kernel's range of ephemeral ports, so that no client of a test takes
 * the port of a server during its restart.
 */
const FIRST = 12_000;
const LAST = 32_000;

/** Finds `count` ports on which no process listens, on any address. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

/** Whether this process could listen on `port` now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
