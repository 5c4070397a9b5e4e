import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { Audience, persist } from '../../harness/cluster/audience.ts';
import { slowly } from '../../harness/cluster/balancedService.ts';
import { Live, type Pod } from '../../harness/cluster/live.ts';
import { type Arrivals, Newcomers } from '../../harness/cluster/newcomers.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { pasteFor } from '../../harness/cluster/pasted.ts';
import { crash } from '../../harness/cluster/podProcesses.ts';
import { evenly, leastUsedNode } from '../../harness/cluster/pods.ts';
import { installChart, OTHER_TAG } from '../../harness/cluster/product.ts';
import { Connection, cutAll } from '../../harness/connection.ts';
import { Lateness } from '../../harness/lateness.ts';
import { until } from '../../harness/until.ts';

const GATEWAYS = 4;
/** New connections a second, of each PushCluster. */
const RATE = 20;
const FANS = 40;
const REGULARS = 40;
/** As clouds check by default. BALANCER_INTERVAL is in milliseconds. */
const CHECK = {
  interval: Number(process.env.BALANCER_INTERVAL ?? 10_000),
  threshold: Number(process.env.BALANCER_THRESHOLD ?? 3),
};
/** After this time the balancer has noticed, milliseconds. */
const DETECTION_MS = CHECK.interval * CHECK.threshold;
const STEP_MS = 400_000;
/** Connections that make a gateway fuller than others, which a scale-down then chooses. */
const SOME = 60;
/** Connections that make a gateway much fuller than others. */
const CROWD = 300;
const POLICIES = ['Local', 'Cluster'] as const;
const SERVING = 'pushcluster.dev/serving';

/** A PushCluster behind the load balancer, under one traffic policy. */
type Balanced = { policy: (typeof POLICIES)[number]; live: Live; audience: Audience; newcomers: Newcomers };

