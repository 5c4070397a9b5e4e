import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inUrl } from '../../harness/cluster/addressPlan.ts';
import { Audience, busiest } from '../../harness/cluster/audience.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { until } from '../../harness/until.ts';

const FANS = 600;
const REGULARS = 3_400;
/** From two gateways to four; how few moves that takes is what is asserted. */
const WITHIN_MS = 400_000;
const MOST_MOVES = 2_400;
const FULLEST = 1.25;

describe('two gateways with 4,000 connections that become four', () => {
  let cluster: OpenCluster;
  let live: Live;
  let audience: Audience;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'rebalance', {
      gateway: { replicas: 2, rebalance: { moveOthers: true } },
    });
    audience = new Audience(await live.address());
    // Those who came first are moved first: clients with the SDK among them.
    await audience.come({ fans: FANS });
    await audience.come({ regulars: REGULARS });
    audience.write(live, 1_000);
  });
  after(async () => {
    audience?.end();
    await live?.end();
    await cluster.close();
  });

  it('are evenly full soon, by few moves, nobody moved more than twice and none refused', async (t) => {
    const total = FANS + REGULARS;
    const counts = async () =>
      Promise.all((await live.pods('gateway')).filter(({ ready }) => ready).map((pod) => live.connections(pod)));
    const sum = (numbers: readonly number[]) => numbers.reduce((all, number) => all + number, 0);
    const refused = async () => {
      const each = (await live.pods('gateway')).map(async ({ ip }) => {
        const text = await (await fetch(`http://${inUrl(ip)}:9090/metrics`)).text();
        return sum(
          Array.from(text.matchAll(/^pushcluster_gateway_refused_total\{.*\} (\d+)$/gm), ([, n]) => Number(n)),
        );
      });
      return sum(await Promise.all(each));
    };
    await until('all are counted', async () => sum(await counts()) === total);
    // Of those who came at first, all at once.
    const refusedBefore = await refused();
    const before = await counts();
    t.diagnostic(`connections of the two: ${before.join(', ')}`);
    // More than half is what it takes where they are not evenly full from the start.
    const least = sum(before.map((count) => Math.max(0, count - total / 4)));
    const moves = audience.moves.length;
    const began = performance.now();
    await live.kubectl('scale', 'push/live', '--replicas=4');
    await until(
      `the fullest of four has at most ${FULLEST} times the average`,
      async () => {
        const now = await counts();
        return now.length === 4 && sum(now) >= 0.99 * total && Math.max(...now) <= (FULLEST * sum(now)) / 4;
      },
      WITHIN_MS,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: they have ${await counts()}\n${await live.told()}`);
    });
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    const made = audience.moves.slice(moves);
    t.diagnostic(`after ${seconds} s: ${(await counts()).join(', ')}, by ${made.length} moves`);
    t.diagnostic(`${busiest(made, 1_000)} moves in the busiest second`);
    assert.ok(made.length <= Math.max(MOST_MOVES, 1.2 * least), `${made.length} moves, ${least} needed`);
    const { fans, regulars } = audience;
    const most = Math.max(...fans.map(({ asked }) => asked.length), ...regulars.map(({ ends }) => ends.length));
    t.diagnostic(`nobody was moved more than ${most} times`);
    assert.ok(most <= 2);
    for (const code of Object.keys(audience.codes)) assert.equal(code, '1012');
    assert.equal(await refused(), refusedBefore, 'handshakes were refused');
  });

  it('lose nothing, and all serve again', async (t) => {
    await until('all clients are connected', () => audience.everyone.every(({ isOpen }) => isOpen));
    await until(
      'the Service chooses all four',
      async () => (await live.pods('gateway')).every(({ labels }) => labels['pushcluster.dev/serving'] === 'true'),
      300_000,
    );
    await audience.quiet();
    audience.settle(t);
  });
});
