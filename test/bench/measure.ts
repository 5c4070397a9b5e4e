import type { Audience, Stat } from './audience.ts';
import { type Cpu, cpuBetween, cpuOf } from './machine.ts';

/** One measurement of sending to an audience. */
export type Measured = {
  stat: Stat;
  /** CPU use of the server during the measurement. */
  cpu: Cpu;
  /** Microseconds of server CPU per frame and connection, and per item and connection. */
  frameUs: number;
  messageUs: number;
  userFrameUs: number;
  systemFrameUs: number;
  /** Bytes of a frame on the wire, and items in a frame. */
  frameBytes: number;
  frameItems: number;
  /** Items per second that all connections together received. */
  itemsPerSecond: number;
  /** Shares of a core, 0 to 1. */
  serverShare: number;
  clientShare: number;
};

/**
 * Measures the server's CPU while `work` sends to the audience. The measurement ends when every reading connection has
 * received the item `lastMark` that `work` returns, or when nothing more arrives.
 */
export async function measured(
  server: number,
  audience: Audience,
  work: () => Promise<{ lastMark: number }>,
): Promise<Measured> {
  await audience.start();
  const before = cpuOf(server);
  const { lastMark } = await work();
  const stat = await audience.drained(lastMark);
  const cpu = cpuBetween(before, cpuOf(server));
  const total = (cpu.user + cpu.system) * 1e6;
  return {
    stat,
    cpu,
    frameUs: total / stat.frames,
    messageUs: total / stat.items,
    userFrameUs: (cpu.user * 1e6) / stat.frames,
    systemFrameUs: (cpu.system * 1e6) / stat.frames,
    frameBytes: stat.bytes / stat.frames,
    frameItems: stat.items / stat.frames,
    itemsPerSecond: stat.items / stat.seconds,
    serverShare: total / 1e6 / stat.seconds,
    clientShare: (stat.cpu.user + stat.cpu.system) / stat.seconds,
  };
}

/** Throws if connections did not receive all items in order. */
export function assertWhole(what: string, { stat }: Measured, items?: number) {
  const problems: string[] = [];
  if (stat.gaps > 0) problems.push(`${stat.gaps} items missing`);
  if (stat.disorder > 0) problems.push(`${stat.disorder} frames out of order`);
  if (stat.broken > 0) problems.push(`${stat.broken} frames unreadable`);
  if (items !== undefined && stat.items !== items) problems.push(`${stat.items} items came, ${items} were sent`);
  const closes = Object.entries(stat.closes);
  if (closes.length > 0) problems.push(`closed: ${closes.map(([code, count]) => `${count} × ${code}`).join(', ')}`);
  if (problems.length > 0) throw new Error(`${what}: ${problems.join('; ')}`);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of one figure over several measurements. */
export function medianOf<T>(runs: readonly T[], figure: (run: T) => number): number {
  return median(runs.map(figure));
}
