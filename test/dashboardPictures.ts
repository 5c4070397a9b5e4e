/**
 * Makes docs/images/dashboard-*.png: the chart's dashboards, drawn by a renderer of our own (test/harness/panelPicture.ts)
 * from what a real Prometheus answers about real processes. `make pictures`.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { hastyRules } from './harness/alertRules.ts';
import { startChromium } from './harness/browser.ts';
import { asked, type Dashboard, dashboards, type Panel } from './harness/dashboardQueries.ts';
import { ObservedCluster } from './harness/observedCluster.ts';
import { type Found, panelPicture, type Span } from './harness/panelPicture.ts';

const RATE_SECONDS = 6;
const STEP = 2;
const CALM_MS = 30_000;
const BUSY_MS = 50_000;
const AFTER_MS = 15_000;
/** Pixels of Grafana's grid: 24 columns, rows of 30. */
const [COLUMN, ROW, GAP] = [58, 32, 8];

const folder = join(import.meta.dirname, '..', 'docs', 'images');
mkdirSync(folder, { recursive: true });
const [cluster, browser] = await Promise.all([ObservedCluster.start(hastyRules(RATE_SECONDS)), startChromium()]);
try {
  await cluster.idle();
  await cluster.calm();
  // Rates need some scrapes before they are there.
  await setTimeout(RATE_SECONDS * 1_000);
  const from = Date.now() / 1_000;
  await setTimeout(CALM_MS);
  await cluster.busy();
  await setTimeout(BUSY_MS);
  await cluster.trouble();
  await setTimeout(AFTER_MS);
  await cluster.leave();
  const span = { from, to: Date.now() / 1_000 };
  for (const dashboard of dashboards()) {
    const page = await browser.newPage({ viewport: { width: 24 * COLUMN + 2 * GAP, height: 800 } });
    await page.setContent(await pageOf(dashboard, span));
    const name = dashboard.title.replace('PushCluster / ', '').toLowerCase().replaceAll(' ', '-');
    await page.screenshot({ path: join(folder, `dashboard-${name}.png`), fullPage: true });
    await page.close();
  }
} finally {
  await browser.close();
  await cluster.stop();
}

async function pageOf(dashboard: Dashboard, span: Span): Promise<string> {
  const pictures = await Promise.all(dashboard.panels.map((panel) => placed(panel, span)));
  const height = Math.max(...dashboard.panels.map(({ gridPos }) => (gridPos.y + gridPos.h) * ROW));
  const title = `${dashboard.title} <small>drawn from real query results by a renderer of the project's own, not by Grafana</small>`;
  return `<!doctype html><meta charset="utf-8"><style>
    body { margin: 0; background: #f4f5f7; font-family: 'DejaVu Sans', sans-serif; color: #24292f; }
    h1 { font-size: 17px; margin: 14px ${GAP}px 6px; } small { font-weight: 400; font-size: 11px; color: #6b7280; margin-left: 10px; }
    main { position: relative; height: ${height + GAP}px; margin: 0 ${GAP}px; } main > * { position: absolute; }
    h2 { font-size: 13px; margin: 8px 0 0; } </style><h1>${title}</h1><main>${pictures.join('')}</main>`;
}

async function placed(panel: Panel, span: Span): Promise<string> {
  const { x, y, w, h } = panel.gridPos;
  const place = `left:${x * COLUMN}px;top:${y * ROW}px`;
  if (panel.type === 'row') return `<h2 style="${place}">${panel.title}</h2>`;
  const found: Found[] = await Promise.all(
    panel.targets.map(async ({ expr, legendFormat }) => ({
      legend: legendFormat,
      series: await cluster.prometheus.range(asked(expr, RATE_SECONDS), { ...span, step: STEP }),
    })),
  );
  const size = { width: w * COLUMN - GAP, height: h * ROW - GAP };
  return `<div style="${place}">${panelPicture(panel, found, span, size)}</div>`;
}
