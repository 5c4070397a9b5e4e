import { join } from 'node:path';
import { historyStream, subjectIn } from '@pushcluster/runtime/history/historyStream.ts';
import { z } from 'zod';
import { Actor } from '../actor.ts';
import { type HttpRun, httpLoad } from '../httpLoad.ts';
import { ItemMaker, stampNow } from '../items.ts';
import { SERVER_CORE } from '../machine.ts';
import { medianOf } from '../measure.ts';
import { type Outcome, type Row, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

const ROOMS = 1_000;
const MATCH = 'stored-*';
/** Pushes a second that logic is to store, by the number of copies. */
const TARGETS = new Map([
  [1, 5_000],
  [3, 2_000],
]);

type Run = { ours: HttpRun; store: number };

/**
 * Single-item pushes over HTTP to rooms with history: logic alone on its core, and what the store takes without logic. Streams
 * are files of one NATS server, and of three.
 */
export async function stored({ pairs, seconds, progress }: Scale): Promise<Outcome> {
  const rows: Row[] = [];
  const data: Record<string, Run[]> = {};
  for (const [replicas, target] of TARGETS) {
    const runs: Run[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = await measure(replicas, seconds);
      runs.push(run);
      progress(`${replicas} copies, pair ${pair}: ${round(run.ours.rate)} pushes a second, store ${round(run.store)}`);
    }
    const rate = medianOf(runs, ({ ours }) => ours.rate);
    const copies = replicas === 1 ? 'one copy' : `${replicas} copies`;
    const part = (figure: (run: HttpRun) => number) => medianOf(runs, ({ ours }) => figure(ours));
    const percent = (share: number) => Math.round(100 * share);
    rows.push(
      {
        case: 'stored',
        figure: `POST /v1/push to ${ROOMS.toLocaleString('en')} rooms with history, ${copies}, stored a second`,
        ours: round(rate),
        reference: `store alone ${round(medianOf(runs, ({ store }) => store))}`,
        ratio: medianOf(runs, ({ ours, store }) => ours.rate / store),
        target: `≥ ${target.toLocaleString('en')}`,
        met: rate >= target,
      },
      {
        case: 'stored',
        figure: `CPU of logic a push, µs (logic ${percent(part((run) => run.serverShare))} %, client ${percent(part((run) => run.clientShare))} % busy)`,
        ours: round(part((run) => run.cpuUs)),
      },
      {
        case: 'stored',
        figure: 'request → 202, ms (p50 / p99)',
        ours: `${round(part((run) => run.p50))} / ${round(part((run) => run.p99))}`,
      },
    );
    data[copies] = runs;
  }
  return {
    rows,
    notes: [
      'stored: NATS servers share the core of the client, also where there are three. No disk is synced for a push.',
    ],
    data,
  };
}

async function measure(replicas: number, seconds: number): Promise<Run> {
  const stack = await Stack.start(undefined, { jetstream: true, servers: replicas });
  try {
    const rooms = [{ match: MATCH, history: { messages: 100, replicas } }];
    const logic = await stack.logic(SERVER_CORE, { rooms });
    const names = Array.from({ length: ROOMS }, (_, i) => `stored-${i}`);
    const maker = new ItemMaker('plain');
    const bodies = names.map((room) => `{"to":{"room":"${room}"},"items":[${maker.next(stampNow())}]}`);
    const post = (time: number) =>
      httpLoad({ port: logic.port, pid: logic.actor.pid }, { path: '/v1/push', bodies, pushes: 1 }, time);
    await post(2);
    const ours = await post(seconds);
    const stream = historyStream(stack.bus.prefix, MATCH);
    const subjects = names.map((room) => subjectIn(stream, room));
    const settings = { servers: stack.bus.urls, stream: stream.name, subjects, seconds };
    const script = join(import.meta.dirname, '../storeLoop.ts');
    const loop = new Actor('store loop', SERVER_CORE, process.execPath, [script, JSON.stringify(settings)]);
    const { rate } = z.object({ rate: z.number() }).parse(await loop.next('done', seconds * 1_000 + 30_000));
    await loop.stop();
    return { ours, store: rate };
  } finally {
    await stack.stop();
  }
}
