import { Audience, pause } from './audience.ts';
import { type Cpu, cpuBetween, cpuOf, memoryOf } from './machine.ts';
import type { ServerUnderTest } from './serverUnderTest.ts';

/** Connections in rooms, or of users, and what is pushed to them: single messages of 100 bytes. */
export type Workload = {
  /** Rooms; users if messages go to users. */
  rooms: number;
  members: number;
  /** Messages a second over all rooms. */
  rate: number;
  to: 'room' | 'user';
};

/** Figures of one measurement of a server: microseconds of CPU a delivery, milliseconds of latency, bytes. */
export type Run = {
  server: string;
  cpu: Record<string, number>;
  all: number;
  p50: number;
  p99: number;
  /** Of a connection, in all processes of the server. */
  rss: number;
  /** On the wire, for each delivery. */
  bytes: number;
  /** CPU seconds of all processes a second: 1 is a saturated server. */
  share: number;
};

/**
 * Messages to the first connection of a single room, and their rate: a server runs for weeks, and at ten messages a second
 * its code would still be compiled in the first minutes.
 */
export const FIRST = { messages: 3_000, rate: 300 };
/** Messages over all rooms before a measurement, at least, and their rate: until V8 has compiled what is measured. */
const WARM = { messages: 20_000, rate: 5_000 };
/** Longest time that messages are waited for, milliseconds. */
const PATIENCE_MS = 60_000;
/** Milliseconds without a frame, after which every window of a room has ended. */
const QUIET_MS = 1_500;

/** `1,000 rooms of 5, 1,000 messages/s` */
export function titleOf({ rooms, members, rate, to }: Workload): string {
  const number = (value: number) => value.toLocaleString('en');
  const many = `${number(rooms)} ${to}${rooms === 1 ? '' : 's'}`;
  return `${many}${to === 'room' ? ` of ${number(members)}` : ''}, ${number(rate)} message${rate === 1 ? '' : 's'}/s`;
}

/**
 * Starts a server, opens the connections, pushes for `seconds`, waits until all has arrived, and stops it. Throws if
 * something does not arrive.
 */
export async function measure(
  workload: Workload,
  seconds: number,
  start: () => Promise<ServerUnderTest>,
): Promise<Run> {
  const server = await start();
  try {
    return await measureOn(server, workload, seconds);
  } finally {
    await server.stop();
  }
}

async function measureOn(server: ServerUnderTest, workload: Workload, seconds: number): Promise<Run> {
  const { rooms, members, rate, to } = workload;
  const connections = rooms * members;
  const base = to === 'user' ? 'user' : 'bench';
  const named = rooms === 1 ? { room: base } : { room: `${base}-`, rooms };
  const audience = new Audience({ port: server.port, rate: 2_000, ...named, ...server.client });
  const rss = () => Object.values(server.processes).reduce((sum, pid) => sum + memoryOf(pid).rss, 0);
  try {
    const half = Math.round(connections / 2);
    if (rooms === 1) {
      await audience.open(1);
      await server.publisher.push({ room: base, to, via: server.via, ...FIRST });
    }
    await audience.open(half - (rooms === 1 ? 1 : 0));
    const before = rss();
    await audience.open(connections - half);
    const each = (rss() - before) / (connections - half);
    const push = (messages: number, each = rate) =>
      server.publisher.push({ room: base, rooms, to, via: server.via, rate: each, messages });
    if (rooms > 1 && rate * 2 < WARM.messages) await push(WARM.messages, WARM.rate);
    // Windows are open as they are later.
    await push(rate * 2);
    await audience.quiet(QUIET_MS);
    await audience.start();
    const read = () => Object.entries(server.processes).map(([name, pid]) => [name, cpuOf(pid)] as const);
    const started = read();
    const since = performance.now();
    const messages = rate * seconds;
    await push(messages);
    const stat = await arrived(audience, messages * members);
    const ended = new Map(read());
    const took = (performance.now() - since) * 1_000;
    const us = ({ user, system }: Cpu) => ((user + system) * 1e6) / stat.items;
    const cpu = Object.fromEntries(started.map(([name, was]) => [name, us(cpuBetween(was, ended.get(name)!))]));
    const all = Object.values(cpu).reduce((sum, one) => sum + one, 0);
    return {
      server: server.name,
      cpu,
      all,
      p50: stat.latency.p50 / 1_000,
      p99: stat.latency.p99 / 1_000,
      rss: each,
      bytes: stat.bytes / stat.items,
      share: (all * stat.items) / took,
    };
  } finally {
    await audience.actor.stop();
  }
}

/** Waits for `items` on all connections together. Throws if they do not arrive. */
export async function arrived(audience: Audience, items: number) {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const stat = await audience.stat();
    if (stat.items === items) return stat;
    if (stat.items > items || performance.now() > deadline)
      throw new Error(`${stat.items} items came, ${items} were sent`);
    await pause(20);
  }
}
