import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import {
  API_SERVICE,
  BYTES_METRIC,
  CONNECTIONS_METRIC,
  METRICS_API_VERSION,
} from '@pushcluster/operator/metricsApi/api.ts';
import { z } from 'zod';
import { inUrl } from '../../harness/cluster/addressPlan.ts';
import { type Address, Audience, persist, Regular } from '../../harness/cluster/audience.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { type Connection, cutAll } from '../../harness/connection.ts';
import { Metrics } from '../../harness/metrics.ts';
import { until } from '../../harness/until.ts';

/** Connections of a gateway, on average. */
const TARGET = 100;
/** Readings, the autoscaler's own period, and pods that start on a busy machine: minutes, at the worst. */
const OUT_MS = 300_000;
const IN_MS = 400_000;
/** Those who go again, at each of the first two gateways. */
const CROWD = 150;
/** How many stay, at most: two gateways are wanted for them. */
const STAY = 180;
/** Of these, what each gateway has at least when the others go. */
const HELD = 10;

const Values = z.object({ items: z.array(z.object({ value: z.coerce.number() })) });
/** `settle` is longer than nodes need on a busy machine to learn that a gateway leaves: who is moved does not come back to it. */
const drain = { rate: 100, settle: '10s', timeout: '60s' };
/** The windows of the tests' own: those by default suit people who watch for hours. */
const behavior = {
  scaleUp: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 2, periodSeconds: 15 }] },
  scaleDown: { stabilizationWindowSeconds: 15, policies: [{ type: 'Pods', value: 1, periodSeconds: 15 }] },
};

