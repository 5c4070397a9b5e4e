import { join } from 'node:path';
import { z } from 'zod';
import { Actor } from '../actor.ts';
import { ItemMaker, stampNow } from '../items.ts';
import { CLIENT_CORE, cpuBetween, cpuOf, SERVER_CORE } from '../machine.ts';
import { medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

const CONNECTIONS = 64;
/** Pushes in a request of the batch's rows. */
const BATCH = 100;

const Answer = z.object({
  '2xx': z.number(),
  non2xx: z.number(),
  errors: z.number(),
  duration: z.number(),
  latency: z.object({ p50: z.number(), p99: z.number() }),
});

type Run = { rate: number; cpuUs: number; serverShare: number; clientShare: number; p50: number; p99: number };

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
    const runs: { ours: Run; bare: Run; batch: Run }[] = [];
    await load(logic.port, logic.actor.pid, 2);
    await load(port, bare.pid, 2);
    await load(logic.port, logic.actor.pid, 2, BATCH);
    for (let pair = 1; pair <= pairs; pair++) {
      const run = {
        ours: await load(logic.port, logic.actor.pid, Math.min(5, seconds)),
        bare: await load(port, bare.pid, Math.min(5, seconds)),
        batch: await load(logic.port, logic.actor.pid, Math.min(5, seconds), BATCH),
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

/** @param batch pushes in one request; 0: `POST /v1/push` with one. Rates and CPU are those of a push. */
async function load(port: number, server: number, seconds: number, batch = 0): Promise<Run> {
  const push = `{"to":{"room":"live"},"items":[${new ItemMaker('plain').next(stampNow())}]}`;
  const request = {
    url: `http://127.0.0.1:${port}/v1/push${batch > 0 ? '/batch' : ''}`,
    method: 'POST',
    connections: CONNECTIONS,
    duration: seconds,
    headers: { 'content-type': 'application/json' },
    body: batch > 0 ? `[${Array(batch).fill(push).join(',')}]` : push,
  };
  const script = join(import.meta.dirname, '../requests.ts');
  const client = new Actor('autocannon', CLIENT_CORE, process.execPath, [script, JSON.stringify(request)]);
  await client.next('started');
  const before = cpuOf(server);
  const clientBefore = cpuOf(client.pid);
  const began = performance.now();
  const answer = Answer.parse(await client.next('done', seconds * 1_000 + 30_000));
  const elapsed = (performance.now() - began) / 1_000;
  const cpu = cpuBetween(before, cpuOf(server));
  const clientCpu = cpuBetween(clientBefore, cpuOf(client.pid));
  await client.stop();
  if (answer.non2xx > 0 || answer.errors > 0)
    throw new Error(`logic: ${answer.non2xx} answers were not 2xx, ${answer.errors} requests failed`);
  const pushes = answer['2xx'] * Math.max(1, batch);
  return {
    rate: pushes / answer.duration,
    cpuUs: ((cpu.user + cpu.system) * 1e6) / pushes,
    serverShare: (cpu.user + cpu.system) / elapsed,
    clientShare: (clientCpu.user + clientCpu.system) / elapsed,
    p50: answer.latency.p50,
    p99: answer.latency.p99,
  };
}
