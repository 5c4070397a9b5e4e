import { Audience } from '../audience.ts';
import { cpuBetween, cpuOf } from '../machine.ts';
import { medianOf } from '../measure.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { type Publisher, type Server, Stack } from '../stack.ts';
import { arrived } from '../workload.ts';

/** Rooms, members of each, and messages a second to each. */
type Load = { rooms: number; members: number; rate: number };

/** Along the members of a room, along its rate, and along the number of rooms. */
const LOADS: readonly Load[] = [
  { rooms: 1, members: 10, rate: 5 },
  { rooms: 1, members: 100, rate: 5 },
  { rooms: 1, members: 1_000, rate: 5 },
  { rooms: 1, members: 3_000, rate: 5 },
  { rooms: 1, members: 10_000, rate: 5 },
  { rooms: 1, members: 1_000, rate: 2 },
  { rooms: 1, members: 1_000, rate: 100 },
  { rooms: 50, members: 10, rate: 5 },
  { rooms: 500, members: 10, rate: 5 },
  { rooms: 1_000, members: 10, rate: 10 },
];
/** Seconds until windows are as long as they stay. */
const WARM = 4;

/** `budget`: cores that the gateway allowed its frames at the end. */
type Run = { p50: number; p99: number; share: number; framesPerSecond: number; budget: number };
type Pair = { adaptive: Run; fixed: Run };

/**
 * Windows that adapt beside fixed ones of maxDelay, on the same load: latency and CPU over members and rate. Two
 * gateways have their rooms apart; the one that is not measured has no connection.
 */
export async function window({ quick, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const rows: Row[] = [];
  const data: Record<string, Pair[]> = {};
  try {
    const gateways = {
      adaptive: await stack.gateway(),
      fixed: await stack.gateway({ gateway: { batching: { adaptive: false } } }),
    };
    const publisher = await stack.publisher();
    for (const full of LOADS) {
      const load = quick ? { ...full, rooms: Math.ceil(full.rooms / 10), members: Math.ceil(full.members / 10) } : full;
      const runs: Pair[] = [];
      for (let pair = 1; pair <= pairs; pair++) {
        const adaptive = await measure(load, seconds, gateways.adaptive, publisher);
        const fixed = await measure(load, seconds, gateways.fixed, publisher);
        runs.push({ adaptive, fixed });
        progress(`${nameOf(load)}, pair ${pair}: ${textOf(adaptive)}; fixed ${textOf(fixed)}`);
      }
      rows.push(...rowsOf(load, runs));
      data[nameOf(load)] = runs;
    }
    return {
      rows,
      notes: [
        "window: messages of 100 bytes straight to the bus, evenly spaced, the rooms in turn; fixed: batching.adaptive false, maxDelay 1 s. CPU is that of all processes of the gateway, as a share of the gateway's core.",
      ],
      data,
    };
  } finally {
    await stack.stop();
  }
}

/** The series of rooms: their names differ from run to run, and so do their marks. */
let series = 0;

async function measure(load: Load, seconds: number, gateway: Server, publisher: Publisher): Promise<Run> {
  const { rooms, members, rate } = load;
  const room = `window${series++}`;
  const where = rooms === 1 ? { room } : { room: `${room}-`, rooms };
  const audience = new Audience({ port: gateway.port, rate: 2_000, ...where });
  try {
    await audience.open(rooms * members);
    const push = (messages: number) => publisher.push({ room, rooms, via: 'bus', rate: rate * rooms, messages });
    await push(rate * rooms * WARM);
    await audience.quiet(1_200);
    // The first message finds a quiet room: the one after it is the first of those that count.
    const messages = rate * rooms * seconds;
    await audience.start();
    const before = cpuOf(gateway.actor.pid);
    const began = performance.now();
    await push(messages);
    const budget = await gateway.metric('pushcluster_gateway_frame_budget_cores');
    const stat = await arrived(audience, messages * members);
    const { user, system } = cpuBetween(before, cpuOf(gateway.actor.pid));
    const took = (performance.now() - began) / 1_000;
    return {
      p50: stat.latency.p50 / 1_000,
      p99: stat.latency.p99 / 1_000,
      share: (user + system) / took,
      framesPerSecond: stat.frames / members / rooms / took,
      budget,
    };
  } finally {
    await audience.actor.stop();
  }
}

function rowsOf(load: Load, runs: readonly Pair[]): Row[] {
  const of = (which: keyof Pair, figure: (run: Run) => number) => medianOf(runs, (run) => figure(run[which]));
  const latency = (which: keyof Pair) =>
    `${round(of(which, ({ p50 }) => p50))} / ${round(of(which, ({ p99 }) => p99))}`;
  const cpu = (which: keyof Pair) =>
    `${(100 * of(which, ({ share }) => share)).toFixed(1)} %, ${round(of(which, (run) => run.framesPerSecond))} frames`;
  const isChat = load.rooms === 1 && load.members === 10;
  const p99 = of('adaptive', (run) => run.p99);
  return [
    {
      case: 'window',
      figure: `${nameOf(load)}: sent → received, p50 / p99, ms`,
      ours: latency('adaptive'),
      reference: `fixed ${latency('fixed')}`,
      ratio: medianOf(runs, ({ adaptive, fixed }) => adaptive.p99 / fixed.p99),
      ...(isChat ? { target: 'p99 ≤ 50 ms', met: p99 <= 50 } : {}),
    },
    {
      case: 'window',
      figure: `${nameOf(load)}: CPU of the core, frames a second and room`,
      ours: cpu('adaptive'),
      reference: `fixed ${cpu('fixed')}`,
      ratio: medianOf(runs, ({ adaptive, fixed }) => adaptive.share / fixed.share),
    },
  ];
}

function textOf({ p50, p99, share, budget }: Run): string {
  return `${round(p50)} / ${round(p99)} ms, ${(100 * share).toFixed(1)} %, budget ${round(budget)} cores`;
}

function nameOf({ rooms, members, rate }: Load): string {
  const number = (value: number) => value.toLocaleString('en');
  return `${rooms === 1 ? '1 room' : `${number(rooms)} rooms`} of ${number(members)}, ${number(rate)} messages/s each`;
}
