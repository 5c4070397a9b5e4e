import { Audience, pause } from '../audience.ts';
import { type CpuReading, cpuBetween, cpuOf, SERVER_CORE } from '../machine.ts';
import { assertWhole, type Measured, measured, medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import { sendLoop } from '../rivals.ts';
import type { Scale } from '../scale.ts';
import { FULL_FRAME, fullFrames, QUIET_MS, Stack } from '../stack.ts';
import { type Carried, interruptsOf, LINE_RATE, PAYLOAD_SHARE, Wire, wireProblem } from '../wire.ts';
import { clientRow } from './merged.ts';

/** Fewer connections than in other cases, so that each gets several full frames per second. */
const CONNECTIONS = 2_000;
/** Bytes of an item and its comma. */
const ITEM = 101;
/** Shares of the capacity of the wire: one that must arrive completely, and one beyond the capacity. */
const FULL = 0.95;
const OVER = 1.15;

/** Milliseconds until the first full frames are on the wire, and from the last reading of the counters to the end. */
const START_MS = 1_000;
const END_MS = 500;

/** A measurement, with the counters of the wire and of the core meanwhile. */
type Run = { whole: Measured; gbits: number; drops: number; share: number; interrupts: number };
type Sample = Carried & { at: number; cpu: CpuReading; interrupts: number };

/**
 * Full frames to many connections behind a 10 Gbit/s wire: the share of one core that fills the wire, and the behaviour
 * beyond.
 */
export async function wire({ quick, pairs, seconds, progress }: Scale): Promise<Outcome> {
  const problem = wireProblem();
  if (problem !== undefined) return { rows: [], notes: [`wire: skipped, since ${problem}`], data: { problem } };
  const cable = await Wire.lay();
  const stack = await Stack.start();
  try {
    const gateway = await stack.gateway({ gateway: { host: cable.address } });
    const limit = await sendLoop(cable.address);
    const publisher = await stack.publisher();
    const connections = quick ? CONNECTIONS / 4 : CONNECTIONS;
    const crowd = async (port: number, more: object = {}) => {
      const audience = new Audience({ port, host: cable.address, sources: 0, rate: 2_000, ...more }, cable.farEnd);
      await audience.open(connections);
      return audience;
    };
    const audience = await crowd(gateway.port);
    const control = await crowd(limit.port, { path: '/', room: '', ready: '' });

    const sample = (pid: number): Sample => ({
      at: performance.now(),
      cpu: cpuOf(pid),
      interrupts: interruptsOf(SERVER_CORE),
      ...cable.carried(),
    });
    const onWire = async (pid: number, audience: Audience, work: () => Promise<{ lastMark: number }>): Promise<Run> => {
      await pause(QUIET_MS);
      const meanwhile = async () => {
        await pause(START_MS);
        const before = sample(pid);
        await pause(Math.max(500, seconds * 1_000 - START_MS - END_MS));
        return { before, after: sample(pid) };
      };
      const [whole, { before, after }] = await Promise.all([measured(pid, audience, work), meanwhile()]);
      const took = (after.at - before.at) / 1_000;
      const { user, system } = cpuBetween(before.cpu, after.cpu);
      return {
        whole,
        gbits: ((after.bytes - before.bytes) * 8) / took / 1e9,
        drops: after.drops - before.drops,
        share: (user + system) / took,
        interrupts: (after.interrupts - before.interrupts) / took,
      };
    };
    /** Messages per second for a given share of the payload capacity of the wire. */
    const rateOf = (share: number) => Math.round((share * LINE_RATE * PAYLOAD_SHARE) / 8 / ITEM / connections);
    const ours = (share: number) => {
      const rate = rateOf(share);
      const frames = Math.ceil((rate * seconds) / FULL_FRAME);
      return onWire(gateway.actor.pid, audience, () => publisher.push(fullFrames(rate, frames)));
    };
    const loop = (share: number) => {
      const frame = { items: FULL_FRAME, bytes: FULL_FRAME * ITEM + 60, rate: rateOf(share) / FULL_FRAME, seconds };
      return onWire(limit.actor.pid, control, () => limit.send(frame));
    };

    const runs: { ours: Run; limit: Run }[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const run = { ours: await ours(FULL), limit: await loop(FULL) };
      assertWhole('wire', run.ours.whole);
      runs.push(run);
      progress(`pair ${pair}: ${said(run.ours)}; send loop ${said(run.limit)}`);
    }
    const over = await ours(OVER);
    progress(`with ${OVER} times what the wire carries: ${said(over)}, ${over.whole.stat.gaps} items dropped`);
    const of = (key: 'ours' | 'limit', figure: (run: Run) => number) => medianOf(runs, (run) => figure(run[key]));
    const percent = (value: number) => `${Math.round(100 * value)} %`;
    const name = 'wire';
    return {
      rows: [
        {
          case: name,
          figure: `Gbit/s on a wire of 10, ${connections.toLocaleString('en')} connections, full frames, nothing lost`,
          ours: round(of('ours', (run) => run.gbits)),
          reference: `send loop ${round(of('limit', (run) => run.gbits))}`,
          target: '≥ 9',
          met: of('ours', (run) => run.gbits) >= 9,
        },
        {
          case: name,
          figure: "of the core for that: the gateway's processes",
          ours: percent(of('ours', (run) => run.share)),
          reference: `send loop ${percent(of('limit', (run) => run.share))}`,
          ratio: medianOf(runs, (run) => run.ours.share / run.limit.share),
          target: '≤ 100 %',
          met: of('ours', (run) => run.share) <= 1,
        },
        {
          case: name,
          figure: 'of the core at most for that: with all its interrupts, whoever they were for',
          ours: percent(of('ours', (run) => run.share + run.interrupts)),
          reference: `send loop ${percent(of('limit', (run) => run.share + run.interrupts))}`,
        },
        {
          case: name,
          figure: 'accepted → received meanwhile, ms (p50 / p99 / max)',
          ours: (['p50', 'p99', 'max'] as const)
            .map((key) => round(of('ours', (run) => run.whole.stat.latency[key] / 1_000)))
            .join(' / '),
        },
        {
          case: name,
          figure: `with ${OVER} times what the wire carries: Gbit/s, share of the core`,
          ours: `${round(over.gbits)}, ${percent(over.share)}`,
        },
        clientRow(
          name,
          runs.map((run) => run.ours.whole),
        ),
      ],
      notes: [
        `wire: a veth pair to another network namespace, limited by tbf to ${LINE_RATE / 1e9} Gbit/s of Ethernet frames; segments are cut by the kernel where a card would (TSO).`,
        `wire: with ${OVER} times what it carries, ${over.whole.stat.gaps.toLocaleString('en')} of ${(over.whole.stat.items + over.whole.stat.gaps).toLocaleString('en')} items were dropped for slow connections.`,
      ],
      data: { runs, over },
    };
  } finally {
    await stack.stop();
    cable.cut();
  }
}

function said({ gbits, share, interrupts, drops }: Run): string {
  const percent = (value: number) => `${Math.round(100 * value)} %`;
  return `${gbits.toFixed(2)} Gbit/s with ${percent(share)} of the core (${percent(share + interrupts)} with all interrupts), ${drops} packets over the wire's queue`;
}
