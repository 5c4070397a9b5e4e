/** Makes the tables of docs/reference/metrics.md from what real processes export: `node test/metricsReference.ts`. */
import { writeFileSync } from 'node:fs';
import { METRICS_PAGE, metricsPage } from './harness/metricsReference.ts';
import { ObservedCluster } from './harness/observedCluster.ts';
import { until } from './harness/until.ts';

const cluster = await ObservedCluster.start('');
try {
  await cluster.idle();
  await cluster.calm();
  await until('conditions are there', async () => (await cluster.exported()).operator.includes('condition="Ready"'));
  writeFileSync(METRICS_PAGE, metricsPage(await cluster.exported()).should);
} finally {
  await cluster.stop();
}
