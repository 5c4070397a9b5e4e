import { Audience, pause } from '../audience.ts';
import { type Outcome, round } from '../report.ts';
import { sendLoop } from '../rivals.ts';
import type { Scale } from '../scale.ts';
import { QUIET_MS, Stack } from '../stack.ts';

/** Single messages into a quiet room, through logic's API and NATS: the time until each connection has received one. */
export async function latency({ connections, quick, progress }: Scale): Promise<Outcome> {
  const messages = quick ? 3 : 20;
  const small = connections / 10;
  const stack = await Stack.start();
  const loop = await sendLoop();
  try {
    const gateway = await stack.gateway();
    const publisher = await stack.publisher(await stack.logic());
    const audience = new Audience({ port: gateway.port, rate: 4_000 });
    const control = new Audience({ port: loop.port, path: '/', room: '', ready: '', rate: 4_000 });
    const push = () => publisher.push({ room: 'live', via: 'logic', rate: 1_000, messages: 1 });

    const results = [];
    for (const [size, more] of [
      [small, small],
      [connections, connections - small],
    ] as const) {
      await audience.open(more);
      await control.open(more);
      // The first push of a process includes the compilation of logic's code, so it is not measured.
      await audience.drained((await push()).lastMark);
      await audience.start();
      await control.start();
      for (let i = 0; i < messages; i++) {
        await pause(QUIET_MS / 2);
        await control.drained((await loop.send({ items: 1, bytes: 145, rate: 1_000, seconds: 0.001 })).lastMark);
        await pause(QUIET_MS / 2);
        await audience.drained((await push()).lastMark);
      }
      const ours = await audience.stat();
      const limit = await control.stat();
      if (ours.gaps > 0 || ours.items !== messages * size)
        throw new Error(`latency: ${ours.items} items came, ${messages * size} were sent`);
      results.push({ size, ours: ours.latency, limit: limit.latency });
      progress(
        `${size} connections: p99 ${round(ours.latency.p99 / 1_000)} ms, send loop ${round(limit.latency.p99 / 1_000)} ms`,
      );
    }
    return {
      rows: results.map(({ size, ours, limit }, i) => {
        const ratio = ours.p99 / limit.p99;
        return {
          case: 'latency',
          figure: `accepted → received, quiet room, ${size.toLocaleString('en')} connections, ms (p50 / p99 / max)`,
          ours: spread(ours),
          reference: `send loop ${spread(limit)}`,
          ratio,
          target: i === 0 ? 'p99 ≤ 20 ms' : 'p99 ≤ 1.25 ×',
          met: i === 0 ? ours.p99 <= 20_000 : ratio <= 1.25,
        };
      }),
      notes: [
        `latency: ${messages} messages, one at a time, alternating with the send loop's; from before the HTTP request to after the client's read, logic and NATS on the client's core.`,
      ],
      data: results,
    };
  } finally {
    await stack.stop();
    await loop.actor.stop();
  }
}

function spread({ p50, p99, max }: { p50: number; p99: number; max: number }): string {
  return [p50, p99, max].map((us) => round(us / 1_000)).join(' / ');
}
