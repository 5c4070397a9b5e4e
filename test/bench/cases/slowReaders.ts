import { Subprotocol } from '@pushcluster/protocol/wireForms.ts';
import { Audience, pause } from '../audience.ts';
import { type Measured, measured, median } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import type { Scale } from '../scale.ts';
import { FULL_FRAME, fullFrames, QUIET_MS, Stack } from '../stack.ts';

/**
 * Messages per second. Each connection gets 400 KB per second, so that the buffers of a stopped reader fill within
 * seconds.
 */
const RATE = 4_000;
/** Rate while the buffers fill, before the measurement. */
const FILL_RATE = 2 * RATE;
const PERCENT = 10;
const FULL_WITHIN_MS = 60_000;

/**
 * A tenth of the readers stops reading: does this affect the others? The case has fewer connections than the others,
 * because the buffers of stopped readers (4 MiB in the kernel, and the gateway's) must fill while the gateway is far
 * from saturated.
 */
export async function slowReaders({ connections, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  try {
    const gateway = await stack.gateway();
    const publisher = await stack.publisher();
    const count = connections / 5;
    const audience = new Audience({ port: gateway.port, rate: 4_000, subprotocol: Subprotocol.v1 });
    await audience.open(count);
    const push = async (duration: number, rate = RATE) => {
      await pause(QUIET_MS);
      return publisher.push(fullFrames(rate, Math.ceil((rate * duration) / FULL_FRAME)));
    };
    const dropped = () => gateway.metric('pushcluster_gateway_messages_dropped_total', 'slow');

    const runs: { without: Measured; beside: Measured; missed: number; told: number }[] = [];
    await measured(gateway.actor.pid, audience, () => push(2));
    for (let pair = 1; pair <= pairs; pair++) {
      const without = await measured(gateway.actor.pid, audience, () => push(seconds));

      await audience.slow(PERCENT);
      await audience.start();
      await fillUntilDrops(() => push(3, FILL_RATE), dropped);
      const beside = await measured(gateway.actor.pid, audience, () => push(seconds));
      await audience.slow(0);
      const told = await allTold(audience);
      // One more frame to all: its first mark shows what each stopped reader has missed.
      const { lastMark } = await push(0.25);
      const missed = (await audience.drained(lastMark)).gaps;
      runs.push({ without, beside, missed, told });
      progress(
        `pair ${pair}: p99 of the others ${ms(beside.stat.latency.p99)} ms, without ${ms(without.stat.latency.p99)}; missed ${missed}, told ${told}`,
      );
    }
    const ratio = median(runs.map((run) => run.beside.stat.latency.p99 / run.without.stat.latency.p99));
    const lossless = runs.every((run) => run.beside.stat.gaps === 0 && run.without.stat.gaps === 0);
    const missed = runs.reduce((sum, run) => sum + run.missed, 0);
    const told = runs.reduce((sum, run) => sum + run.told, 0);
    const times = (key: 'without' | 'beside') =>
      (['p50', 'p99', 'max'] as const).map((p) => ms(median(runs.map((run) => run[key].stat.latency[p])))).join(' / ');
    return {
      rows: [
        {
          case: 'slow',
          figure: `${PERCENT} % of ${count.toLocaleString('en')} readers stopped, R ${RATE.toLocaleString('en')}: the others' ms (p50 / p99 / max)`,
          ours: times('beside'),
          reference: `none stopped ${times('without')}`,
          ratio,
          target: 'p99 ≤ 1.1 ×, no loss',
          met: ratio <= 1.1 && lossless,
        },
        {
          case: 'slow',
          figure: 'items that the stopped ones missed after their return, and were told of by LAGGED',
          ours: `${missed.toLocaleString('en')} missed`,
          reference: `${told.toLocaleString('en')} told`,
          ratio: missed === 0 ? 1 : told / missed,
          target: 'equal',
          met: missed === told && missed > 0,
        },
      ],
      data: runs,
    };
  } finally {
    await stack.stop();
  }
}

/** Pushes until the gateway drops frames of slow readers. */
async function fillUntilDrops(push: () => Promise<unknown>, dropped: () => Promise<number>) {
  const before = await dropped();
  const deadline = performance.now() + FULL_WITHIN_MS;
  while ((await dropped()) === before) {
    if (performance.now() > deadline)
      throw new Error('slow: the buffers of the stopped readers did not fill up in 60 s');
    await push();
  }
}

/** Items that LAGGED frames report, once no more frames arrive. */
async function allTold(audience: Audience): Promise<number> {
  for (let last = -1; ; ) {
    await pause(1_000);
    const { lagged, quietMs } = await audience.stat();
    if (lagged.items === last && quietMs > 1_000) return last;
    last = lagged.items;
  }
}

function ms(us: number): string {
  return round(us / 1_000);
}
