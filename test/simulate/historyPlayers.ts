import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import type { Played } from './historyPlayer.ts';
import type { PropertyName } from './historyProperties.ts';

const PLAYER = new URL('./historyPlayer.ts', import.meta.url).pathname;
/** Room for what is soon garbage: nearly all of a schedule. Without it, collecting takes a fifth of the time. */
const YOUNG = '--max-semi-space-size=64';
const MAX_OUTPUT_BYTES = 64 * 1_048_576;

export type Plays = {
  property: PropertyName;
  /** Played at most. */
  schedules: number;
  /** Of the first player; each of the others has the next. */
  seed: number;
  /** Milliseconds after which no more is begun. */
  withinMs: number;
};

/** Plays schedules in several processes, by default as many as the machine has cores, each from a seed of its own. */
export async function playHistories(plays: Plays, players = availableParallelism()): Promise<Played> {
  const schedules = Math.ceil(plays.schedules / players);
  const all = await Promise.all(
    Array.from({ length: players }, (_, i) => play({ ...plays, schedules, seed: plays.seed + i })),
  );
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
