import { median, medianOf } from '../measure.ts';
import { centrifugo } from '../peers/centrifugo.ts';
import { socketIo, ws } from '../peers/npm.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { type Changes, pushCluster, pushClusterInOne } from '../serverUnderTest.ts';
import { measure, type Run, titleOf, type Workload } from '../workload.ts';

/** A workload with what differs from our default settings in it. */
type Contest = { name: string; workload: Workload; changes: Changes };

/** Messages a second of the rooms that are small. */
const SMALL_RATE = 1_000;

/**
 * Other servers beside ours, in the same run and with the same load: one big room with the default window and with none,
 * many small rooms, and many users. All processes of a server share its core.
 */
export async function peers({ connections, pairs, seconds, quick, progress }: Scale): Promise<Outcome> {
  const rows: Row[] = [];
  const data: Record<string, unknown> = {};
  for (const { name, workload, changes } of contests(connections, quick)) {
    const servers = [() => pushCluster(changes), () => pushClusterInOne(changes), centrifugo, socketIo, ws];
    const runs = new Map<string, Run[]>();
    for (let pair = 1; pair <= pairs; pair++)
      for (const start of servers) {
        const run = await measure(workload, seconds, start);
        runs.set(run.server, [...(runs.get(run.server) ?? []), run]);
        progress(`${name}, ${run.server}: ${round(run.all)} µs a delivery, p99 ${round(run.p99)} ms`);
      }
    rows.push(...rowsOf(`${name} (${titleOf(workload)})`, runs));
    data[name] = Object.fromEntries(runs);
  }
  return {
    rows,
    notes: [
      'peers: CPU a delivery, µs · accepted → received, p50 / p99, ms · bytes a delivery on the wire · RSS of a connection, KB. The ratio is that of CPU.',
      'peers: single messages of 100 bytes over HTTP; CPU is that of all processes of a server on one core. Ours has logic and NATS in front of the gateway; with `make run` all is in one process and its shards.',
      'peers: the others have their default settings (Centrifugo: memory engine, GOMAXPROCS=1; socket.io: WebSockets alone, bufferutil) and no pings. They send a frame for each message.',
    ],
    data,
  };
}

function contests(connections: number, quick: boolean): Contest[] {
  const many = quick ? connections : connections / 2;
  const rate = quick ? SMALL_RATE / 10 : SMALL_RATE;
  const room = { rooms: 1, members: connections, rate: 10, to: 'room' } as const;
  return [
    { name: 'one room, merged', workload: room, changes: {} },
    { name: 'one room, not merged', workload: room, changes: { maxDelay: 0 } },
    { name: 'small rooms', workload: { rooms: many / 5, members: 5, rate, to: 'room' }, changes: {} },
    { name: 'users', workload: { rooms: many, members: 1, rate, to: 'user' }, changes: { users: many } },
  ];
}

function rowsOf(name: string, runs: ReadonlyMap<string, readonly Run[]>): Row[] {
  const [ours = []] = runs.values();
  return [...runs].map(([server, each], index) => {
    const of = (figure: (run: Run) => number) => round(medianOf(each, figure));
    const ratio = median(ours.map((run, pair) => run.all / each[pair]!.all));
    return {
      case: 'peers',
      figure: `${name}: ${server}`,
      ours: `${of((run) => run.all)} · ${of((run) => run.p50)} / ${of((run) => run.p99)} · ${of((run) => run.bytes)} · ${of((run) => run.rss / 1024)}`,
      reference: `core ${Math.round(100 * medianOf(each, (run) => run.share))} % busy`,
      ...(index === 0 ? {} : { ratio }),
    };
  });
}
