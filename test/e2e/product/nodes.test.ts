import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Audience } from '../../harness/cluster/audience.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { until } from '../../harness/until.ts';

const DRAIN = { rate: 30, settle: '2s', timeout: '60s' };

describe('a node that is drained', () => {
  let cluster: OpenCluster;
  let live: Live;
  let audience: Audience;
  let node = '';
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'nodes', { gateway: { drain: DRAIN } });
    audience = new Audience(await live.address());
    await audience.come({ fans: 80, regulars: 80 });
  });
  after(async () => {
    if (node !== '') await cluster.kubectl(['uncordon', node]);
    audience?.end();
    await live?.end();
    await cluster.close();
  });

  it('gives up its gateways only as the budget allows, and every connection is told', async (t) => {
    const pods = await live.pods('gateway');
    const nats = (await live.pods('nats'))[0]!.node;
    // The one without NATS: what its absence does is another test's.
    const gateway = pods.find((pod) => pod.node !== nats);
    assert.ok(gateway, 'gateways are spread over nodes');
    node = gateway.node;
    audience.write(live);
    let fewest = pods.length;
    let isDone = false;
    const began = performance.now();
    const args = ['--ignore-daemonsets', '--delete-emptydir-data', '--timeout=150s'];
    const drained = cluster.kubectl(['drain', node, ...args]).finally(() => {
      isDone = true;
    });
    await until(
      'the node is empty',
      async () => {
        fewest = Math.min(fewest, (await live.pods('gateway')).filter(({ ready, ending }) => ready && !ending).length);
        return isDone;
      },
      160_000,
    );
    await drained;
    t.diagnostic(
      `drained after ${((performance.now() - began) / 1_000).toFixed(1)} s; ready gateways at least ${fewest}`,
    );
    assert.ok(fewest >= 1);
    assert.ok((await live.pods('gateway')).every((pod) => pod.node !== node));
    await live.whenReady(60_000);
    await until('all clients are connected', () => audience.everyone.every(({ isOpen }) => isOpen), 30_000);
    await audience.quiet();
    const { codes, moves } = audience;
    t.diagnostic(
      `${moves.length} moves; connections that ended before their clients had another: ${JSON.stringify(codes)}`,
    );
    for (const code of Object.keys(codes)) assert.equal(code, '1012');
    audience.settle(t);
  });
});
