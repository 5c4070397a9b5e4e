import { createServer } from 'node:net';
import { listenAddress } from './listenAddress.ts';

/**
 * Resolves if this process can bind `port` exclusively. The engine listens with SO_REUSEPORT and would silently share a
 * port with another process of the same user. Port 0 (any) is always free.
 * @param what the listener, such as `WebSocket`
 * @param remedy what to do if the port is in use, such as `set PORT to another`
 * @throws Error with a sentence that says what is wrong and what to do
 */
export async function assertPortFree(
  host: string,
  port: number,
  what: string,
  remedy = 'set another port',
): Promise<void> {
  if (port === 0) return;
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: listenAddress(host), port, exclusive: true }, resolve);
    });
  } catch (error) {
    throw new Error(listenProblem(error, host, port, what, remedy), { cause: error });
  }
  await new Promise<void>((resolve) => server.close(() => resolve()));
}

/** Why listening on `port` failed with `error`, as a sentence. */
export function listenProblem(error: unknown, host: string, port: number, what: string, remedy: string): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'EADDRINUSE':
      return `${what}: port ${port} is taken by another process on ${host}: stop that one, or ${remedy}`;
    case 'EACCES':
      return `${what}: this user may not listen on port ${port}: ${remedy} (1024 or above)`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `${what}: ${host} is not an address of this machine`;
    default:
      return `${what}: cannot listen on ${host} port ${port}: ${error instanceof Error ? error.message : String(error)}`;
  }
}
