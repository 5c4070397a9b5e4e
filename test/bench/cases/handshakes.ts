import { Audience } from '../audience.ts';
import { cpuBetween, cpuOf } from '../machine.ts';
import { medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import { sendLoop } from '../rivals.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

type Run = { rate: number; cpuUs: number; p99: number };

/** Connections opened and joined as fast as one core accepts them, with 256 in progress at a time. */
export async function handshakes({ connections, pairs, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const loop = await sendLoop();
  try {
    const gateway = await stack.gateway();
    const audience = new Audience({ port: gateway.port });
    const control = new Audience({ port: loop.port, path: '/', room: '', ready: '' });
    const runs: { ours: Run; limit: Run }[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = {
        ours: await open(audience, gateway.actor.pid, connections),
        limit: await open(control, loop.actor.pid, connections),
      };
      runs.push(run);
      progress(`pair ${pair}: ${round(run.ours.rate)} a second, C loop ${round(run.limit.rate)}`);
    }
    return {
      rows: [
        {
          case: 'handshakes',
          figure: 'handshakes with JOIN and OK, a second on one core',
          ours: round(medianOf(runs, (run) => run.ours.rate)),
          reference: `C accept loop, no JOIN: ${round(medianOf(runs, (run) => run.limit.rate))}`,
          ratio: medianOf(runs, (run) => run.ours.rate / run.limit.rate),
        },
        {
          case: 'handshakes',
          figure: 'CPU a handshake, µs',
          ours: round(medianOf(runs, (run) => run.ours.cpuUs)),
          reference: round(medianOf(runs, (run) => run.limit.cpuUs)),
        },
      ],
      data: runs,
    };
  } finally {
    await stack.stop();
    await loop.actor.stop();
  }
}

async function open(audience: Audience, server: number, count: number): Promise<Run> {
  const before = cpuOf(server);
  const opened = await audience.open(count);
  const cpu = cpuBetween(before, cpuOf(server));
  await audience.close();
  return {
    rate: count / opened.seconds,
    cpuUs: ((cpu.user + cpu.system) * 1e6) / count,
    p99: opened.handshake.p99,
  };
}