// By connections and by CPU at the same time: an autoscaler takes its own.
describe('an autoscaled PushCluster', { concurrency: true }, () => {
  let cluster: OpenCluster;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm, { metricsApi: { enabled: true } });
    await cluster.kubectl(['wait', `apiservice/${API_SERVICE}`, '--for=condition=Available', '--timeout=180s']);
  });
  after(async () => {
    await cluster.close();
  });

  /** Follows how many gateways are wanted until `holds`. Returns the numbers, one for each change. */
  async function follow(live: Live, what: string, holds: (wanted: number) => boolean, ms: number): Promise<number[]> {
    const seen: number[] = [];
    await until(
      what,
      async () => {
        const { replicas = 0 } = (await live.get()).spec.gateway;
        if (seen.at(-1) !== replicas) seen.push(replicas);
        return holds(replicas);
      },
      ms,
    ).catch(async (error: Error) => {
      const hpa = await live.kubectl('describe', 'hpa', 'live-gateway').catch(String);
      throw new Error(`${error.message}\n${hpa}\n${await live.told()}`);
    });
    return seen;
  }

  describe('by connections, which the operator tells', { concurrency: false }, () => {
    let live: Live;
    /** Those who come and go, and those who stay. */
    const crowd: { at: string; connection: Connection }[] = [];
    let audience: Audience;
    let address: Address;
    /** What the gateways held that are the first to go. */
    let leastMoves = 0;
    before(async () => {
      const autoscaling = { minReplicas: 2, maxReplicas: 4, targetConnections: TARGET, behavior };
      live = await Live.start(cluster.kubectl, 'autoscaling', { gateway: { drain, autoscaling } });
      address = await live.address();
      audience = new Audience(address);
      audience.write(live, 500);
    });
    after(async () => {
      cutAll(crowd.map(({ connection }) => connection));
      audience?.end();
      await live?.end();
    });

    const sum = async (metric: string) => {
      const path = `/apis/${METRICS_API_VERSION}/namespaces/${live.namespace}/pods/*/${metric}`;
      const { items } = Values.parse(JSON.parse(await cluster.kubectl(['get', '--raw', path])));
      return total(items.map(({ value }) => value));
    };

    /** Of each gateway: connections of those who stay. */
    const stayers = async () =>
      Promise.all(
        (await live.pods('gateway')).map(
          async (pod) => (await live.connections(pod)) - crowd.filter(({ at }) => at === pod.uid).length,
        ),
      );
    const counted = () => until('all are counted', async () => total(await stayers()) === audience.everyone.length);
    /** Brings some, with the SDK and without, until each gateway holds some of them. */
    const stay = async () => {
      // Who looked for the load balancer may still be counted, and a gateway that has just begun has not counted yet.
      await counted();
      while (audience.everyone.length + 10 <= STAY && Math.min(...(await stayers())) < HELD) {
        for (let person = 0; person < 5; person++) {
          const regular = new Regular(address, 'match');
          await persist(() => regular.come());
          audience.regulars.push(regular);
        }
        await audience.come({ fans: 5 });
        await counted();
      }
    };

    it('goes from two gateways to four when people come', async (t) => {
      await stay();
      for (const pod of await live.pods('gateway'))
        for (let left = CROWD; left > 0; left -= 50)
          crowd.push(
            ...(await Promise.all(
              Array.from({ length: 50 }, async () => ({
                at: pod.uid,
                connection: await persist(() => live.connect(pod, 'plain')),
              })),
            )),
          );
      const began = performance.now();
      const seen = await follow(live, 'four gateways are wanted', (wanted) => wanted === 4, OUT_MS);
      await live.whenReady();
      t.diagnostic(
        `wanted ${seen.join(', ')}; four were Ready ${Math.round((performance.now() - began) / 1_000)} s after`,
      );
      // Also by the load balancer, which may learn of new ones a little later.
      await live.address();
      await stay();
      const all = crowd.length + audience.everyone.length;
      await until('all are counted', async () => (await sum(CONNECTIONS_METRIC)) === all);
      await until('what they are sent is counted', async () => (await sum(BYTES_METRIC)) > 0);
    });

    /**
     * Counts connections that gateways got after they had begun to move others away, until it is stopped: nodes or the load
     * balancer did not know that they leave.
     */
    function countReturns(): () => Promise<number> {
      const stop = new AbortController();
      const opened = new Map<string, { first: number; last: number }>();
      const watching = (async () => {
        while (!stop.signal.aborted) {
          for (const { uid, ip } of await live.pods('gateway').catch(() => [])) {
            const url = `http://${inUrl(ip)}:9090/metrics`;
            const text = await fetch(url).then(
              (response) => response.text(),
              () => '',
            );
            const metrics = new Metrics(text);
            if (text === '' || metrics.sum('pushcluster_gateway_moved_total', { reason: 'drain' }) === 0) continue;
            const count = metrics.sum('pushcluster_gateway_connections_opened_total');
            opened.set(uid, { first: opened.get(uid)?.first ?? count, last: count });
          }
          await setTimeout(200, undefined, { signal: stop.signal }).catch(() => {});
        }
      })();
      return async () => {
        stop.abort();
        await watching;
        return total([...opened.values()].map(({ first, last }) => last - first));
      };
    }

    it('and back to two when they go: one after the other, drained of those who stay, and none too many', async (t) => {
      const held = (await stayers()).sort((a, b) => a - b);
      t.diagnostic(`who stays, by gateway: ${held.join(', ')}`);
      assert.ok(held.length === 4 && held[0]! > 0, 'every gateway holds some');
      cutAll(crowd.map(({ connection }) => connection));
      leastMoves = held[0]! + held[1]!;
      const returns = countReturns();
      const began = performance.now();
      const seen = await follow(live, 'two gateways are wanted', (wanted) => wanted === 2, IN_MS);
      assert.deepEqual(seen, [4, 3, 2], 'a drain was undone, or more were taken away than were too many');
      await until('two are left', async () => (await live.pods('gateway')).length === 2, IN_MS).catch(
        async (error: Error) => {
          throw new Error(`${error.message}\n${await live.told()}`);
        },
      );
      t.diagnostic(
        `two were left ${Math.round((performance.now() - began) / 1_000)} s after; ${await returns()} came to a gateway that moved others`,
      );
      const after = await follow(live, 'nothing changes', () => performance.now() - began > 0, 1_000);
      assert.deepEqual(after, [2]);
    });

    it('and nobody is cut off, or misses anything', async (t) => {
      await until('all clients are connected', () => audience.everyone.every(({ isOpen }) => isOpen));
      await audience.quiet();
      audience.settle(t);
      t.diagnostic(`connections that ended before their clients had another: ${JSON.stringify(audience.codes)}`);
      for (const code of Object.keys(audience.codes)) assert.equal(code, '1012');
      const { fans, regulars } = audience;
      t.diagnostic(`${audience.moves.length} moves; the two emptiest held ${leastMoves}`);
      assert.ok(
        audience.moves.length >= leastMoves && audience.moves.length < 2 * audience.everyone.length,
        'those, and few others',
      );
      assert.ok(fans.some(({ asked }) => asked.length > 0) && audience.codes[1012]! > 0, 'clients of both kinds');
      const most = Math.max(...fans.map(({ moved }) => moved), ...regulars.map(({ ends }) => ends.length));
      assert.ok(most <= 2, `somebody was moved ${most} times, but two gateways left`);
    });
  });

  describe('by CPU, which metrics-server tells', () => {
    let live: Live;
    let audience: Audience;
    before(async () => {
      const autoscaling = { minReplicas: 2, maxReplicas: 3, targetCPUUtilization: 40, behavior };
      // An idle gateway takes up to 20m on a busy machine: two of them are enough for that.
      const resources = { requests: { cpu: '80m', memory: '192Mi' } };
      // Every push is a frame of its own to everybody: work for little.
      const gateway = { drain, autoscaling, resources, batching: { maxDelay: '0s' } };
      live = await Live.start(cluster.kubectl, 'autoscaling-cpu', { gateway });
      audience = new Audience(await live.address());
      await audience.come({ regulars: 100 });
    });
    after(async () => {
      audience?.end();
      await live?.end();
    });

    it('goes from two gateways to three under load, and back when there is none', async (t) => {
      const began = performance.now();
      const seconds = () => Math.round((performance.now() - began) / 1_000);
      audience.write(live, 10);
      const out = await follow(live, 'three gateways are wanted', (wanted) => wanted === 3, OUT_MS);
      t.diagnostic(`under load: ${out.join(', ')} gateways wanted after ${seconds()} s`);
      await live.whenReady();
      await audience.quiet();
      const back = await follow(live, 'two gateways are wanted', (wanted) => wanted === 2, IN_MS);
      assert.deepEqual(back, [3, 2]);
      await until('two are left', async () => (await live.pods('gateway')).length === 2, IN_MS);
      t.diagnostic(`two were left after ${seconds()} s`);
      for (const code of Object.keys(audience.codes)) assert.equal(code, '1012');
    });
  });
});

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
