import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

export const RULES_FILE = join(import.meta.dirname, '../../charts/pushcluster/rules/pushcluster.yaml');

const Alert = z.object({
  alert: z.string(),
  expr: z.string(),
  for: z.string().default('0s'),
  labels: z.object({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.object({ summary: z.string(), description: z.string(), runbook_url: z.string() }),
});
export type Alert = z.infer<typeof Alert>;

const Rules = z.object({ groups: z.array(z.object({ name: z.string(), rules: z.array(Alert) })) });

/** The alerts of the chart, as checked in. */
export function alertRules(): Alert[] {
  return Rules.parse(parse(readFileSync(RULES_FILE, 'utf8'))).groups.flatMap(({ rules }) => rules);
}

/**
 * The rules with each minute shortened to a second, so that a test can wait for an alert.
 * @param shortest the shortest range of a query, in seconds: at least four scrape intervals
 */
export function hastyRules(shortest: number): string {
  const seconds = (count: string, unit: string) => Math.ceil(Number(count) / (unit === 'm' ? 1 : 60));
  return readFileSync(RULES_FILE, 'utf8')
    .replace(/\[(\d+)([ms])\]/g, (_, count, unit) => `[${Math.max(shortest, seconds(count, unit))}s]`)
    .replace(/for: (\d+)([ms])$/gm, (_, count, unit) => `for: ${seconds(count, unit)}s`);
}
