import { Audience } from '../audience.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

/** The default of gateway.drain.settle, seconds. */
const SETTLE_S = 5;
const RATE = 200;

/**
 * SIGTERM to a gateway with many connections: the time until the gateway has ended, and how evenly connections moved.
 */
export async function drain({ connections, quick, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const audience = { current: undefined as Audience | undefined };
  try {
    const gateway = await stack.gateway();
    audience.current = new Audience({ port: gateway.port, rate: 4_000 });
    await audience.current.open(connections);
    const planned = SETTLE_S + connections / RATE;
    progress(`${connections} connections leave: about ${planned} s`);
    const began = performance.now();
    gateway.actor.signal('SIGTERM');
    const code = await gateway.actor.exited;
    const seconds = (performance.now() - began) / 1_000;
    const stat = await audience.current.stat();
    const fastest = Math.max(...stat.closesBySecond);
    const explained = stat.closes['1012'] ?? 0;
    return {
      rows: [
        {
          case: 'drain',
          figure: `time to drain ${connections.toLocaleString('en')} connections, s (settle ${SETTLE_S} s, ${RATE} a second as shipped)`,
          ours: round(seconds),
          reference: `pace ${round(planned)}`,
          ratio: seconds / planned,
        },
        {
          case: 'drain',
          figure: 'closes in the busiest second, as clients see it',
          ours: String(fastest),
          reference: `pace ${RATE}`,
          ratio: fastest / RATE,
          target: '≤ 1.2 ×, all 1012, exit 0',
          met: fastest <= 1.2 * RATE && explained === connections && code === 0,
        },
      ],
      data: { seconds, code, closes: stat.closes, closesBySecond: stat.closesBySecond, quick },
    };
  } finally {
    await audience.current?.actor.stop();
    await stack.stop();
  }
}
