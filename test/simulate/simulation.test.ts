import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { defaultBackoff, retryDelay } from '@pushcluster/client/backoff.ts';
import { MEASURED } from '@pushcluster/gateway/plan/constants.ts';
import { DEFAULTS } from '@pushcluster/gateway/plan/examples.ts';
import { Chance } from '../harness/chance.ts';
import { chart } from './chart.ts';
import { Returns } from './returns.ts';
import { compared, parseRollout, Rollout, SHIPPED_ROLLOUT, TOLERANCE } from './rollout.ts';
import { type Cluster, clusterOf, type Sample, simulate } from './simulation.ts';

/** 1,000 clients on two gateways, with a pace of 50 connections per second. */
const SMALL: Cluster = {
  people: 1_000,
  gateways: 2,
  messages: 10,
  shardCores: 1,
  cpuPerPerson: 1e-5,
  acceptRate: 0,
  drain: { rate: 50, settle: 2_000, timeout: 60_000 },
  maxDelay: 1_000,
  startup: 5_000,
  linger: true,
};

function near(actual: number, expected: number, within: number) {
  assert.ok(Math.abs(actual - expected) <= within, `${actual} is not ${expected} ± ${within}`);
}

describe('a simulation', () => {
  it('is the same again with the same seed, and another with another', () => {
    assert.deepEqual(simulate(SMALL, 'storm', 7), simulate(SMALL, 'storm', 7));
    assert.notDeepEqual(simulate(SMALL, 'storm', 7).samples, simulate(SMALL, 'storm', 8).samples);
  });

  it('loses nobody: everyone has a connection before and after, and nobody two for long', () => {
    for (const scenario of ['failure', 'rollout', 'storm'] as const) {
      const { samples } = simulate(SMALL, scenario);
      for (const sample of [samples[0]!, samples.at(-1)!]) {
        assert.equal(sample.online, 1_000, scenario);
        assert.equal(sample.before + sample.after, 1_000, scenario);
      }
      assert.ok(samples.every(({ before, after, online }) => before + after >= online - 1e-9));
    }
  });
});

describe('a gateway that fails', () => {
  it('cuts off its half, who are back within half a second where there is room', () => {
    const { cut, recovered, missedEach, refused, moved } = simulate(SMALL, 'failure');
    near(cut, 500, 60);
    near(recovered, 0.5, 0.11);
    assert.equal(refused, 0);
    // On average 0.25 s until the attempt, plus three round trips of 0.1 s: about half a second at 10 messages per
    // second.
    near(missedEach, 5.5, 0.75);
    assert.deepEqual(moved, { once: 0, twice: 0, more: 0 });
  });

  it('leaves its people to the others: these are fuller afterwards, until the new one fills up', () => {
    const { samples, peakConnections } = simulate({ ...SMALL, gateways: 4 }, 'failure');
    near(peakConnections, 1_000 / 3, 40);
    assert.ok(samples.at(-1)!.after < 20, 'the new one came too late for most');
  });
});

describe('a storm of reconnects', () => {
  it('is taken at the set rate of handshakes, and who is refused comes later and later', () => {
    const limited = simulate({ ...SMALL, acceptRate: 100 }, 'storm');
    // Two gateways with 100 handshakes per second each.
    assert.ok(limited.peakHandshakes <= 200);
    assert.ok(limited.recovered >= 1_000 / 200);
    assert.ok(limited.refused > 1_000);
    assert.equal(limited.cut, 1_000);
    // 1,000 clients at 40 handshakes per second take 25 s. With a retry each second, about 12,000 attempts would be
    // refused.
    assert.ok(simulate({ ...SMALL, acceptRate: 20 }, 'storm').refused < 8_000);
    const open = simulate(SMALL, 'storm');
    assert.equal(open.refused, 0);
    assert.ok(open.recovered < limited.recovered);
    assert.ok(open.missedEach < limited.missedEach);
  });

  it('takes all CPU that deliveries leave, and no more', () => {
    const cluster = { ...SMALL, people: 1_000_000, cpuPerPerson: 1e-6 };
    const { peakCpu, peakHandshakes } = simulate(cluster, 'storm');
    near(peakCpu, 1, 0.01);
    assert.ok(peakHandshakes <= 2 * MEASURED.handshakes.value);
  });
});

