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
  await until('pushes are stored', async () =>
    (await cluster.exported()).logic.includes('history_oldest_timestamp_seconds{'),
  );
  writeFileSync(METRICS_PAGE, metricsPage(await cluster.exported()).should);
} finally {
  await cluster.stop();
}
