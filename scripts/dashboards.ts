import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dashboard } from '@grafana/schema';
import { gatewayDashboard } from './dashboards/gateway.ts';
import { logicAndBus } from './dashboards/logicAndBus.ts';
import { operatorDashboard } from './dashboards/operator.ts';
import { overview } from './dashboards/overview.ts';

/** `node scripts/dashboards.ts`: writes the chart's dashboards as JSON for Grafana. */

const FOLDER = join(import.meta.dirname, '..', 'charts', 'pushcluster', 'dashboards');

/** The dashboards by file name. */
export const DASHBOARDS: Readonly<Record<string, Dashboard>> = {
  'overview.json': overview,
  'gateway.json': gatewayDashboard,
  'logic-and-bus.json': logicAndBus,
  'operator.json': operatorDashboard,
};

if (import.meta.main) {
  mkdirSync(FOLDER, { recursive: true });
  for (const [name, dashboard] of Object.entries(DASHBOARDS))
    writeFileSync(join(FOLDER, name), dashboardText(dashboard));
}

/** The JSON text of a dashboard's file. */
export function dashboardText(dashboard: Dashboard): string {
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}

/** The text of a dashboard's file as checked in. */
export function checkedIn(name: string): string {
  return readFileSync(join(FOLDER, name), 'utf8');
}
