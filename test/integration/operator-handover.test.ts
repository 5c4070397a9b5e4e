import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { LEASE_TIMES } from '@pushcluster/operator/kube/lease.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { Lateness } from '../harness/lateness.ts';
import { looksInVain } from '../harness/leaseLooks.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

/** After a SIGTERM, and after a SIGKILL, in which the lease must run out first: milliseconds. */
const CLEAN_MS = 3_000;
const KILLED_MS = 20_000;
/** So long it waits for the answer of one that hangs. */
const HANGS_MS = 2_000;
const DRAIN = 'pushcluster.dev/drain';

/** Each test ends the one that leads in another way: the other goes on with what it was at. */
describe('two operators, of which one leads', () => {
  let plane: ControlPlane;
  let pods: PlayedPods;
  let leader: OperatorProcess;
  let standby: OperatorProcess;

  before(async () => {
    plane = await startControlPlane();
    const [one = 0, other = 0, podPort = 0] = await freePorts(3);
    await OperatorProcess.install(plane);
    const env = { POD_PORT: String(podPort) };
    leader = new OperatorProcess(plane, { adminPort: one, user: 'operator-one', env });
    standby = new OperatorProcess(plane, { adminPort: other, user: 'operator-two', env });
    pods = new PlayedPods(plane, podPort);
    await Promise.all([leader.start(), pods.start()]);
    pods.startsWith = (_namespace, index) => [90, 30, 60, 80, 70][index] ?? 0;
    await apply(plane.kubectl, [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
      {
        ...{
          apiVersion: 'pushcluster.dev/v1alpha1',
          kind: 'PushCluster',
          metadata: { name: 'live', namespace: 'shop' },
        },
        spec: {
          gateway: { replicas: 5, drain: { settle: '0s' } },
          logic: { replicas: 1 },
          nats: { url: 'nats://n:4222', prefix: 'shop' },
        },
      },
    ]);
    await until('all gateways are ready', async () => (await ready()) === '5' && pods.of('shop').length === 5);
  });
  after(async () => {
    await Promise.all([leader, standby].map((each) => each?.end('SIGKILL')));
    await pods?.stop();
    await plane?.stop();
  });

  const ready = () =>
    plane.kubectl(['get', 'pushcluster/live', '-n', 'shop', '-o=jsonpath={.status.gateway.readyReplicas}']);
  const scale = (replicas: number) =>
    plane.kubectl(['scale', 'pushcluster/live', '-n', 'shop', `--replicas=${replicas}`]);
  const draining = () =>
    pods.of('shop').filter(({ name }) => pods.object('shop', name)?.metadata.annotations?.[DRAIN] !== undefined).length;
  const ofLease = ({ resource }: { resource: string }) => resource === 'coordination.k8s.io/leases';

  /** The standby is up, and has looked who leads. */
  async function watched(): Promise<void> {
    const began = Date.now();
    await standby.launch();
    await until('the standby has asked for the lease', async () =>
      (await plane.audit.events()).some(
        (each) => ofLease(each) && each.user === standby.user && each.received > began && each.code === 200,
      ),
    );
  }

  /** Waits until the standby leads; the milliseconds that took, and by how much the machine was late meanwhile. */
  async function takenOver(t: TestContext): Promise<{ took: number; late: number }> {
    const lateness = Lateness.during(t);
    const began = performance.now();
    await until('the standby leads', () => standby.leads);
    return { took: performance.now() - began, late: lateness.total };
  }
  /** How often the standby has looked in vain since the lease was free. @param duration of a lease that nobody gave back */
  async function inVain(since: number, duration?: number): Promise<number> {
    const events = (await plane.audit.events()).filter(ofLease);
    const lease = duration === undefined ? { since } : { since, duration };
    return looksInVain(events, leader.user, standby.user, lease);
  }

  /** What the former leader asked to have written after the new one had the lease. The two change their parts. */
  async function lateWrites(since: number): Promise<unknown[]> {
    const writes = (await plane.audit.writes()).filter(({ received }) => received > since);
    const takeover = writes.find((each) => ofLease(each) && each.user === standby.user && each.code < 300);
    assert.ok(takeover, 'the new leader has written its lease');
    const late = writes.filter(({ user, received }) => user === leader.user && received > takeover.received);
    [leader, standby] = [standby, leader];
    return late;
  }

  it('change within 3 s of a SIGTERM, though it comes while a gateway hangs that the leader asks', async (t) => {
    const since = Date.now();
    await watched();
    const hung = pods.of('shop').map((pod) => Object.assign(pod, { hangs: true }));
    const asked = hung.map((pod) => pod.asked);
    await scale(4);
    await until('the leader asks all of them', () => hung.every((pod, i) => pod.asked > (asked[i] ?? 0)));
    const began = performance.now();
    const left = leader.end('SIGTERM').then((code) => ({ code, took: performance.now() - began }));
    const { took, late } = await takenOver(t);
    const { code, took: leaving } = await left;
    console.log(`hand-over after SIGTERM: ${Math.round(took)} ms, of which ${Math.round(leaving)} ms to leave`);
    assert.equal(code, 0, leader.output);
    assert.ok(leaving < HANGS_MS + late, `${leaving} ms`);
    assert.ok(took <= CLEAN_MS + late, `${took} ms`);
    assert.equal(await inVain(since), 0, 'looks in vain');
    assert.deepEqual(await lateWrites(since), []);
    for (const pod of hung) pod.hangs = false;
    await until('the new one has gone on', () => draining() === 1);
  });

  it('change within 20 s of a SIGKILL, and the new one goes on with a drain', async (t) => {
    const since = Date.now();
    await watched();
    leader.signal('SIGKILL');
    const emptiest = pods.of('shop').find(({ name }) => pods.object('shop', name)?.metadata.annotations?.[DRAIN]);
    assert.ok(emptiest);
    emptiest.says.connections = 0;
    const { took, late } = await takenOver(t);
    console.log(`hand-over after SIGKILL: ${Math.round(took)} ms`);
    assert.ok(took <= KILLED_MS + late, `${took} ms`);
    // Its own clock begins a moment later than the log says.
    assert.ok((await inVain(since, LEASE_TIMES.duration)) <= 1, 'looks in vain');
    assert.deepEqual(await lateWrites(since), []);
    await until('the empty gateway is gone', () => pods.of('shop').length === 4);
    assert.ok(!pods.of('shop').includes(emptiest));
  });

  it('change where the leader stands still: when it goes on, it writes nothing any more and ends', async (t) => {
    await watched();
    const since = Date.now();
    // It has something to do at that moment, and more when it wakes.
    await scale(3);
    leader.signal('SIGSTOP');
    const { took } = await takenOver(t);
    console.log(`hand-over after SIGSTOP: ${Math.round(took)} ms`);
    await plane.kubectl(['delete', 'service/live-logic', '-n', 'shop']);
    await until('the new one writes', async () =>
      (await plane.audit.writes()).some(({ user, name, received }) => {
        return user === standby.user && name === 'live-logic' && received > since;
      }),
    );
    assert.equal(await leader.end('SIGCONT'), 1, leader.output);
    assert.match(leader.output, /lost the lease: another process may lead/);
    assert.deepEqual(await lateWrites(since), []);
  });
});
