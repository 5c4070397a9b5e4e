import { Audience, pause } from '../audience.ts';
import type { Scale } from '../bench.ts';
import { assertWhole, type Measured, measured, medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import { sendLoop } from '../rivals.ts';
import { Stack } from '../stack.ts';

const RATE = 10;
/** Seconds until the room is in its rhythm: the leading edge's frame and two full windows. */
export const WARM = 2;
/** Milliseconds after which the last frame of these seconds has arrived. */
export const WARM_MS = WARM * 1_000 + 300;

/** Ten messages a second through logic's API, merged into a frame a second: what a frame costs, and how late it comes. */
export async function merged({ connections, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const ours: Measured[] = [];
  const limit: Measured[] = [];
  const loop = await sendLoop();
  try {
    const gateway = await stack.gateway();
    const publisher = await stack.publisher(await stack.logic());
    const audience = new Audience({ port: gateway.port, rate: 4_000 });
    const control = new Audience({ port: loop.port, path: '/', room: '', ready: '', rate: 4_000 });
    await audience.open(connections);
    await control.open(connections);
    for (let pair = 1; pair <= pairs; pair++) {
      const pushing = publisher.push({
        room: 'live',
        via: 'logic',
        rate: RATE,
        messages: RATE * (WARM + seconds),
      });
      await pause(WARM_MS);
      await audience.quiet(200);
      const our = await measured(gateway.actor.pid, audience, () => pushing);
      assertWhole('merged', our);
      ours.push(our);
      const items = Math.round(our.frameItems);
      const bytes = Math.round(our.frameBytes) - 4;
      const bare = await measured(loop.actor.pid, control, () => loop.send({ items, bytes, rate: 1, seconds }));
      assertWhole('send loop', bare);
      limit.push(bare);
      progress(
        `pair ${pair}: ${round(our.frameUs)} µs a frame, send loop ${round(bare.frameUs)} (${our.frameItems.toFixed(1)} items, ${Math.round(our.frameBytes)} bytes)`,
      );
    }
  } finally {
    await stack.stop();
    await loop.actor.stop();
  }
  const ratios = ours.map((our, i) => our.frameUs / limit[i]!.frameUs);
  const ratio = medianOf(ratios, (value) => value);
  const us = (figure: (run: Measured) => number) => round(medianOf(ours, figure));
  const them = (figure: (run: Measured) => number) => round(medianOf(limit, figure));
  const p99 = medianOf(ours, (run) => run.stat.latency.p99) / 1_000;
  const name = 'merged';
  return {
    rows: [
      {
        case: name,
        figure: `CPU a frame, µs (user + system), ${connections.toLocaleString('en')} connections, ${RATE} msg/s`,
        ours: `${us((run) => run.frameUs)} (${us((run) => run.userFrameUs)} + ${us((run) => run.systemFrameUs)})`,
        reference: `send loop ${them((run) => run.frameUs)} (${them((run) => run.userFrameUs)} + ${them((run) => run.systemFrameUs)})`,
        ratio,
        target: '≤ 1.25 ×',
        met: ratio <= 1.25,
      },
      {
        case: name,
        figure: 'CPU a delivered message, µs',
        ours: us((run) => run.messageUs),
        reference: `send loop ${them((run) => run.messageUs)}`,
      },
      {
        case: name,
        figure: 'accepted → received, ms (p50 / p99 / max)',
        ours: `${us((run) => run.stat.latency.p50 / 1_000)} / ${round(p99)} / ${us((run) => run.stat.latency.max / 1_000)}`,
        reference: 'window 1,000 ms',
        target: 'p99 ≤ 1,150 ms',
        met: p99 <= 1_150,
      },
      {
        case: name,
        figure: 'wire bytes a delivered message, uncompressed',
        ours: us((run) => run.stat.bytes / run.stat.items),
      },
      clientRow(name, ours),
    ],
    data: { ratios, ours, limit },
  };
}

/** How busy the client was: it must not be what is measured. */
export function clientRow(name: string, runs: readonly Measured[]) {
  const share = (figure: (run: Measured) => number) => `${Math.round(100 * Math.max(...runs.map(figure)))} %`;
  return {
    case: name,
    figure: "of a core at most: the client's process (server's beside)",
    ours: share((run) => run.clientShare),
    reference: `server ${share((run) => run.serverShare)}`,
  };
}
