import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Audience, assertPace } from '../../harness/cluster/audience.ts';
import { Live, type Pod } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { CountedMoves } from '../../harness/countedMoves.ts';
import { until } from '../../harness/until.ts';

const FANS = 600;
const REGULARS = 1_400;
/** Connections a second. */
const RATE = 80;
const SLOW_RATE = 2;

describe('kubectl scale with 2,000 connections', () => {
  let cluster: OpenCluster;
  let live: Live;
  let audience: Audience;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    // Sooner, a node of a busy machine may still send who was moved to the gateway that drains.
    const drain = { rate: RATE, settle: '5s', timeout: '90s' };
    live = await Live.start(cluster.kubectl, 'scaling', {
      // What evens out load is another test's.
      gateway: { replicas: 3, drain, rebalance: { rate: 0 } },
    });
    audience = new Audience(await live.address());
    await audience.come({ fans: FANS, regulars: REGULARS });
    audience.write(live, 500);
  });
  after(async () => {
    audience?.end();
    await live?.end();
    await cluster.close();
  });

  it('down: the emptiest gateway moves its people away before it goes, told, at the pace', async (t) => {
    await until('all are counted', async () => (await held(await live.pods('gateway'))) === FANS + REGULARS);
    // The operator asks pods every 10 s; the status follows every 30 s.
    const about = (FANS + REGULARS) * 0.95;
    await live.when('the status counts them', ({ status }) => (status?.gateway?.connections ?? 0) > about);
    const before = await live.pods('gateway');
    const counts = await Promise.all(before.map((pod) => live.connections(pod)));
    t.diagnostic(`connections of the three: ${counts.join(', ')}`);
    const counted = CountedMoves.at(before);
    const began = performance.now();
    await live.kubectl('scale', 'push/live', '--replicas=2');
    let draining = '';
    await until('the status tells of a drain', async () => {
      const { status } = await live.get();
      const progress = status?.conditions?.find(({ type }) => type === 'Progressing');
      draining = `${status?.gateway?.replicas} gateways, ${status?.gateway?.draining} draining: ${progress?.message}`;
      return status?.gateway?.draining === 1;
    });
    t.diagnostic(draining);
    await until('one is gone', async () => (await live.pods('gateway')).length === 2, 240_000);
    t.diagnostic(`two gateways after ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    await live.whenReady();
    const left = new Set((await live.pods('gateway')).map(({ uid }) => uid));
    const gone = before.findIndex(({ uid }) => !left.has(uid));
    assert.equal(counts[gone], Math.min(...counts), 'the emptiest went');
    await told(t, counts[gone]!, counted);
  });

  it('up: new gateways come, and nobody is moved', async (t) => {
    const moves = audience.moves.length;
    const began = performance.now();
    await live.kubectl('scale', 'push/live', '--replicas=3');
    await live.whenReady();
    t.diagnostic(`three gateways ready after ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    assert.equal((await live.get()).status?.gateway?.replicas, 3);
    assert.equal(audience.moves.length, moves);
  });

  it('down, and up again before it is done: the drain is taken back', async (t) => {
    const before = (await live.pods('gateway')).map(({ uid }) => uid).sort();
    const moves = audience.moves.length;
    // The third is empty: make it hold some.
    await audience.come({ regulars: 150 });
    // Slowly, so that no drain is over before it is taken back, however long kubectl and the operator take.
    await live.patch({ gateway: { drain: { rate: SLOW_RATE } } });
    await live.whenReady();
    await live.kubectl('scale', 'push/live', '--replicas=1');
    await until('two drain', async () => (await live.get()).status?.gateway?.draining === 2);
    await live.kubectl('scale', 'push/live', '--replicas=3');
    await live.when(
      'nothing drains',
      ({ status }) => status?.gateway?.draining === 0 && status.gateway.readyReplicas === 3,
    );
    assert.deepEqual((await live.pods('gateway')).map(({ uid }) => uid).sort(), before);
    await until('all serve again', async () =>
      (await live.pods('gateway')).every(({ labels }) => labels['pushcluster.dev/serving'] === 'true'),
    );
    t.diagnostic(`moved until it was taken back: ${audience.moves.length - moves}`);
  });

  it('loses nothing, and is what kubectl tells of', async (t) => {
    await until('all clients are connected', () => audience.everyone.every(({ isOpen }) => isOpen));
    await audience.quiet();
    audience.settle(t);
    for (const code of Object.keys(audience.codes)) assert.equal(code, '1012');
    for (const line of (await live.told()).split('\n')) t.diagnostic(line);
  });

  async function held(pods: readonly Pod[]): Promise<number> {
    return (await Promise.all(pods.map((pod) => live.connections(pod)))).reduce((sum, count) => sum + count, 0);
  }

  async function told(t: TestContext, moved: number, counted: CountedMoves): Promise<void> {
    const { codes, fans, regulars } = audience;
    // The test's process hears of the last ones after the API server does.
    await until('those were moved', () => audience.moves.length >= moved - 2).catch(() => {});
    const { moves } = audience;
    const most = Math.max(...fans.map((fan) => fan.moved), ...regulars.map(({ ends }) => ends.length));
    t.diagnostic(`${moves.length} moves of ${moved}, nobody more than ${most} times`);
    t.diagnostic(`connections that ended before their clients had another: ${JSON.stringify(codes)}`);
    for (const code of Object.keys(codes)) assert.equal(code, '1012');
    assert.ok(Math.abs(moves.length - moved) <= 2, 'those and no others');
    assert.equal(most, 1);
    await assertPace(t, counted, moves.length, RATE);
  }
});
