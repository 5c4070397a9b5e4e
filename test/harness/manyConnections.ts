import type { Connection } from './connection.ts';

/** Opens `count` connections, a hundred at a time. */
export async function openMany(count: number, open: () => Promise<Connection>): Promise<Connection[]> {
  const connections: Connection[] = [];
  while (connections.length < count) {
    const some = Math.min(100, count - connections.length);
    connections.push(...(await Promise.all(Array.from({ length: some }, open))));
  }
  return connections;
}
