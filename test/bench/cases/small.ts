import { Audience, pause } from '../audience.ts';
import { type Cpu, cpuBetween, cpuOf, memoryOf, SERVER_CORE } from '../machine.ts';
import { medianOf } from '../measure.ts';
import { CENTRIFUGO, CENTRIFUGO_CLIENT, startCentrifugo } from '../peers/centrifugo.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Publisher, type Pushing, Stack } from '../stack.ts';

/** Rooms, members of each, and messages a second over all rooms. */
type Load = { rooms: number; members: number; rate: number };

const LOADS: readonly Load[] = [
  { rooms: 1_000, members: 5, rate: 1_000 },
  { rooms: 5_000, members: 1, rate: 1_000 },
  { rooms: 5_000, members: 1, rate: 5_000 },
];

/** What pushes and receives: the product, or another server with the same load. */
type Server = {
  port: number;
  client: { path?: string; hello?: string; ready?: string; room: string };
  publisher: Publisher;
  via: Pushing['via'];
  /** Processes by what they are counted as. */
  processes: Readonly<Record<string, number>>;
};

/** Figures of one measurement: microseconds of CPU a delivery by process, milliseconds of latency, bytes a connection. */
type Run = { cpu: Record<string, number>; all: number; p50: number; p99: number; rss: number };

/**
 * Many small rooms: single messages of 100 bytes over HTTP, each to a room of one or five. All processes of a server share
 * its core: gateway, logic and nats-server of ours. With `PEERS=1` beside Centrifugo, in the same run.
 */
export async function small({ quick, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const peers = process.env.PEERS === '1';
  const rows: Row[] = [];
  const data: Record<string, unknown> = {};
  for (const full of LOADS) {
    const load = quick ? { ...full, rooms: full.rooms / 10, rate: full.rate / 10 } : full;
    const runs: { ours: Run; peer?: Run }[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = { ours: await ours(load, seconds), ...(peers ? { peer: await centrifugo(load, seconds) } : {}) };
      runs.push(run);
      const beside = run.peer ? `, Centrifugo ${round(run.peer.all)}` : '';
      progress(`${nameOf(load)}, pair ${pair}: ${round(run.ours.all)} µs a delivery${beside}`);
    }
    rows.push(...rowsOf(load, runs));
    data[nameOf(load)] = runs;
  }
  return {
    rows,
    notes: [
      'small: single messages by POST /v1/push, no retries, a window of 1 s; CPU is that of all processes of a server, user and system, on one core.',
      ...(peers
        ? [`small: Centrifugo ${CENTRIFUGO}, memory engine, GOMAXPROCS=1, its HTTP API in the same process.`]
        : []),
    ],
    data,
  };
}

async function ours(load: Load, seconds: number): Promise<Run> {
  const stack = await Stack.start(SERVER_CORE);
  try {
    const gateway = await stack.gateway();
    const logic = await stack.logic(SERVER_CORE);
    const publisher = await stack.publisher(logic);
    return await measure(load, seconds, {
      port: gateway.port,
      client: { room: 'small-' },
      publisher,
      via: 'logic',
      processes: { gateway: gateway.actor.pid, logic: logic.actor.pid, nats: stack.natsPid },
    });
  } finally {
    await stack.stop();
  }
}

async function centrifugo(load: Load, seconds: number): Promise<Run> {
  const stack = await Stack.start();
  try {
    const { actor, port, api } = await startCentrifugo(stack.folder);
    const publisher = await Publisher.start({ nats: '', prefix: 'bench', logicPort: 0, url: api });
    const client = { ...CENTRIFUGO_CLIENT, room: 'small-' };
    const run = await measure(load, seconds, {
      port,
      client,
      publisher,
      via: 'centrifugo',
      processes: { all: actor.pid },
    });
    await publisher.actor.stop();
    await actor.stop();
    return run;
  } finally {
    await stack.stop();
  }
}

async function measure(load: Load, seconds: number, server: Server): Promise<Run> {
  const { rooms, members, rate } = load;
  const connections = rooms * members;
  const audience = new Audience({ port: server.port, rooms, rate: 2_000, ...server.client });
  const rss = () => Object.values(server.processes).reduce((sum, pid) => sum + memoryOf(pid).rss, 0);
  try {
    const half = Math.round(connections / 2);
    await audience.open(half);
    const before = rss();
    await audience.open(connections - half);
    const each = (rss() - before) / (connections - half);
    const push = (messages: number) => server.publisher.push({ room: 'small', rooms, via: server.via, rate, messages });
    // Until V8 has compiled what is measured, and windows are open as they are later.
    await push(rate * 2);
    await audience.quiet(1_500);
    await audience.start();
    const read = () => Object.entries(server.processes).map(([name, pid]) => [name, cpuOf(pid)] as const);
    const started = read();
    const messages = rate * seconds;
    await push(messages);
    const stat = await arrived(audience, messages * members);
    const ended = new Map(read());
    const us = ({ user, system }: Cpu) => ((user + system) * 1e6) / stat.items;
    const cpu = Object.fromEntries(started.map(([name, was]) => [name, us(cpuBetween(was, ended.get(name)!))]));
    return {
      cpu,
      all: Object.values(cpu).reduce((sum, one) => sum + one, 0),
      p50: stat.latency.p50 / 1_000,
      p99: stat.latency.p99 / 1_000,
      rss: each,
    };
  } finally {
    await audience.actor.stop();
  }
}

/** Waits for `items`. Throws if they do not arrive. */
async function arrived(audience: Audience, items: number) {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const stat = await audience.stat();
    if (stat.items === items) return stat;
    if (stat.items > items || performance.now() > deadline)
      throw new Error(`small: ${stat.items} items came, ${items} were sent`);
    await pause(20);
  }
}

function rowsOf(load: Load, runs: readonly { ours: Run; peer?: Run }[]): Row[] {
  const of = (figure: (run: Run) => number) => round(medianOf(runs, ({ ours }) => figure(ours)));
  const peer = (figure: (run: Run) => number) => medianOf(runs, (run) => (run.peer ? figure(run.peer) : Number.NaN));
  const hasPeer = runs.some((run) => run.peer);
  const compared = (ours: (run: Run) => number) =>
    hasPeer
      ? {
          reference: `Centrifugo ${round(peer(ours))}`,
          ratio: medianOf(runs, (run) => (run.peer ? ours(run.ours) / ours(run.peer) : Number.NaN)),
        }
      : {};
  const parts = Object.keys(runs[0]!.ours.cpu)
    .map((name) => `${name} ${of((run) => run.cpu[name]!)}`)
    .join(' + ');
  const name = nameOf(load);
  return [
    {
      case: 'small',
      figure: `${name}: CPU a delivery, all processes, µs`,
      ours: `${of((run) => run.all)} (${parts})`,
      ...compared((run) => run.all),
    },
    {
      case: 'small',
      figure: `${name}: accepted → received, p50, ms`,
      ours: of((run) => run.p50),
      ...compared((run) => run.p50),
    },
    { case: 'small', figure: `${name}: the same, p99`, ours: of((run) => run.p99), ...compared((run) => run.p99) },
    {
      case: 'small',
      figure: `${name}: RSS of a connection, KB`,
      ours: of((run) => run.rss / 1024),
      ...compared((run) => run.rss / 1024),
    },
  ];
}

function nameOf({ rooms, members, rate }: Load): string {
  const number = (value: number) => value.toLocaleString('en');
  return `${number(rooms)} rooms of ${members}, ${number(rate)} messages/s`;
}
