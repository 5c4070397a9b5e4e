import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { kubeTools } from '../../harness/cluster/tools.ts';

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
    const blocks = [...section.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!);
    assert.equal(blocks.length, 3, 'the section has its commands');
    const { code, output } = await bash(`set -eo pipefail\n${blocks.join('\n')}`);
    t.diagnostic(output);
    assert.equal(code, 0, output);
    assert.match(output, /"kind":"MetricValueList"/);
    assert.match(output, /^live +True +4 +/m);
    assert.match(output, /^live +True +2 +/m);
  });

  async function bash(script: string): Promise<{ code: number | null; output: string }> {
    const program = await kubeTools('cluster');
    const env = {
      ...process.env,
      KUBECONFIG: cluster.kubeconfig,
      PATH: `${dirname(program('kubectl'))}:${process.env.PATH}`,
    };
    const child = spawn('bash', ['-c', script], {
      cwd: ROOT,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 500_000,
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => resolve({ code, output }));
    });
  }
});
