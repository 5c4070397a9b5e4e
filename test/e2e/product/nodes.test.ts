import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Audience } from '../../harness/cluster/audience.ts';
import { drainNode } from '../../harness/cluster/drainNode.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { busGoneAndBack } from '../../harness/cluster/outage.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { type Connection, cutAll } from '../../harness/connection.ts';
import { Ledger } from '../../harness/ledger.ts';
import { until } from '../../harness/until.ts';

const GATEWAYS = 4;
const DRAIN = { rate: 30, settle: '2s', timeout: '60s' };
const DEADLINE_MS = 400_000;

describe('a node that is drained', () => {
  let cluster: OpenCluster;
  let live: Live;
  let audience: Audience | undefined;
  let connections: Connection[] = [];
  const cordoned: string[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'nodes', { gateway: { replicas: GATEWAYS, drain: DRAIN } });
  });
  after(async () => {
    for (const node of cordoned) await cluster.kubectl(['uncordon', node]);
    audience?.end();
    cutAll(connections);
    await live?.end();
    await cluster.close();
  });

  async function drain(node: string, ...more: string[]): Promise<string> {
    cordoned.push(node);
    return drainNode(cluster, node, DEADLINE_MS, ...more);
  }

  it('gives up its gateways one at a time, as the budget has it, and every connection is told', async (t) => {
    audience = new Audience(await live.address());
    await audience.come({ fans: 80, regulars: 80 });
    const pods = await live.pods('gateway');
    const [nats] = await live.pods('nats');
    // The one without NATS: what its absence does comes next.
    const here = pods.filter((pod) => pod.node !== nats?.node);
    assert.ok(here.length >= 2, 'so many on one node that a budget is needed');
    const node = here[0]?.node ?? '';
    audience.write(live);
    let fewest = pods.length;
    let isDone = false;
    const began = performance.now();
    const drained = drain(node).finally(() => {
      isDone = true;
    });
    await until(
      'the node is empty',
      async () => {
        fewest = Math.min(fewest, (await live.pods('gateway')).filter(({ ready, ending }) => ready && !ending).length);
        return isDone;
      },
      DEADLINE_MS,
    );
    assert.match(
      await drained,
      /"live-gateway-[a-z0-9-]+".*Cannot evict pod as it would violate the pod's disruption budget/,
    );
    t.diagnostic(
      `drained after ${((performance.now() - began) / 1_000).toFixed(1)} s; ready gateways at least ${fewest} of ${GATEWAYS}`,
    );
    assert.ok(fewest >= GATEWAYS - 1, 'more than one gateway was missing');
    assert.ok((await live.pods('gateway')).every((pod) => pod.node !== node));
    await live.whenReady();
    const { everyone } = audience;
    await until('all clients are connected', () => everyone.every(({ isOpen }) => isOpen));
    await audience.quiet();
    const { codes, moves } = audience;
    t.diagnostic(
      `${moves.length} moves; connections that ended before their clients had another: ${JSON.stringify(codes)}`,
    );
    for (const code of Object.keys(codes)) assert.equal(code, '1012');
    audience.settle(t);
    audience.end();
  });

  it('gives up a single NATS server too; connections stay, and what was lost meanwhile is told', async (t) => {
    for (const node of cordoned.splice(0)) await cluster.kubectl(['uncordon', node]);
    connections = await live.connectEach('match');
    const ledger = new Ledger();
    const writers = await live.writers(ledger, 'match');
    for (const writer of writers) await writer.push(3);
    const [before] = await live.pods('nats');
    const drained = drain(before?.node ?? '', '--pod-selector=app.kubernetes.io/component=nats');
    await busGoneAndBack(t, writers, connections);
    await drained;
    const [now] = await live.pods('nats');
    assert.notEqual(now?.node, before?.node);
    await ledger.settle(t, connections, { lossy: true });
    for (const { closed } of connections) assert.equal(closed, undefined);
    await live.whenReady();
  });
});
