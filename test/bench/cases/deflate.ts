import { deflateRawSync } from 'node:zlib';
import { Subprotocol } from '@pushcluster/protocol/wireForms.ts';
import { Audience, pause } from '../audience.ts';
import { ItemMaker } from '../items.ts';
import { assertWhole, type Measured, measured, medianOf } from '../measure.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { type Publisher, type Server, Stack } from '../stack.ts';
import { WARM, WARM_MS } from './merged.ts';

/** Comments per second that give merged frames of about that size. */
const SIZES = [
  { name: '1 KB', rate: 9, target: 1.8 },
  { name: '64 KB', rate: 590, target: 3 },
] as const;
const MOST_CPU = 1.1;

type Side = { room: string; gateway: Server; audience: Audience };

/**
 * Live comments as text, and as DEFLATE that is compressed once for all connections: bytes on the wire, and the
 * gateway's CPU per frame.
 */
export async function deflate({ connections, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  try {
    const publisher = await stack.publisher();
    // One gateway for each side, because one process has too few file descriptors for both.
    const text = await side(stack, 'text', Subprotocol.v1, connections);
    const packed = await side(stack, 'packed', Subprotocol.deflate, connections);
    const rows: Row[] = [];
    const data: Record<string, unknown> = {};
    for (const { name, rate, target } of SIZES) {
      const runs: { text: Measured; packed: Measured }[] = [];
      for (let pair = 1; pair <= pairs; pair++) {
        const run = {
          text: await pushComments(publisher, text, rate, Math.min(4, seconds)),
          packed: await pushComments(publisher, packed, rate, Math.min(4, seconds)),
        };
        runs.push(run);
        progress(
          `${name}, pair ${pair}: ${round(run.text.frameBytes)} → ${round(run.packed.frameBytes)} bytes a frame`,
        );
      }
      const bytes = (run: Measured) => run.stat.bytes / run.stat.items;
      const smaller = medianOf(runs, (run) => bytes(run.text) / bytes(run.packed));
      const cpu = medianOf(runs, (run) => run.packed.frameUs / run.text.frameUs);
      const items = Math.round(medianOf(runs, (run) => run.packed.frameItems));
      rows.push(
        {
          case: 'deflate',
          figure: `wire bytes a live comment, frames of ${name} (${items} items)`,
          ours: `${round(medianOf(runs, (run) => bytes(run.packed)))} of ${round(medianOf(runs, (run) => bytes(run.text)))}`,
          reference: `zlib itself ${zlibRatio(items).toFixed(2)} ×`,
          ratio: smaller,
          target: `≥ ${target} × fewer`,
          met: smaller >= target,
        },
        {
          case: 'deflate',
          figure: `CPU a frame, µs, frames of ${name}`,
          ours: round(medianOf(runs, (run) => run.packed.frameUs)),
          reference: `as text ${round(medianOf(runs, (run) => run.text.frameUs))}`,
          ratio: cpu,
          target: `≤ ${MOST_CPU} ×`,
          met: cpu <= MOST_CPU,
        },
      );
      data[name] = runs;
    }
    return { rows, data };
  } finally {
    await stack.stop();
  }
}

async function side(stack: Stack, room: string, subprotocol: string, connections: number): Promise<Side> {
  const gateway = await stack.gateway();
  const audience = new Audience({ port: gateway.port, rate: 4_000, subprotocol, room });
  await audience.open(connections);
  return { room, gateway, audience };
}

async function pushComments(publisher: Publisher, { room, gateway, audience }: Side, rate: number, seconds: number) {
  const messages = Math.round(rate * (WARM + seconds));
  const pushing = publisher.push({ room, kind: 'comment', via: 'bus', rate, messages });
  await pause(WARM_MS);
  await audience.quiet(200);
  const run = await measured(gateway.actor.pid, audience, () => pushing);
  assertWhole(`deflate: ${room}`, run);
  return run;
}

/** The factor by which zlib shrinks a frame of this many comments. */
function zlibRatio(items: number): number {
  const maker = new ItemMaker('comment');
  let raw = 0;
  let packed = 0;
  for (let frame = 0; frame < 20; frame++) {
    const list = Array.from({ length: items }, (_, i) => maker.next(83_211_200_417 + (frame * items + i) * 1_693));
    const bytes = Buffer.from(`{"type":"PUSH","data":{"room":"text","items":[${list.join(',')}]}}`);
    raw += bytes.length;
    packed += deflateRawSync(bytes).length;
  }
  return raw / packed;
}