describe('a rollout', () => {
  it('moves everyone once at the shared pace, and cuts off nobody', () => {
    const result = simulate(SMALL, 'rollout');
    assert.deepEqual(result.moved, { once: 1_000, twice: 0, more: 0 });
    assert.equal(result.cut, 0);
    assert.equal(result.missedEach, 0);
    assert.ok(result.busiestSecond <= 1.05 * 50, `${result.busiestSecond} in the busiest second`);
    // 5 s until a pod is ready, 2 s of settle, 1,000 connections at 50 per second (25 per second while the other
    // gateway settles: these 2 s cost one more second), and 6 s during which the last clients keep their old
    // connection.
    near(result.recovered, 5 + 2 + 20 + 1 + 6, 1.5);
  });

  it('has never fewer ready gateways than wanted, and at most a quarter more', () => {
    const many = { ...SMALL, gateways: 8, people: 8_000 };
    const { samples } = simulate(many, 'rollout');
    assert.equal(Math.min(...samples.map(({ ready }) => ready)), 8);
    assert.equal(Math.max(...samples.map(({ staying }) => staying)), 10);
    assert.ok(samples.every(({ online }) => online === 8_000));
  });

  it('moves nobody twice, however long a gateway takes to be ready', () => {
    for (const startup of [100, 5_000, 30_000]) {
      const { moved } = simulate({ ...SMALL, gateways: 12, people: 6_000, startup }, 'rollout');
      assert.deepEqual(moved, { once: 6_000, twice: 0, more: 0 });
    }
  });

  it('goes faster where its time would not be enough', () => {
    const { recovered, busiestSecond, cut } = simulate({ ...SMALL, people: 100_000 }, 'rollout');
    assert.equal(cut, 0);
    assert.ok(busiestSecond > 1_500);
    // The second gateway is ready after 10 s, settles for 2 s, and drains for at most 60 s.
    assert.ok(recovered <= 10 + 2 + 60);
  });

  it('of the million takes what the timeout allows, since the pace would take hours', () => {
    const { recovered, moved } = simulate(clusterOf(DEFAULTS), 'rollout');
    near(recovered, 310, 15);
    assert.equal(moved.once, 1_000_000);
  });
});

describe('a measured rollout', () => {
  it('is compared with a simulated one of the same size', () => {
    // As the bench measures its drain: 10,000 connections at 200 per second after 5 s of settle, by close code.
    const measured = Rollout.parse({
      where: 'processes',
      connections: 10_000,
      rate: 200,
      pods: 1,
      durationSeconds: 55.3,
      busiestSecond: 202,
      linger: false,
    });
    const { apart, busiestSecond, text } = compared(measured);
    near(apart, 0, 0.02);
    near(busiestSecond, 200, 3);
    assert.match(text, /took 55\.3 s \(busiest second 202\), simulated 55\.\d s/);
  });

  it('on Kubernetes is what the simulation says, within its tolerance', () => {
    const { apart } = compared(parseRollout(readFileSync(join(import.meta.dirname, '../..', SHIPPED_ROLLOUT), 'utf8')));
    near(apart, 0, TOLERANCE);
  });
});

describe('returns', () => {
  it("are spread evenly over the windows of the SDK's back-off", () => {
    const returns = new Returns(100);
    const chance = new Chance(3);
    const window = retryDelay(2, 1006, defaultBackoff, 1);
    assert.equal(window, 2_000);
    returns.spread(1_000, window, 100_000, 3, chance);
    assert.equal(returns.away, 100_000);
    assert.deepEqual(returns.take(1_000), []);
    let all = 0;
    for (let now = 1_100; now <= 3_000; now += 100) {
      const due = returns.take(now)[3]!;
      near(due, 5_000, 400);
      all += due;
    }
    assert.equal(all, 100_000);
    assert.equal(returns.away, 0);
  });
});

describe('chance', () => {
  it('splits few and many exactly and about evenly', () => {
    const chance = new Chance(1);
    for (const [count, parts] of [
      [0, 3],
      [1, 5],
      [7, 100],
      [1_000_000, 7],
    ] as const) {
      const shares = chance.split(count, parts);
      assert.equal(shares.length, parts);
      assert.equal(
        shares.reduce((a, b) => a + b, 0),
        count,
      );
      assert.ok(shares.every((share) => share >= 0));
      if (count === 1_000_000) for (const share of shares) near(share, count / parts, 2_500);
    }
    const sums = [0, 0, 0, 0];
    for (let i = 0; i < 4_000; i++) for (const [place, share] of chance.split(3, 4).entries()) sums[place]! += share;
    for (const sum of sums) near(sum, 3_000, 250);
  });
});

describe('a chart', () => {
  const times = Array.from({ length: 5_000 }, (_, i) => i / 10);

  it('is an SVG of few points that keeps the peaks, with a name for who cannot see it', () => {
    const points = times.map((at) => (at === 123.4 ? 1_000 : 10));
    const svg = chart('People <& "rooms">', times, [{ title: 'T', lines: [{ name: 'n', colour: 'blue', points }] }]);
    assert.match(
      svg,
      /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 760 250" role="img" aria-label="People &lt;&amp; &quot;rooms&quot;>">/,
    );
    const line = /<path class="line blue" d="(M[^"]*L[^"]*)"/.exec(svg)![1]!;
    assert.ok(line.split('L').length < 500);
    assert.ok(line.includes(' 56'), 'the peak touches the top');
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  });

  it('has an axis that fits, also where nothing happens', () => {
    const none: Sample[] = [];
    const svg = chart(
      't',
      none.map(({ at }) => at),
      [{ title: 'T', lines: [{ name: 'n', colour: 'blue', points: [] }] }],
    );
    assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
  });
});
