import { monitorEventLoopDelay } from 'node:perf_hooks';
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

/**
 * Watches how late this process gets its turn: what had come meanwhile is stamped as of the end of that, and so as of fewer
 * seconds than it took. The function ends that, and returns by which factor a busiest second may seem busier, 1 or a little more.
 */
export function watchLateness(): () => number {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  return () => {
    delay.disable();
    return 1 + delay.max / 1e9;
  };
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
