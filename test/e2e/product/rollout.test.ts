import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Audience, assertPace, busiest } from '../../harness/cluster/audience.ts';
import { Backends, HABITS } from '../../harness/cluster/backends.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart, OTHER_TAG, RELEASE } from '../../harness/cluster/product.ts';
import { CountedMoves } from '../../harness/countedMoves.ts';
import { until } from '../../harness/until.ts';
import { compared, keepRollout } from '../../simulate/rollout.ts';

/** More than two: there are old ones to be moved to, before new ones are half of them. */
const GATEWAYS = 4;
const FANS = 200;
const REGULARS = 150;
/** Connections a second, of the whole cluster. */
const RATE = 30;
/** As long as by default: on a busy machine, a load balancer may know of a drain no sooner. */
const SETTLE_S = 5;
const TIMEOUT_S = 90;
const MAX_DELAY_MS = 500;
const LOGIC_PODS = 2;
const BACKENDS = { count: 3, every: 40 };
const IMAGES = {
  gateway: `docker.io/pushcluster/gateway:${OTHER_TAG}`,
  logic: `docker.io/pushcluster/logic:${OTHER_TAG}`,
};

describe('a rollout of other images under load', () => {
  let cluster: OpenCluster;
  let live: Live;
  let audience: Audience;
  let backends: Backends | undefined;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    const drain = { rate: RATE, settle: `${SETTLE_S}s`, timeout: `${TIMEOUT_S}s` };
    live = await Live.start(cluster.kubectl, 'rollout', {
      gateway: { replicas: GATEWAYS, drain, batching: { maxDelay: `${MAX_DELAY_MS}ms` } },
    });
    audience = new Audience(await live.address());
    await audience.come({ fans: FANS, regulars: REGULARS });
  });
  after(async () => {
    audience?.end();
    await backends?.end();
    await live?.end();
    await cluster.close();
  });

  it("moves everyone at the cluster's pace, loses nothing, and goes on when the leading operator is killed", async (t) => {
    const old = await live.pods('gateway');
    const oldLogic = await live.pods('logic');
    backends = new Backends(await live.service('logic'), await live.key());
    for (const habit of HABITS) backends.come(habit, BACKENDS.count, BACKENDS.every);
    audience.write(live);
    const counted = CountedMoves.at(old);
    const began = performance.now();
    await live.patch({ image: IMAGES });
    const sideBySide = { gateway: false, logic: false };
    const look = async (role: 'gateway' | 'logic' = 'gateway') => {
      const pods = (await live.pods(role)).filter(({ ready, ending }) => ready && !ending);
      const fresh = pods.filter(({ image }) => image === IMAGES[role]).length;
      sideBySide[role] ||= fresh > 0 && fresh < pods.length;
      return { pods, fresh };
    };
    const first = async () => {
      await look('logic');
      return (await look()).fresh > 0;
    };
    await until('the first new gateway is ready', first, 300_000);
    const startupSeconds = since(began);
    const leader = await kill();
    t.diagnostic(`first new gateway ready after ${startupSeconds.toFixed(1)} s; killed ${leader}, which led`);
    await until(
      'only new ones are left, and nobody drains',
      async () => {
        const logic = await look('logic');
        const { pods, fresh } = await look();
        const all = await live.pods('gateway');
        const areAll = [fresh, pods.length, all.length].every((count) => count === GATEWAYS);
        const isLogic = logic.fresh === LOGIC_PODS && (await live.pods('logic')).length === LOGIC_PODS;
        return areAll && isLogic;
      },
      600_000,
    );
    const durationSeconds = since(began);
    t.diagnostic(`rolled out after ${durationSeconds.toFixed(1)} s`);
    assert.deepEqual(sideBySide, { gateway: true, logic: true }, 'old and new ones served side by side');
    await live.whenReady();
    assert.equal((await live.get()).status?.version, OTHER_TAG);
    assert.ok((await live.pods('gateway')).every(({ uid }) => old.every((each) => each.uid !== uid)));
    assert.ok((await live.pods('logic')).every(({ uid }) => oldLogic.every((each) => each.uid !== uid)));
    await until('all clients are connected', () => audience.everyone.every(({ isOpen }) => isOpen));
    await audience.quiet();

    const { moves, codes, fans, regulars } = audience;
    const most = Math.max(...fans.map(({ moved }) => moved), ...regulars.map(({ ends }) => ends.length));
    t.diagnostic(`nobody was moved more than ${most} times`);
    t.diagnostic(`connections that ended before their clients had another, by code: ${JSON.stringify(codes)}`);
    audience.settle(t);
    await backends.end();
    t.diagnostic(`pushes of ${BACKENDS.count} backends each: ${JSON.stringify(backends.accepted)}`);
    t.diagnostic(`the slowest took ${backends.slowest.toFixed(0)} ms`);
    assert.deepEqual(backends.failures, [], 'pushes were refused, or got no answer');
    for (const habit of HABITS)
      assert.ok(backends.accepted[habit] > 100, `${habit}: ${backends.accepted[habit]} pushes`);
    const refused = audience.ledger.writers.flatMap(({ answers }) => answers.filter(({ status }) => status !== 202));
    assert.deepEqual(refused, [], 'pushes were refused');
    for (const code of Object.keys(codes)) assert.equal(code, '1012', 'a closure that is not explained');
    assert.ok(most <= 2, `somebody was moved ${most} times`);
    await assertPace(t, counted, moves.length, RATE);
    const measured = keepRollout({
      where: 'kubernetes',
      connections: FANS + REGULARS,
      rate: RATE,
      pods: old.length,
      durationSeconds,
      busiestSecond: busiest(moves, 1_000),
      settleSeconds: SETTLE_S,
      timeoutSeconds: TIMEOUT_S,
      startupSeconds,
      maxDelay: MAX_DELAY_MS,
    });
    t.diagnostic(compared(measured).text);
  });

  /** Kills the operator that leads, without a word. Returns its pod's name. */
  async function kill(): Promise<string> {
    const inNamespace = ['-n', RELEASE.namespace];
    const lease = ['get', 'lease', 'pushcluster-operator', '-o', 'jsonpath={.spec.holderIdentity}'];
    const holder = await cluster.kubectl([...inNamespace, ...lease]);
    const pod = holder.slice(0, holder.lastIndexOf('_'));
    await cluster.kubectl([...inNamespace, 'delete', 'pod', pod, '--grace-period=0', '--force', '--wait=false']);
    return pod;
  }
});

function since(began: number): number {
  return (performance.now() - began) / 1_000;
}
