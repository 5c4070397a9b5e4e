import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { kubeTools } from '../../harness/cluster/tools.ts';

const ROOT = new URL('../../../', import.meta.url).pathname;

describe('docs/quickstart.md', () => {
  let cluster: OpenCluster;
  before(async () => {
    cluster = await openCluster();
  });
  after(() => cluster.close());

  it('works as pasted, from the chart to the end', async (t) => {
    const text = await readFile(new URL('../../../docs/quickstart.md', import.meta.url), 'utf8');
    const blocks = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!);
    assert.ok(blocks.length >= 7, 'the page has its commands');
    // As one shell that is pasted to: jobs and variables of one block are there in the next.
    const { code, output } = await bash(`set -eo pipefail; set -m\n${blocks.join('\n')}`);
    t.diagnostic(output);
    assert.equal(code, 0, output);
    assert.match(output, /"type":"OK"/);
    assert.match(output, /\{"accepted":1\}/);
    assert.match(output, /"items":\["hello"\]/);
    assert.match(output, /live +True +2/);
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
      timeout: 300_000,
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
