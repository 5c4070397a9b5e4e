import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { commandsIn, paste } from '../../harness/cluster/pasted.ts';

describe('docs/quickstart.md', () => {
  let cluster: OpenCluster;
  before(async () => {
    cluster = await openCluster();
  });
  after(() => cluster.close());

  it('works as pasted, from the chart to the end', async (t) => {
    const text = await readFile(new URL('../../../docs/quickstart.md', import.meta.url), 'utf8');
    const blocks = commandsIn(text);
    assert.ok(blocks.length >= 7, 'the page has its commands');
    // As one shell that is pasted to: jobs and variables of one block are there in the next.
    const { code, output } = await paste(cluster, `set -eo pipefail; set -m\n${blocks.join('\n')}`, 300_000);
    t.diagnostic(output);
    assert.equal(code, 0, output);
    assert.match(output, /"type":"OK"/);
    assert.match(output, /\{"accepted":1\}/);
    assert.match(output, /"items":\["hello"\]/);
    assert.match(output, /live +True +2/);
  });
});
