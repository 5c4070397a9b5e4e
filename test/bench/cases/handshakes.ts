import { Audience } from '../audience.ts';
import { cpuBetween, cpuOf } from '../machine.ts';
import { medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import { sendLoop } from '../rivals.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';
import { ALGORITHMS, type Algorithm, writeTokens } from '../tokens.ts';

type Run = { rate: number; cpuUs: number; p99: number };

/**
 * Connections opened and joined as fast as one core accepts them, with 256 in progress at a time: anonymous, and with tokens of
 * users, each of whom has a channel.
 */
export async function handshakes({ connections, pairs, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const loop = await sendLoop();
  try {
    const gateway = await stack.gateway();
    const audience = new Audience({ port: gateway.port });
    const control = new Audience({ port: loop.port, path: '/', room: '', ready: '' });
    await open(audience, gateway.actor.pid, connections);
    const runs: { ours: Run; limit: Run }[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = {
        ours: await open(audience, gateway.actor.pid, connections),
        limit: await open(control, loop.actor.pid, connections),
      };
      runs.push(run);
      progress(`pair ${pair}: ${round(run.ours.rate)} a second, C loop ${round(run.limit.rate)}`);
    }
    await stack.stop();
    const withTokens = new Map<Algorithm, Run[]>();
    for (const algorithm of ALGORITHMS) {
      withTokens.set(algorithm, await runsWithTokens(algorithm, connections, pairs));
      progress(`${algorithm}: ${round(medianOf(withTokens.get(algorithm)!, ({ cpuUs }) => cpuUs))} µs of CPU`);
    }
    const anonymous = medianOf(runs, (run) => run.ours.cpuUs);
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
          ours: round(anonymous),
          reference: round(medianOf(runs, (run) => run.limit.cpuUs)),
        },
        ...[...withTokens].map(([algorithm, each]) => ({
          case: 'handshakes',
          figure: `the same with a token (${algorithm}) of a user`,
          ours: round(medianOf(each, ({ cpuUs }) => cpuUs)),
          reference: `anonymous ${round(anonymous)}`,
          ratio: medianOf(each, ({ cpuUs }) => cpuUs) / anonymous,
        })),
      ],
      data: { runs, withTokens: Object.fromEntries(withTokens) },
    };
  } finally {
    await stack.stop();
    await loop.actor.stop();
  }
}

/** On a gateway that has opened as many before. */
async function runsWithTokens(algorithm: Algorithm, connections: number, pairs: number): Promise<Run[]> {
  const stack = await Stack.start();
  try {
    const { auth, file } = writeTokens(stack.folder, connections, algorithm);
    const gateway = await stack.gateway({ auth });
    const audience = new Audience({ port: gateway.port, tokens: file });
    await open(audience, gateway.actor.pid, connections);
    const runs: Run[] = [];
    for (let run = 1; run <= pairs; run++) runs.push(await open(audience, gateway.actor.pid, connections));
    await audience.actor.stop();
    return runs;
  } finally {
    await stack.stop();
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
