import { medianOf } from '../measure.ts';
import { CENTRIFUGO, centrifugo } from '../peers/centrifugo.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { gatewayAlone, pushCluster } from '../serverUnderTest.ts';
import { measure, type Run, titleOf, type Workload } from '../workload.ts';

const LOADS: readonly Workload[] = [
  { rooms: 1_000, members: 5, rate: 1_000, to: 'room' },
  { rooms: 5_000, members: 1, rate: 1_000, to: 'room' },
  { rooms: 5_000, members: 1, rate: 5_000, to: 'room' },
];

/** For the gateway alone, at rates that one logic process does not take, with the most that a delivery may cost, microseconds. */
const ALONE: readonly (Workload & { most: number })[] = [
  { rooms: 5_000, members: 1, rate: 5_000, to: 'room', most: 12 },
  { rooms: 5_000, members: 1, rate: 20_000, to: 'room', most: 8 },
  { rooms: 10_000, members: 1, rate: 50_000, to: 'room', most: 20 },
];

/**
 * Many small rooms: single messages of 100 bytes over HTTP, each to a room of one or five. All processes of a server share
 * its core: gateway, logic and nats-server of ours. With `PEERS=1` beside Centrifugo, in the same run. Then the gateway
 * alone on its core: the load generator publishes to NATS.
 */
export async function small({ quick, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const peers = process.env.PEERS === '1';
  const rows: Row[] = [];
  const data: Record<string, unknown> = {};
  for (const full of LOADS) {
    const load = quick ? { ...full, rooms: full.rooms / 10, rate: full.rate / 10 } : full;
    const runs: { ours: Run; peer?: Run }[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = {
        ours: await measure(load, seconds, pushCluster),
        ...(peers ? { peer: await measure(load, seconds, centrifugo) } : {}),
      };
      runs.push(run);
      const beside = run.peer ? `, Centrifugo ${round(run.peer.all)}` : '';
      progress(`${titleOf(load)}, pair ${pair}: ${round(run.ours.all)} µs a delivery${beside}`);
    }
    rows.push(...rowsOf(load, runs));
    data[titleOf(load)] = runs;
  }
  for (const { most, ...full } of ALONE) {
    const load = quick ? { ...full, rooms: full.rooms / 10, rate: full.rate / 10 } : full;
    const runs: Run[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = await measure(load, seconds, gatewayAlone);
      runs.push(run);
      progress(`${titleOf(load)}, gateway alone, pair ${pair}: ${round(run.all)} µs a delivery`);
    }
    rows.push(...rowsAlone(load, most, runs));
    data[`${titleOf(load)}, gateway alone`] = runs;
  }
  return {
    rows,
    notes: [
      'small: single messages by POST /v1/push, no retries; CPU is that of all processes of a server, user and system, on one core.',
      'small: where the gateway is alone on its core, the load generator publishes to NATS, which is on the other core.',
      ...(peers
        ? [`small: Centrifugo ${CENTRIFUGO}, memory engine, GOMAXPROCS=1, its HTTP API in the same process.`]
        : []),
    ],
    data,
  };
}

function rowsOf(load: Workload, runs: readonly { ours: Run; peer?: Run }[]): Row[] {
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
  const name = titleOf(load);
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

/** @param most CPU that a delivery may cost, microseconds */
function rowsAlone(load: Workload, most: number, runs: readonly Run[]): Row[] {
  const of = (figure: (run: Run) => number) => medianOf(runs, figure);
  const name = `${titleOf(load)}, straight to NATS, gateway alone`;
  const cost = of((run) => run.all);
  const delivered = of((run) => (run.share / run.all) * 1e6);
  return [
    {
      case: 'small',
      figure: `${name}: CPU a delivery, µs`,
      ours: round(cost),
      target: `≤ ${most} µs`,
      met: cost <= most,
    },
    {
      case: 'small',
      figure: `${name}: deliveries a second · share of a core`,
      ours: `${Math.round(delivered).toLocaleString('en')} · ${Math.round(of((run) => run.share) * 100)} %`,
    },
    {
      case: 'small',
      figure: `${name}: published → received, p50 / p99, ms`,
      ours: `${round(of((run) => run.p50))} / ${round(of((run) => run.p99))}`,
    },
  ];
}
