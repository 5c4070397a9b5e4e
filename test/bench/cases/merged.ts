import { Audience, pause } from '../audience.ts';
import { cpuBetween, cpuOf } from '../machine.ts';
import { assertWhole, type Measured, measured, medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import { engineLoop, type Rival, sendLoop } from '../rivals.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';
import { FIRST } from '../workload.ts';

const RATE = 10;
/** Seconds until the room is in a steady state: the frame of the leading edge and two full windows. */
export const WARM = 2;
/** Milliseconds after which the last frame of the warm-up has arrived. */
export const WARM_MS = WARM * 1_000 + 300;
/** Milliseconds during which an idle gateway is measured. */
const IDLE_MS = 4_000;

type Pair = { ours: Measured; limit: Measured; engine: Measured };

/**
 * Ten messages per second through logic's API, merged into one frame per second: the cost and the latency of a frame.
 */
export async function merged({ connections, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const rivals = { limit: await sendLoop(), engine: await engineLoop('publish') };
  try {
    const gateway = await stack.gateway();
    const publisher = await stack.publisher(await stack.logic());
    const audience = new Audience({ port: gateway.port, rate: 4_000 });
    await audience.open(1);
    await publisher.push({ room: 'live', via: 'logic', ...FIRST });
    await audience.open(connections - 1);
    const crowds = {
      limit: await crowdOf(rivals.limit, connections),
      engine: await crowdOf(rivals.engine, connections),
    };
    const idle = { ours: await idleShare(gateway.actor.pid), engine: await idleShare(rivals.engine.actor.pid) };

    const ours = async () => {
      const pushing = publisher.push({ room: 'live', via: 'logic', rate: RATE, messages: RATE * (WARM + seconds) });
      await pause(WARM_MS);
      await audience.quiet(200);
      const run = await measured(gateway.actor.pid, audience, () => pushing);
      assertWhole('merged', run);
      return run;
    };
    /** One frame per second with as many items and bytes as the frames of the gateway. */
    const rival = async (which: 'limit' | 'engine', like: Measured) => {
      const frame = { items: Math.round(like.frameItems), bytes: Math.round(like.frameBytes) - 4, rate: 1, seconds };
      const run = await measured(rivals[which].actor.pid, crowds[which], () => rivals[which].send(frame));
      assertWhole(rivals[which].name, run);
      return run;
    };
    const runs: Pair[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const our = await ours();
      const run = { ours: our, limit: await rival('limit', our), engine: await rival('engine', our) };
      runs.push(run);
      progress(
        `pair ${pair}: ${round(our.frameUs)} µs a frame, send loop ${round(run.limit.frameUs)}, engine alone ${round(run.engine.frameUs)} (${our.frameItems.toFixed(1)} items, ${Math.round(our.frameBytes)} bytes)`,
      );
    }
    return { rows: rowsOf(runs, connections, idle), data: { idle, runs } };
  } finally {
    await stack.stop();
    for (const { actor } of Object.values(rivals)) await actor.stop();
  }
}

function rowsOf(runs: readonly Pair[], connections: number, idle: { ours: number; engine: number }) {
  const parts = (key: keyof Pair) => {
    const part = (figure: (run: Measured) => number) => round(medianOf(runs, (run) => figure(run[key])));
    return `${part((run) => run.frameUs)} (${part((run) => run.userFrameUs)} + ${part((run) => run.systemFrameUs)})`;
  };
  const ratio = medianOf(runs, (run) => run.ours.frameUs / run.limit.frameUs);
  const latency = (key: 'p50' | 'p99' | 'max') => medianOf(runs, (run) => run.ours.stat.latency[key]) / 1_000;
  const name = 'merged';
  return [
    {
      case: name,
      figure: `CPU a frame, µs (user + system), ${connections.toLocaleString('en')} connections, ${RATE} msg/s`,
      ours: parts('ours'),
      reference: `send loop ${parts('limit')}`,
      ratio,
      target: '≤ 1.25 ×',
      met: ratio <= 1.25,
    },
    {
      case: name,
      figure: 'the same beside the engine alone',
      ours: parts('ours'),
      reference: `engine alone ${parts('engine')}`,
      ratio: medianOf(runs, (run) => run.ours.frameUs / run.engine.frameUs),
    },
    {
      case: name,
      figure: 'CPU a delivered message, µs',
      ours: round(medianOf(runs, (run) => run.ours.messageUs)),
      reference: `send loop ${round(medianOf(runs, (run) => run.limit.messageUs))}`,
    },
    {
      case: name,
      figure: 'of a core while all connections are idle, all processes of the gateway',
      ours: `${(100 * idle.ours).toFixed(2)} %`,
      reference: `engine alone ${(100 * idle.engine).toFixed(2)} %`,
    },
    {
      case: name,
      figure: 'accepted → received, ms (p50 / p99 / max)',
      ours: `${round(latency('p50'))} / ${round(latency('p99'))} / ${round(latency('max'))}`,
      reference: 'window 1,000 ms',
      target: 'p99 ≤ 1,150 ms',
      met: latency('p99') <= 1_150,
    },
    {
      case: name,
      figure: 'bytes on the wire for a delivered message of 100 bytes, as text',
      ours: round(medianOf(runs, (run) => run.ours.stat.bytes / run.ours.stat.items)),
    },
    clientRow(
      name,
      runs.map((run) => run.ours),
    ),
  ];
}

async function crowdOf(rival: Rival, connections: number): Promise<Audience> {
  const crowd = new Audience({ port: rival.port, path: '/', room: '', ready: '', rate: 4_000 });
  await crowd.open(connections);
  return crowd;
}

async function idleShare(server: number): Promise<number> {
  await pause(1_000);
  const before = cpuOf(server);
  const began = performance.now();
  await pause(IDLE_MS);
  const { user, system } = cpuBetween(before, cpuOf(server));
  return ((user + system) * 1_000) / (performance.now() - began);
}

/** The greatest CPU share of the client process: a saturated client would distort the measurement. */
export function clientRow(name: string, runs: readonly Measured[]) {
  const share = (figure: (run: Measured) => number) => `${Math.round(100 * Math.max(...runs.map(figure)))} %`;
  return {
    case: name,
    figure: "of a core at most: the client's process (server's beside)",
    ours: share((run) => run.clientShare),
    reference: `server ${share((run) => run.serverShare)}`,
  };
}
