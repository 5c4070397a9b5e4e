import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { slowly } from '../../harness/cluster/balancedService.ts';
import { Live } from '../../harness/cluster/live.ts';
import { Newcomers } from '../../harness/cluster/newcomers.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { evenly, leastUsedNode } from '../../harness/cluster/pods.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { type Connection, cutAll } from '../../harness/connection.ts';
import { until } from '../../harness/until.ts';

const GATEWAYS = 4;
/** New connections a second. */
const RATE = 20;
/** Faster than clouds, so that this takes a minute: `loadBalancerSteps.test.ts` takes its time. */
const CHECK = { interval: 1_000, threshold: 3 };
const DRAIN = { rate: 100, settle: '12s', timeout: '60s' };

describe('behind a load balancer that notices after seconds', () => {
  let cluster: OpenCluster;
  let live: Live;
  let newcomers: Newcomers | undefined;
  let connections: Connection[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'load-balancer', {
      gateway: {
        replicas: GATEWAYS,
        drain: DRAIN,
        placement: evenly,
        service: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', annotations: slowly(CHECK) },
      },
    });
  });
  after(async () => {
    newcomers?.stop();
    cutAll(connections);
    await live?.end();
    await cluster.close();
  });

  it('no new connection fails while a scale-down takes all gateways of a node', async (t) => {
    const address = await live.address();
    const { leaving, staying } = leastUsedNode(await live.pods('gateway'));
    // The gateways with the fewest connections are chosen.
    for (const pod of staying)
      connections.push(...(await Promise.all(Array.from({ length: 10 }, () => live.connect(pod)))));
    await live.when(
      'the operator knows of them',
      ({ status }) => (status?.gateway?.connections ?? 0) >= connections.length,
    );
    newcomers = new Newcomers(address, RATE);
    const stream = newcomers;
    const arrivals = await stream.during(async () => {
      await live.kubectl('scale', 'push/live', `--replicas=${staying.length}`);
      await until('they are gone', async () => (await live.pods('gateway')).length === staying.length, 300_000, 200);
      await stream.more((RATE * CHECK.interval * CHECK.threshold) / 1_000);
    });
    const left = new Set((await live.pods('gateway')).map(({ uid }) => uid));
    assert.ok(
      leaving.every(({ uid }) => !left.has(uid)),
      'a node without gateways is what this is about',
    );
    t.diagnostic(String(arrivals));
    assert.deepEqual(arrivals.failures, []);
    connections = connections.filter(({ closed }) => closed === undefined);
    assert.equal(connections.length, 10 * staying.length, 'who was elsewhere stayed');
  });
});
