import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const FOLDER = join(import.meta.dirname, '../../charts/pushcluster/dashboards');

const GridPos = z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() });
const Panel = z.object({
  type: z.string(),
  title: z.string(),
  description: z.string().default(''),
  gridPos: GridPos,
  fieldConfig: z
    .object({ defaults: z.object({ unit: z.string().default('none'), max: z.number().optional() }) })
    .default({ defaults: { unit: 'none' } }),
  targets: z.array(z.object({ refId: z.string(), expr: z.string(), legendFormat: z.string() })).default([]),
});
export type Panel = z.infer<typeof Panel>;

const Dashboard = z.object({
  title: z.string(),
  panels: z.array(Panel),
  annotations: z.object({ list: z.array(z.object({ name: z.string(), expr: z.string() })) }),
  templating: z.object({
    list: z.array(
      z.object({ name: z.string(), type: z.string(), query: z.union([z.string(), z.object({ query: z.string() })]) }),
    ),
  }),
});
export type Dashboard = z.infer<typeof Dashboard>;

/** The dashboards of the chart, as checked in. */
export function dashboards(): Dashboard[] {
  return readdirSync(FOLDER)
    .sort()
    .map((name) => Dashboard.parse(JSON.parse(readFileSync(join(FOLDER, name), 'utf8'))));
}

/** A query of a panel with all variables filled in. */
export type PanelQuery = { panel: string; expr: string; legend: string };

/**
 * All queries of a dashboard's panels.
 * @param rateInterval seconds; Grafana would use four scrape intervals
 */
export function panelQueries({ title, panels }: Dashboard, rateInterval: number): PanelQuery[] {
  return panels.flatMap((panel) =>
    panel.targets.map(({ refId, expr, legendFormat }) => ({
      panel: `${title} / ${panel.title} / ${refId}`,
      expr: asked(expr, rateInterval),
      legend: legendFormat,
    })),
  );
}

/** Metrics that have a series for each policy of rooms with a history. */
const OF_HISTORIES = /_history_(bytes|oldest_timestamp_seconds)\b/;

/** The queries of all panels that have an answer in a cluster in which no room has a history. */
export function queriesWithoutHistory(rateInterval: number): PanelQuery[] {
  return dashboards()
    .flatMap((dashboard) => panelQueries(dashboard, rateInterval))
    .filter(({ expr }) => !OF_HISTORIES.test(expr));
}

/** A query with its variables filled in as Grafana does if all values are selected, and with shortened windows. */
export function asked(expr: string, rateInterval: number): string {
  return expr
    .replaceAll('$__rate_interval', `${rateInterval}s`)
    .replaceAll('[2m:30s]', `[${rateInterval}s:1s]`)
    .replaceAll('$namespace', '.*')
    .replaceAll('$cluster', '.*')
    .replaceAll('$pod', '.*')
    .replaceAll('$line_rate', '1.25e9');
}

/** Formats a legend such as `{{pod}} p99` with the labels of a series. */
export function legendOf(format: string, labels: Record<string, string>): string {
  return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => labels[label] ?? '');
}