describe('behind a load balancer that takes 30 s to notice, no new connection fails', () => {
  let cluster: OpenCluster;
  let node = '';
  const all: Balanced[] = [];
  let held: Connection[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    await Promise.all(POLICIES.map(start));
  });
  after(async () => {
    if (node !== '') await cluster.kubectl(['uncordon', node]);
    cutAll(held);
    for (const { newcomers, audience } of all) {
      newcomers.stop();
      audience.end();
    }
    for (const { live } of all) await live.end();
    await cluster.close();
  });

  async function start(policy: Balanced['policy']): Promise<void> {
    // Clients' addresses come with the PROXY protocol where the policy hides them.
    const proxyProtocol = policy === 'Cluster';
    const live = await Live.start(cluster.kubectl, `balanced-${policy.toLowerCase()}`, {
      gateway: {
        replicas: GATEWAYS,
        // The defaults of the policies.
        drain: { rate: 100, settle: policy === 'Local' ? '45s' : '5s', timeout: '60s' },
        rebalance: { minimum: 100 },
        placement: evenly,
        // A busy machine is no reason to refuse anybody here.
        protection: { loopLag: '0s' },
        service: {
          type: 'LoadBalancer',
          externalTrafficPolicy: policy,
          proxyProtocol,
          annotations: slowly(CHECK, proxyProtocol),
        },
      },
    });
    const address = await live.address();
    const audience = new Audience(address);
    all.push({ policy, live, audience, newcomers: new Newcomers(address, RATE) });
    await audience.come({ fans: FANS, regulars: REGULARS });
    audience.write(live, 1_000);
  }

  /** Does the same with all of them at the same time; no new connection may fail meanwhile, nor until balancers notice. */
  async function unnoticed(t: TestContext, step: (balanced: Balanced) => Promise<void>): Promise<void> {
    const results = await Promise.all(all.map((each) => arrivalsOf(each, step)));
    for (const [index, { policy }] of all.entries()) t.diagnostic(`${policy}: ${results[index]}`);
    for (const arrivals of results) assert.deepEqual(arrivals.failures, []);
  }

  function arrivalsOf(balanced: Balanced, step: (balanced: Balanced) => Promise<void>): Promise<Arrivals> {
    return balanced.newcomers.during(async () => {
      await step(balanced);
      await balanced.newcomers.more((RATE * DETECTION_MS) / 1_000);
    });
  }

  /** Waits until exactly so many gateways exist, terminating ones included, and all serve. */
  async function whenSettled({ live }: Balanced, count = GATEWAYS): Promise<void> {
    await until(
      `there are ${count} gateways, which serve`,
      async () => {
        const pods = await live.pods('gateway');
        return (
          pods.length === count &&
          pods.every(({ ready, ending, labels }) => ready && !ending && labels[SERVING] === 'true')
        );
      },
      STEP_MS,
      500,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await live.told()}`);
    });
  }

  /** Connects to each of these gateways, so that they are fuller than others. */
  async function fill({ policy }: Balanced, pods: readonly Pod[], count: number): Promise<void> {
    // Without it, gateways that expect the PROXY protocol close the connection.
    const ahead = policy === 'Cluster' ? { ahead: Buffer.from('PROXY UNKNOWN\r\n') } : {};
    const open = (pod: Pod) => Connection.open({ host: pod.ip, port: 7_777, form: 'v1', ...ahead });
    for (const pod of pods)
      held.push(...(await Promise.all(Array.from({ length: count }, () => persist(() => open(pod))))));
  }

  function release(): void {
    cutAll(held);
    held = [];
  }

  it('in a rollout', async (t) => {
    await unnoticed(t, async (balanced) => {
      const before = new Set((await balanced.live.pods('gateway')).map(({ uid }) => uid));
      await balanced.live.patch({ image: { gateway: `docker.io/pushcluster/gateway:${OTHER_TAG}` } });
      await until(
        'all are new',
        async () => (await balanced.live.pods('gateway')).every(({ uid }) => !before.has(uid)),
        STEP_MS,
        500,
      );
      await whenSettled(balanced);
    });
  });

  it('while a scale-down takes all gateways of a node', async (t) => {
    await unnoticed(t, async (balanced) => {
      const { leaving, staying } = leastUsedNode(await balanced.live.pods('gateway'));
      await fill(balanced, staying, SOME);
      const most = 0.9 * (FANS + REGULARS + SOME * staying.length);
      const knows = ({ status }: PushCluster) => (status?.gateway?.connections ?? 0) > most;
      await balanced.live.when('the operator knows which are empty', knows, STEP_MS);
      await balanced.live.kubectl('scale', 'push/live', `--replicas=${staying.length}`);
      await whenSettled(balanced, staying.length);
      const left = new Set((await balanced.live.pods('gateway')).map(({ uid }) => uid));
      assert.ok(
        leaving.every(({ uid }) => !left.has(uid)),
        'a node without gateways is what this is about',
      );
    });
    release();
  });

  it('in a scale-up', async (t) => {
    await unnoticed(t, async (balanced) => {
      await balanced.live.kubectl('scale', 'push/live', `--replicas=${GATEWAYS}`);
      await whenSettled(balanced);
    });
  });

  it('while all gateways of a node are too full, and get no new connections', async (t) => {
    await unnoticed(t, async (balanced) => {
      const { leaving: fuller } = leastUsedNode(await balanced.live.pods('gateway'));
      await fill(balanced, fuller, CROWD);
      await until(
        'they are out of the Service',
        async () => {
          const out = (await balanced.live.pods('gateway')).filter(({ labels }) => labels[SERVING] === 'false');
          return out.length === fuller.length && out.every(({ node }) => node === fuller[0]?.node);
        },
        STEP_MS,
        500,
      );
    });
    await unnoticed(t, async (balanced) => {
      release();
      await whenSettled(balanced);
    });
  });

  it('while a gateway is evicted', async (t) => {
    await unnoticed(t, async (balanced) => {
      const { live } = balanced;
      const [pod] = await live.pods('gateway');
      const metadata = { name: pod!.name, namespace: live.namespace };
      const eviction = JSON.stringify({ apiVersion: 'policy/v1', kind: 'Eviction', metadata });
      const path = `/api/v1/namespaces/${live.namespace}/pods/${pod!.name}/eviction`;
      await cluster.kubectl(['create', '--raw', path, '-f', '-'], eviction);
      await until(
        'it is gone',
        async () => (await live.pods('gateway')).every(({ uid }) => uid !== pod!.uid),
        STEP_MS,
        500,
      );
      await whenSettled(balanced);
    });
  });

  it('during kubectl drain of a node', async (t) => {
    const nodes = JSON.parse(await cluster.kubectl(['get', 'nodes', '-o', 'json'])).items;
    node = nodes.at(-1).metadata.name;
    // A single NATS server stays: what its absence does is another test's.
    const args = ['--ignore-daemonsets', '--delete-emptydir-data', `--timeout=${STEP_MS / 1_000}s`];
    const command = `kubectl drain ${node} ${args.join(' ')} --pod-selector='app.kubernetes.io/component!=nats'`;
    const drained = pasteFor(cluster, command, STEP_MS + 10_000);
    await unnoticed(t, async (balanced) => {
      const { code, output } = await drained;
      assert.equal(code, 0, output);
      await whenSettled(balanced);
      assert.ok((await balanced.live.pods('gateway')).every((pod) => pod.node !== node));
    });
  });

  it('and who was connected was moved, and missed nothing', async (t) => {
    for (const { policy, audience } of all) {
      await until('all clients are connected', () => audience.everyone.every(({ isOpen }) => isOpen));
      await audience.quiet();
      t.diagnostic(`${policy}: ${audience.moves.length} moves, ends by code: ${JSON.stringify(audience.codes)}`);
      audience.settle(t);
      audience.end();
    }
  });

  it('but for the share of a gateway that crashes, until this is noticed', async (t) => {
    const lateness = Lateness.during(t);
    const results = await Promise.all(
      all.map(async (balanced) => {
        let at = 0;
        const arrivals = await arrivalsOf(balanced, async () => {
          const [pod] = await balanced.live.pods('gateway');
          at = performance.now();
          crash(pod!);
          await until(
            'it has restarted',
            async () =>
              (await balanced.live.pods('gateway')).some(({ name, restarts }) => name === pod!.name && restarts > 0),
            STEP_MS,
            200,
          );
          await whenSettled(balanced);
        });
        return { arrivals, at };
      }),
    );
    for (const [index, { policy }] of all.entries()) t.diagnostic(`${policy}: ${results[index]!.arrivals}`);
    for (const { arrivals, at } of results) {
      const until = at + DETECTION_MS + lateness.total;
      const meanwhile = arrivals.attempts.filter((attempt) => attempt.at < until);
      assert.ok(
        arrivals.failures.every((attempt) => attempt.at < until),
        'longer than the balancer takes to notice',
      );
      assert.ok(arrivals.failures.length <= meanwhile.length / GATEWAYS, 'more than the share of one gateway');
    }
  });
});
