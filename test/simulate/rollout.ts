import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { simulate } from './simulation.ts';

/** A rollout that was measured, and what the simulation says of the same. */

/** What was measured here last. */
export const MEASURED_ROLLOUT = 'bench-results/rollout.json';
/** What `make e2e FILES=test/e2e/product/rollout.test.ts` measured once, for where nothing was measured yet. */
export const SHIPPED_ROLLOUT = 'test/simulate/measuredRollout.json';

export const Rollout = z.strictObject({
  /** Of processes on one machine, or of pods. */
  where: z.enum(['processes', 'kubernetes']),
  connections: z.number().int().positive(),
  /** drain.rate, connections a second of the whole cluster. */
  rate: z.number().positive(),
  /** Gateways that were replaced. */
  pods: z.number().int().positive(),
  /** From its beginning until the last old gateway is gone. */
  durationSeconds: z.number().positive(),
  /** The most connections that left in one second. */
  busiestSecond: z.number().nonnegative(),
  /** drain.settle and drain.timeout, as shipped where absent. */
  settleSeconds: z.number().nonnegative().default(5),
  timeoutSeconds: z.number().positive().default(300),
  /** From the beginning until the first new gateway is ready. Zero: they were there before. */
  startupSeconds: z.number().nonnegative().default(0),
  /** Whether clients kept their old connection a while, as the SDK does. */
  linger: z.boolean().default(true),
  /** Milliseconds. */
  maxDelay: z.number().nonnegative().default(1_000),
});
export type Rollout = z.infer<typeof Rollout>;

/** How far simulation and measurement may be apart. */
export const TOLERANCE = 0.15;

export function parseRollout(text: string): Rollout {
  return Rollout.parse(JSON.parse(text));
}

/** Keeps a measurement for `make simulate`; returns it whole. */
export function keepRollout(measured: z.input<typeof Rollout>): Rollout {
  const rollout = Rollout.parse(measured);
  const file = join(import.meta.dirname, '../..', MEASURED_ROLLOUT);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(rollout, null, 2)}\n`);
  return rollout;
}

export type Comparison = { text: string; seconds: number; busiestSecond: number; apart: number };

/** What the simulation says of the rollout that was measured. */
export function compared(measured: Rollout): Comparison {
  const result = simulate(
    {
      people: measured.connections,
      gateways: measured.pods,
      messages: 1,
      shardCores: 1,
      cpuPerPerson: 0,
      acceptRate: 0,
      drain: { rate: measured.rate, settle: measured.settleSeconds * 1_000, timeout: measured.timeoutSeconds * 1_000 },
      maxDelay: measured.maxDelay,
      startup: measured.startupSeconds * 1_000,
      linger: measured.linger,
    },
    'rollout',
  );
  const apart = result.recovered / measured.durationSeconds - 1;
  const text =
    `A rollout that was measured (${measured.where}), of ${measured.connections} connections on ${measured.pods} gateways at ${measured.rate} a second, took ` +
    `${measured.durationSeconds.toFixed(1)} s (busiest second ${measured.busiestSecond}), simulated ${result.recovered.toFixed(1)} s ` +
    `(${result.busiestSecond}): ${(100 * apart).toFixed(1)} % apart.`;
  return { text, seconds: result.recovered, busiestSecond: result.busiestSecond, apart };
}
