import { Audience, pause } from '../audience.ts';
import { type CpuReading, cpuBetween, cpuOf } from '../machine.ts';
import { median } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { Stack } from '../stack.ts';

const ROOMS = 2_000;
const SCRAPES_PER_SECOND = 20;
const MOST_MS = 10;
const MOST_BYTES = 64 * 1_024;

/**
 * The cost of one scrape of /metrics on a gateway with all connections in many rooms: CPU beyond that of an idle
 * gateway.
 */
export async function scrape({ connections, pairs, seconds, quick, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  let audience: Audience | undefined;
  try {
    const gateway = await stack.gateway();
    const rooms = quick ? 100 : ROOMS;
    audience = new Audience({ port: gateway.port, room: 'room-', rooms, rate: 4_000 });
    await audience.open(connections);
    await pause(3_000);
    const used = (before: CpuReading) => {
      const { user, system } = cpuBetween(before, cpuOf(gateway.actor.pid));
      return user + system;
    };
    const costs: number[] = [];
    let text = '';
    for (let run = 0; run < pairs; run++) {
      let before = cpuOf(gateway.actor.pid);
      await pause(1_000 * seconds);
      const idle = used(before);
      before = cpuOf(gateway.actor.pid);
      const scrapes = seconds * SCRAPES_PER_SECOND;
      const began = performance.now();
      for (let n = 1; n <= scrapes; n++) {
        text = await gateway.scrape();
        await pause(Math.max(0, began + (n * 1_000) / SCRAPES_PER_SECOND - performance.now()));
      }
      costs.push(((used(before) - idle) / scrapes) * 1_000);
      progress(`${round(costs.at(-1) ?? 0)} ms a scrape, ${text.length} bytes`);
    }
    const ms = median(costs);
    const found = `${connections.toLocaleString('en')} connections, ${rooms.toLocaleString('en')} rooms`;
    return {
      rows: [
        {
          case: 'scrape',
          figure: `CPU of a scrape, ms (${found})`,
          ours: round(ms),
          target: `≤ ${MOST_MS} ms`,
          met: ms <= MOST_MS,
        },
        {
          case: 'scrape',
          figure: 'its answer, bytes, uncompressed',
          ours: text.length.toLocaleString('en'),
          target: '≤ 64 KiB',
          met: text.length <= MOST_BYTES,
        },
      ],
      data: { costs, bytes: text.length, rooms, connections, quick },
    };
  } finally {
    await audience?.actor.stop();
    await stack.stop();
  }
}
