import type { Connection } from './connection.ts';

/** The most closures in any second, as the clients saw them; those that are still open don't count. */
export function busiestSecond(connections: readonly Connection[]): { most: number; total: number } {
  const times = connections.flatMap(({ closing }) => closing?.at ?? []).sort((a, b) => a - b);
  let most = 0;
  let from = 0;
  for (const [i, time] of times.entries()) {
    while (times[from]! <= time - 1_000) from++;
    most = Math.max(most, i - from + 1);
  }
  return { most, total: times.length };
}

/** Opens `count` connections, a hundred at a time. */
export async function openMany(count: number, open: () => Promise<Connection>): Promise<Connection[]> {
  const connections: Connection[] = [];
  while (connections.length < count) {
    const some = Math.min(100, count - connections.length);
    connections.push(...(await Promise.all(Array.from({ length: some }, open))));
  }
  return connections;
}
