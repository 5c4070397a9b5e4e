import { createServer, type Server } from 'node:net';

/**
 * The first port to try. Free ports are below the kernel's range of ephemeral ports, so that no client of a test takes
 * the port of a server during its restart.
 */
const FIRST = 12_000;
const LAST = 32_000;

/** Held until this process ends: see `reserve`. */
const reservations: Server[] = [];

/**
 * Finds `count` ports on which no process listens, on any address. Until this process ends, no other test that runs at
 * the same time gets one of them, also before the servers of this test listen, and while they are restarted.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    if ((await isFree(port)) && (await reserve(port))) ports.push(port);
  }
  return ports;
}

/** Whether this process could listen on `port` now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '0.0.0.0', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/**
 * Reserves `port` among the processes that call this; false if it is reserved already. The reservation is a socket in
 * the kernel's abstract namespace, which has no file and ends with its process, however that ends.
 */
function reserve(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().unref();
    server.once('error', () => resolve(false));
    server.listen({ path: `\0pushcluster-test-port-${port}`, exclusive: true }, () => {
      reservations.push(server);
      resolve(true);
    });
  });
}
