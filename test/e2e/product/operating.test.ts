import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { commandsIn, paste } from '../../harness/cluster/pasted.ts';
import { installChart } from '../../harness/cluster/product.ts';

const ROOT = new URL('../../../', import.meta.url).pathname;

describe('docs/operating.md', () => {
  let cluster: OpenCluster;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
  });
  after(async () => {
    await cluster.kubectl(['delete', '-f', `${ROOT}/examples/minimal.yaml`, '--ignore-not-found']);
    await cluster.kubectl(['delete', 'pod', 'crowd', '--now', '--ignore-not-found']);
    await cluster.close();
  });

  it('has an example of autoscaling that works as pasted: from two gateways to four, and back', async (t) => {
    await cluster.kubectl(['apply', '-f', `${ROOT}/examples/minimal.yaml`]);
    await cluster.kubectl(['wait', 'push/live', '--for=condition=Ready', '--timeout=2m']);
    const text = await readFile(`${ROOT}/docs/operating.md`, 'utf8');
    const [, section = ''] = /^## Autoscaling\n(.*?)^## /ms.exec(text) ?? [];
    const blocks = commandsIn(section);
    assert.equal(blocks.length, 3, 'the section has its commands');
    const { code, output } = await paste(cluster, `set -eo pipefail\n${blocks.join('\n')}`, 500_000);
    t.diagnostic(output);
    assert.equal(code, 0, output);
    assert.match(output, /"kind":"MetricValueList"/);
    assert.match(output, /^live +True +4 +/m);
    assert.match(output, /^live +True +2 +/m);
  });
});
