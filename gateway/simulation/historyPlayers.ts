import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import type { Played } from './historyPlayer.ts';
import type { PropertyName } from './historySchedules.ts';

const PLAYER = new URL('./historyPlayer.ts', import.meta.url).pathname;
/** Room for what is soon garbage: nearly all of a schedule. Without it, collecting takes a fifth of the time. */
const YOUNG = '--max-semi-space-size=64';
const MAX_OUTPUT_BYTES = 64 * 1_048_576;

/** @param schedules that are played at most  @param withinMs milliseconds after which no more is begun */
export type Plays = { property: PropertyName; schedules: number; seed: number; withinMs: number };

/** Plays schedules in as many processes as the machine has cores, each from a seed of its own. */
export async function playHistories(plays: Plays): Promise<Played> {
  const cores = availableParallelism();
  const players = Array.from({ length: cores }, (_, i) =>
    play({ ...plays, schedules: Math.ceil(plays.schedules / cores), seed: plays.seed + i }),
  );
  const all = await Promise.all(players);
  return {
    played: all.reduce((sum, { played }) => sum + played, 0),
    failure: all.find(({ failure }) => failure !== undefined)?.failure,
  };
}

async function play({ property, schedules, seed, withinMs }: Plays): Promise<Played> {
  const options = { property, seed, runs: schedules, within: withinMs };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const { stdout } = await promisify(execFile)(process.execPath, [YOUNG, PLAYER, ...args], {
    maxBuffer: MAX_OUTPUT_BYTES,
  });
  return JSON.parse(stdout);
}
