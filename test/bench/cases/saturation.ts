import { Audience, pause } from '../audience.ts';
import { type Measured, measured, medianOf } from '../measure.ts';
import { type Outcome, round } from '../report.ts';
import { engineLoop, type Rival } from '../rivals.ts';
import type { Scale } from '../scale.ts';
import { FULL_FRAME, fullFrames, QUIET_MS, Stack } from '../stack.ts';
import { clientRow } from './merged.ts';

const FIRST_RATE = 1_500;
const STEP = 1.25;
const LAST_RATE = 20_000;
/** A run has fallen behind if it takes longer than planned by more than this. */
const LATENESS = { share: 1.05, seconds: 0.3 };

type Step = { rate: number; run: Measured; kept: boolean };
/** Sends the messages of `frames` full frames at `rate` messages per second. */
type Drive = (rate: number, frames: number) => Promise<Measured>;

/** The maximum number of messages per second that one core delivers to all connections, in order and without loss. */
export async function saturation({ connections, pairs, seconds, quick, progress }: Scale): Promise<Outcome> {
  const stack = await Stack.start();
  const engine = await engineLoop('publish');
  try {
    const gateway = await stack.gateway();
    const publisher = await stack.publisher();
    const audience = new Audience({ port: gateway.port, rate: 4_000 });
    const control = new Audience({ port: engine.port, path: '/', room: '', ready: '', rate: 4_000 });
    await audience.open(connections);
    await control.open(connections);

    const drive: Drive = async (rate, frames) => {
      await pause(QUIET_MS);
      return measured(gateway.actor.pid, audience, () => publisher.push(fullFrames(rate, frames)));
    };
    const driveEngine = driveRival(engine, control);
    const limits = { first: FIRST_RATE, last: quick ? FIRST_RATE * STEP : LAST_RATE, seconds: Math.min(4, seconds) };
    const steps = await climb('ours', drive, limits, progress);
    const engineSteps = await climb(engine.name, driveEngine, limits, progress);
    const best = steps.findLast((step) => step.kept)?.rate ?? FIRST_RATE;
    const engineBest = engineSteps.findLast((step) => step.kept)?.rate ?? FIRST_RATE;

    const runs: { ours: Measured; engine: Measured; same: Measured }[] = [];
    for (let pair = 1; pair <= pairs; pair++) {
      const ours = await drive(best, framesIn(best, seconds));
      const theirs = await driveEngine(engineBest, framesIn(engineBest, seconds));
      const same = engineBest === best ? theirs : await driveEngine(best, framesIn(best, seconds));
      runs.push({ ours, engine: theirs, same });
      progress(`pair ${pair}: ${millions(ours)} M/s of ours, ${millions(theirs)} M/s of the engine alone`);
    }
    const ours = medianOf(runs, (run) => run.ours.itemsPerSecond);
    const theirs = medianOf(runs, (run) => run.engine.itemsPerSecond);
    const cpuRatio = medianOf(runs, (run) => run.ours.messageUs / run.same.messageUs);
    const full = runs.every(({ ours: { stat } }) => stat.gaps === 0 && stat.disorder === 0);
    return {
      rows: [
        {
          case: 'saturation',
          figure: `delivered messages a second on one core, ${connections.toLocaleString('en')} connections`,
          ours: `${round(ours / 1e6)} M (R ${best.toLocaleString('en')}${full ? '' : ', with losses'})`,
          reference: `engine alone ${round(theirs / 1e6)} M (R ${engineBest.toLocaleString('en')})`,
          ratio: ours / theirs,
          target: '≥ 20 M, ≥ 0.8 ×',
          met: full && ours >= 20e6 && ours / theirs >= 0.8,
        },
        {
          case: 'saturation',
          figure: `CPU for 1,000 delivered messages at the same R, µs`,
          ours: round(1_000 * medianOf(runs, (run) => run.ours.messageUs)),
          reference: `engine alone ${round(1_000 * medianOf(runs, (run) => run.same.messageUs))}`,
          ratio: cpuRatio,
        },
        {
          case: 'saturation',
          figure: 'accepted → received at that R, ms (p50 / p99 / max)',
          ours: (['p50', 'p99', 'max'] as const)
            .map((key) => round(medianOf(runs, (run) => run.ours.stat.latency[key] / 1_000)))
            .join(' / '),
        },
        clientRow(
          'saturation',
          runs.map((run) => run.ours),
        ),
      ],
      notes: [
        'saturation: messages go to NATS by the bus codec, one bus message each, from a process of its own: one logic process takes fewer requests a second.',
        `saturation: the first step that fell behind was R ${fellBehind(steps)} for ours, R ${fellBehind(engineSteps)} for the engine alone; R rises by ${STEP} × a step.`,
      ],
      data: { steps, engineSteps, runs },
    };
  } finally {
    await stack.stop();
    await engine.actor.stop();
  }
}

function driveRival(rival: Rival, audience: Audience): Drive {
  return (rate, frames) =>
    measured(rival.actor.pid, audience, () =>
      rival.send({ items: FULL_FRAME, bytes: 0, rate: rate / FULL_FRAME, seconds: (frames * FULL_FRAME) / rate }),
    );
}

/** Raises the rate until the server falls behind, twice. The last step is the first one that fell behind. */
async function climb(
  name: string,
  drive: Drive,
  limits: { first: number; last: number; seconds: number },
  progress: (text: string) => void,
): Promise<Step[]> {
  const steps: Step[] = [];
  let rate = limits.first;
  while (rate <= limits.last) {
    const step = await climbTo(rate, drive, limits.seconds);
    const again = steps.at(-1)?.rate === rate;
    if (again) steps.pop();
    steps.push(step);
    const { run } = step;
    progress(
      `${name} at R ${rate}: ${millions(run)} M/s, server ${percent(run.serverShare)}, client ${percent(run.clientShare)} of a core` +
        (step.kept ? '' : `: fell behind (${run.stat.seconds.toFixed(1)} s, ${run.stat.gaps} lost)`),
    );
    if (step.kept) rate = Math.round((rate * STEP) / 100) * 100;
    else if (again) break;
  }
  return steps;
}

async function climbTo(rate: number, drive: Drive, seconds: number): Promise<Step> {
  const frames = framesIn(rate, seconds);
  const run = await drive(rate, frames);
  const planned = (frames * FULL_FRAME) / rate;
  const late = run.stat.seconds > planned * LATENESS.share + LATENESS.seconds;
  const lost = run.stat.gaps > 0 || run.stat.leastMark < run.stat.mostMark;
  return { rate, run, kept: !late && !lost };
}

function framesIn(rate: number, seconds: number): number {
  return Math.max(1, Math.round((rate * seconds) / FULL_FRAME));
}

function fellBehind(steps: readonly Step[]): string {
  return steps.find((step) => !step.kept)?.rate.toLocaleString('en') ?? 'none';
}

function millions(run: Measured): string {
  return round(run.itemsPerSecond / 1e6);
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
