import { join } from 'node:path';
import { z } from 'zod';
import { Actor } from '../actor.ts';
import { CONNECTIONS, type HttpRun, httpLoad } from '../httpLoad.ts';
import { ItemMaker, stampNow } from '../items.ts';
import { SERVER_CORE } from '../machine.ts';
import { medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

/** Pushes in a request of the batch's rows. */
const BATCH = 100;

/** What is pushed: one push, or a batch. */
const push = () => `{"to":{"room":"live"},"items":[${new ItemMaker('plain').next(stampNow())}]}`;
const ONE = () => ({ path: '/v1/push', bodies: [push()], pushes: 1 });
const MANY = () => ({ path: '/v1/push/batch', bodies: [`[${Array(BATCH).fill(push()).join(',')}]`], pushes: BATCH });

/**
 * Single-item pushes over HTTP, one by one and in batches: logic with its checks and the bus, compared with a bare fastify
 * route that answers 202.
 */
export async function logicRate({ pairs, seconds, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const bare = new Actor('bare route', SERVER_CORE, process.execPath, [join(import.meta.dirname, '../bareRoute.ts')]);
  try {
    const { port } = z.object({ port: z.number() }).parse(await bare.next('listening'));
    const logic = await stack.logic(SERVER_CORE);
    const runs: { ours: HttpRun; bare: HttpRun; batch: HttpRun }[] = [];
    const servers = { ours: { port: logic.port, pid: logic.actor.pid }, bare: { port, pid: bare.pid } };
    await httpLoad(servers.ours, ONE(), 2);
    await httpLoad(servers.bare, ONE(), 2);
    await httpLoad(servers.ours, MANY(), 2);
    for (let pair = 1; pair <= pairs; pair++) {
      const run = {
        ours: await httpLoad(servers.ours, ONE(), Math.min(5, seconds)),
        bare: await httpLoad(servers.bare, ONE(), Math.min(5, seconds)),
        batch: await httpLoad(servers.ours, MANY(), Math.min(5, seconds)),
      };
      runs.push(run);
      progress(
        `pair ${pair}: ${round(run.ours.rate)} requests a second, bare route ${round(run.bare.rate)}, in batches ${round(run.batch.rate)}`,
      );
    }
    const ratio = medianOf(runs, (run) => run.ours.rate / run.bare.rate);
    const busy = (key: 'ours' | 'bare' | 'batch') =>
      `server ${Math.round(100 * medianOf(runs, (run) => run[key].serverShare))} %, client ${Math.round(100 * medianOf(runs, (run) => run[key].clientShare))} % busy`;
    return {
      rows: [
        {
          case: 'logic',
          figure: 'POST /v1/push of one item, requests a second on one core',
          ours: round(medianOf(runs, (run) => run.ours.rate)),
          reference: `bare fastify route ${round(medianOf(runs, (run) => run.bare.rate))}`,
          ratio,
          target: '≥ 0.5 ×',
          met: ratio >= 0.5,
        },
        {
          case: 'logic',
          figure: `CPU a request, µs (${busy('ours')})`,
          ours: round(medianOf(runs, (run) => run.ours.cpuUs)),
          reference: `${round(medianOf(runs, (run) => run.bare.cpuUs))} (${busy('bare')})`,
          ratio: medianOf(runs, (run) => run.bare.cpuUs / run.ours.cpuUs),
        },
        {
          case: 'logic',
          figure: `POST /v1/push/batch of ${BATCH} such pushes, pushes a second on one core`,
          ours: round(medianOf(runs, (run) => run.batch.rate)),
          reference: `one by one ${round(medianOf(runs, (run) => run.ours.rate))}`,
          ratio: medianOf(runs, (run) => run.batch.rate / run.ours.rate),
        },
        {
          case: 'logic',
          figure: `CPU a push in these batches, µs (${busy('batch')})`,
          ours: round(medianOf(runs, (run) => run.batch.cpuUs)),
          reference: `one by one ${round(medianOf(runs, (run) => run.ours.cpuUs))}`,
          ratio: medianOf(runs, (run) => run.batch.cpuUs / run.ours.cpuUs),
        },
      ],
      notes: [
        `logic: autocannon with ${CONNECTIONS} connections on the client's core, beside nats-server. A client that is 100 % busy flatters the slower server.`,
      ],
      data: runs,
    };
  } finally {
    await bare.stop();
    await stack.stop();
  }
}
