import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { simulate } from './simulation.ts';

/** A measured rollout, and its comparison with the simulation. */

/** The latest measurement on this machine. */
export const MEASURED_ROLLOUT = 'bench-results/rollout.json';
/** A measurement by `make e2e FILES=test/e2e/product/rollout.test.ts`, used if nothing was measured on this machine. */
export const SHIPPED_ROLLOUT = 'test/simulate/measuredRollout.json';

export const Rollout = z.strictObject({
  /** Whether the gateways were processes on one machine, or pods. */
  where: z.enum(['processes', 'kubernetes']),
  connections: z.number().int().positive(),
  /** drain.rate, connections per second of the whole cluster. */
  rate: z.number().positive(),
  /** Number of gateways that were replaced. */
  pods: z.number().int().positive(),
  /** Seconds from the start of the rollout until the last old gateway has ended. */
  durationSeconds: z.number().positive(),
  /** The greatest number of connections that moved within a second. */
  busiestSecond: z.number().nonnegative(),
  /** drain.settle and drain.timeout, seconds; the defaults of the product if absent. */
  settleSeconds: z.number().nonnegative().default(5),
  timeoutSeconds: z.number().positive().default(300),
  /**
   * Seconds from the start of the rollout until the first new gateway is ready; 0 if the new gateways were ready
   * before.
   */
  startupSeconds: z.number().nonnegative().default(0),
  /** Whether clients kept their old connection for a while, as the SDK does. */
  linger: z.boolean().default(true),
  /** batching.maxDelay, milliseconds. */
  maxDelay: z.number().nonnegative().default(1_000),
});
export type Rollout = z.infer<typeof Rollout>;

/** The maximum difference between simulation and measurement, as a share. */
export const TOLERANCE = 0.15;

export function parseRollout(text: string): Rollout {
  return Rollout.parse(JSON.parse(text));
}

/** Saves a measurement for `make simulate`; returns the measurement with its defaults. */
export function keepRollout(measured: z.input<typeof Rollout>): Rollout {
  const rollout = Rollout.parse(measured);
  const file = join(import.meta.dirname, '../..', MEASURED_ROLLOUT);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(rollout, null, 2)}\n`);
  return rollout;
}

export type Comparison = { text: string; seconds: number; busiestSecond: number; apart: number };

/** Compares the simulation with a measured rollout. */
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
