import { join } from 'node:path';
import { z } from 'zod';
import { Actor } from './actor.ts';
import { CLIENT_CORE, cpuBetween, cpuOf } from './machine.ts';

/** Connections of the client. */
export const CONNECTIONS = 64;

const Answer = z.object({
  '2xx': z.number(),
  non2xx: z.number(),
  errors: z.number(),
  duration: z.number(),
  latency: z.object({ p50: z.number(), p99: z.number() }),
});

/** What is posted: the bodies in turn, each with so many pushes. */
export type Posted = { path: string; bodies: readonly string[]; pushes: number };

/** Rate and CPU are those of a push; latencies those of a request, milliseconds. */
export type HttpRun = {
  rate: number;
  cpuUs: number;
  serverShare: number;
  clientShare: number;
  p50: number;
  p99: number;
};

/** Posts without pause, by autocannon on the client's core. Throws if an answer is not 2xx. */
export async function httpLoad(
  server: { port: number; pid: number },
  { path, bodies, pushes: each }: Posted,
  seconds: number,
): Promise<HttpRun> {
  const request = {
    url: `http://127.0.0.1:${server.port}${path}`,
    method: 'POST',
    connections: CONNECTIONS,
    duration: seconds,
    headers: { 'content-type': 'application/json' },
    requests: bodies.map((body) => ({ body })),
  };
  const client = new Actor('autocannon', CLIENT_CORE, process.execPath, [join(import.meta.dirname, 'requests.ts')]);
  client.send(JSON.stringify(request));
  await client.next('started');
  const before = cpuOf(server.pid);
  const clientBefore = cpuOf(client.pid);
  const began = performance.now();
  const answer = Answer.parse(await client.next('done', seconds * 1_000 + 30_000));
  const elapsed = (performance.now() - began) / 1_000;
  const cpu = cpuBetween(before, cpuOf(server.pid));
  const clientCpu = cpuBetween(clientBefore, cpuOf(client.pid));
  await client.stop();
  if (answer.non2xx > 0 || answer.errors > 0)
    throw new Error(`logic: ${answer.non2xx} answers were not 2xx, ${answer.errors} requests failed`);
  const pushes = answer['2xx'] * each;
  return {
    rate: pushes / answer.duration,
    cpuUs: ((cpu.user + cpu.system) * 1e6) / pushes,
    serverShare: (cpu.user + cpu.system) / elapsed,
    clientShare: (clientCpu.user + clientCpu.system) / elapsed,
    p50: answer.latency.p50,
    p99: answer.latency.p99,
  };
}
