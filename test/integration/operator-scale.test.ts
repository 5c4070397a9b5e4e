import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import type { KubeObject } from '@pushcluster/operator/kube/objects.ts';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const DRAIN = 'pushcluster.dev/drain';
const SERVING = 'pushcluster.dev/serving';
const COST = 'controller.kubernetes.io/pod-deletion-cost';

const phaseOf = (pod: KubeObject) => z.object({ status: z.object({ phase: z.string() }) }).parse(pod).status.phase;

describe('gateways of a PushCluster on a real control plane', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let pods: PlayedPods;

  before(async () => {
    plane = await startControlPlane();
    const [adminPort = 0, podPort = 0] = await freePorts(2);
    await OperatorProcess.install(plane);
    operator = new OperatorProcess(plane, { adminPort, env: { POD_PORT: String(podPort) } });
    pods = new PlayedPods(plane, podPort);
    await Promise.all([operator.start(), pods.start()]);
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await pods?.stop();
    await plane?.stop();
  });

  /** A cluster `live` of its own namespace, with gateways that hold so many connections, fullest first. */
  async function cluster(
    namespace: string,
    connections: readonly number[],
    gateway: object = {},
    nats: object = { url: 'nats://n:4222' },
  ): Promise<void> {
    pods.startsWith = (_namespace, index) => connections[index] ?? 0;
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }]);
    const spec = {
      gateway: { replicas: connections.length, drain: { settle: '0s' }, ...gateway },
      logic: { replicas: 1 },
      nats: { ...nats, prefix: namespace },
    };
    const head = { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster' };
    await apply(plane.kubectl, [{ ...head, metadata: { name: 'live', namespace }, spec }]);
    await ready(namespace, connections.length);
  }
  /** Waits until a gateway was asked twice more: what it says now has been heard. */
  async function said(namespace: string, name: string): Promise<void> {
    const pod = pods.of(namespace).find((each) => each.name === name);
    const before = pod?.asked ?? 0;
    await until('it was asked', () => (pod?.asked ?? 0) > before + 1);
  }
  async function ready(namespace: string, count: number): Promise<void> {
    await until(
      `${count} gateways are ready`,
      async () => (await status(namespace))?.gateway?.readyReplicas === count && pods.of(namespace).length === count,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(await status(namespace))}\n${operator.output.slice(-3_000)}`);
    });
  }
  /** Waits until Kubernetes has told of two gateways and of logic that they are ready. */
  async function settled(namespace: string): Promise<void> {
    const sets = ['get', 'replicasets', '-n', namespace, '-l', 'app.kubernetes.io/component=gateway'];
    await until(
      'all are told of as ready',
      async () =>
        (await plane.kubectl([...sets, '-o=jsonpath={.items[*].status.readyReplicas}'])) === '2' &&
        (await condition(namespace, 'Ready'))?.status === 'True',
    );
  }
  const get = async (namespace: string): Promise<PushCluster> =>
    PushCluster.parse(JSON.parse(await plane.kubectl(['get', 'pushcluster', 'live', '-n', namespace, '-o=json'])));
  const status = async (namespace: string) => (await get(namespace)).status;
  const condition = async (namespace: string, type: string) =>
    (await status(namespace))?.conditions?.find((each) => each.type === type);
  const scale = (namespace: string, replicas: number) =>
    plane.kubectl(['scale', 'pushcluster/live', '-n', namespace, `--replicas=${replicas}`]);
  const replicas = (namespace: string) =>
    plane.kubectl(['get', 'deployment/live-gateway', '-n', namespace, '-o=jsonpath={.spec.replicas}']);
  const events = async (namespace: string, reason: string) =>
    (
      await plane.kubectl([
        ...['get', 'events.events.k8s.io', '-n', namespace, `--field-selector=reason=${reason}`],
        '-o=jsonpath={range .items[*]}{.note}{"\\n"}{end}',
      ])
    )
      .split('\n')
      .filter((line) => line !== '');
  const objects = (namespace: string): KubeObject[] =>
    pods.of(namespace).flatMap(({ name }) => pods.object(namespace, name) ?? []);
  /** Gateways that drain, by name. */
  const draining = (namespace: string) =>
    objects(namespace)
      .filter(({ metadata }) => metadata.annotations?.[DRAIN] !== undefined)
      .map(({ metadata }) => metadata.name);
  /** Gateways that the Service may choose, by name. */
  const serving = (namespace: string) =>
    objects(namespace)
      .filter(({ metadata }) => metadata.labels?.[SERVING] === 'true')
      .map(({ metadata }) => metadata.name);
  const names = (namespace: string) => pods.of(namespace).map(({ name }) => name);

  it('drain before they go, the emptiest first, and no other pod is touched', async () => {
    await cluster('down', [450, 30, 400]);
    const [full = '', empty = '', middle = ''] = names('down');
    const asked = Date.now();
    await scale('down', 2);
    await until('the emptiest drains', () => draining('down').length > 0);
    assert.deepEqual(draining('down'), [empty]);
    assert.deepEqual(serving('down'), [full, middle]);
    const { annotations } = objects('down')[1]?.metadata ?? {};
    const since = Date.parse(annotations?.[DRAIN] ?? '');
    assert.ok(since > asked - 1_000 && since <= Date.now(), annotations?.[DRAIN]);
    assert.equal(annotations?.[COST], '-1000');
    const isTold = async () => (await condition('down', 'Progressing'))?.reason === 'Draining';
    await until('the status tells', async () => (await status('down'))?.gateway?.draining === 1 && isTold());
    const found = await status('down');
    assert.equal(found?.gateway?.replicas, 2);
    assert.equal(found?.gateway?.readyReplicas, 2);
    const progressing = await condition('down', 'Progressing');
    assert.equal(progressing?.reason, 'Draining');
    assert.equal(progressing?.message, '1 gateway is draining: 30 connections left');
    assert.equal(await replicas('down'), '3');
    const { text } = await plane.get('/apis/pushcluster.dev/v1alpha1/namespaces/down/pushclusters/live/scale');
    const { spec, status: scaled } = JSON.parse(text);
    assert.deepEqual([spec.replicas, scaled.replicas], [2, 2]);
    // It is asked again and again, and stays while anybody is connected.
    await said('down', empty);
    assert.equal(await replicas('down'), '3');

    const [, leaving] = pods.of('down');
    if (leaving) leaving.says.connections = 0;
    await until('it is gone', () => names('down').length === 2);
    assert.deepEqual(names('down'), [full, middle]);
    assert.equal(await replicas('down'), '2');
    await until('nothing is under way', async () => (await condition('down', 'Progressing'))?.status === 'False');
    assert.equal((await status('down'))?.gateway?.draining, 0);
    assert.deepEqual(await events('down', 'DrainStarted'), [
      `Scaling down to 2 gateways: draining ${empty} (30 connections)`,
    ]);
    assert.match(
      (await events('down', 'DrainEnded')).join(),
      new RegExp(`^Removed ${empty} \\(empty after \\d+ seconds?\\)$`),
    );
  });

  it('serve again where more are wanted while they drain, those with most left first', async () => {
    await cluster('undone', [90, 30, 60]);
    const before = names('undone');
    await scale('undone', 1);
    await until('two drain', () => draining('undone').length === 2);
    await scale('undone', 2);
    await until('one serves again', () => draining('undone').length === 1);
    assert.deepEqual(draining('undone'), [before[1]]);
    await scale('undone', 4);
    await until('all serve', () => serving('undone').length === 4 && draining('undone').length === 0);
    assert.deepEqual(names('undone').slice(0, 3), before);
    for (const { metadata } of objects('undone')) assert.equal(metadata.annotations?.[COST], undefined);
    assert.ok(
      (await events('undone', 'DrainUndone')).includes(`Scaling to 2 gateways: no longer draining ${before[2]}`),
    );
    assert.deepEqual(await events('undone', 'RollingOut'), []);
    assert.ok((await events('undone', 'ScaledUp')).includes('Scaled up from 3 to 4 gateways'));
  });

  it('go on draining over a restart of the operator, which changes nothing by it', async () => {
    await cluster('restarted', [50, 40]);
    const [stays = ''] = names('restarted');
    await scale('restarted', 1);
    await until('one drains', () => draining('restarted').length === 1);
    await until('the status tells', async () => (await status('restarted'))?.gateway?.draining === 1);
    const versions = async () => [
      ...objects('restarted').map(({ metadata }) => metadata.resourceVersion),
      await plane.kubectl([
        'get',
        'deployment/live-gateway',
        '-n',
        'restarted',
        '-o=jsonpath={.metadata.resourceVersion}',
      ]),
    ];
    const before = await versions();
    assert.equal(await operator.end(), 0, operator.output);
    await operator.start();
    await said('restarted', draining('restarted')[0] ?? '');
    assert.deepEqual(await versions(), before);
    const [, leaving] = pods.of('restarted');
    if (leaving) leaving.says.connections = 0;
    await until('it is gone', () => names('restarted').length === 1);
    assert.deepEqual(names('restarted'), [stays]);
  });

  it('that die while they drain are not replaced in the end, nor is another drained for them', async () => {
    await cluster('died', [50, 40]);
    // Whatever comes in the place of one that is lost holds nobody.
    pods.startsWith = () => 0;
    const [stays = '', dies = ''] = names('died');
    await scale('died', 1);
    await until('one drains', () => draining('died').length === 1);
    await plane.kubectl(['delete', 'pod', dies, '-n', 'died']);
    await until('one is left', async () => (await replicas('died')) === '1' && names('died').length === 1);
    assert.deepEqual(names('died'), [stays]);
    assert.deepEqual(serving('died'), [stays]);
  });

  it('are chosen by what they hold now, and one that does not answer then counts as full', async () => {
    await cluster('anew', [60, 50, 40, 30]);
    const [first = '', second = '', , silent = ''] = names('anew');
    await until('all have said how many they hold', () => pods.of('anew').every(({ asked }) => asked > 0));
    const [full, , , last] = pods.of('anew');
    assert.ok(full && last);
    full.says.connections = 1;
    last.isUp = false;
    await scale('anew', 3);
    await until('one drains', () => draining('anew').length > 0);
    assert.deepEqual(draining('anew'), [first]);
    await until('it says so', async () => (await events('anew', 'DrainStarted')).length === 1);
    assert.deepEqual(await events('anew', 'DrainStarted'), [
      `Scaling down to 3 gateways: draining ${first} (1 connection); ${silent} did not respond and is considered full`,
    ]);
    await scale('anew', 1);
    await until('two more drain', () => draining('anew').length === 3);
    assert.ok(!draining('anew').includes(silent) && draining('anew').includes(second));
  });

  it('go only when the ReplicaSet is seen to know which they are', async () => {
    await cluster('blind', [50, 40]);
    const [stays = '', drains = ''] = names('blind');
    await settled('blind');
    await plane.controllerManager.pause();
    try {
      await scale('blind', 1);
      await until('one drains', () => draining('blind').length === 1);
      const [, leaving] = pods.of('blind');
      if (leaving) leaving.says.connections = 0;
      const cost = () => objects('blind')[1]?.metadata.annotations?.[COST];
      await until('it is marked', () => cost() === '-2000');
      await said('blind', drains);
      await until('it says so', async () => (await condition('blind', 'Progressing'))?.reason === 'ScaleDownWaits');
      assert.match(
        (await condition('blind', 'Progressing'))?.message ?? '',
        /status of the ReplicaSet does not match its pods yet/,
      );
      assert.equal(await replicas('blind'), '2');
    } finally {
      plane.controllerManager.resume();
    }
    await until('it is gone', () => names('blind').length === 1);
    assert.deepEqual(names('blind'), [stays]);
  });

  it('that vanish while they drain are not taken for removed before the ReplicaSet has seen to it', async () => {
    await cluster('vanished', [50, 40]);
    // Whatever comes in the place of one that is lost holds nobody.
    pods.startsWith = () => 0;
    const [stays = '', vanishes = ''] = names('vanished');
    await settled('vanished');
    await scale('vanished', 1);
    await until('one drains', () => draining('vanished').length === 1);
    await plane.controllerManager.pause();
    try {
      await plane.kubectl(['delete', 'pod', vanishes, '-n', 'vanished', '--now', '--wait=false']);
      await until('it is gone', () => names('vanished').length === 1);
      await until('it says so', async () => (await condition('vanished', 'Progressing'))?.reason === 'ScaleDownWaits');
      // Its successor may be ready before the ReplicaSet looks again, which would choose between the two by itself.
      assert.equal(await replicas('vanished'), '2');
      assert.deepEqual(draining('vanished'), []);
    } finally {
      plane.controllerManager.resume();
    }
    await until('one is left', async () => (await replicas('vanished')) === '1' && names('vanished').length === 1);
    assert.deepEqual(names('vanished'), [stays]);
    assert.deepEqual(serving('vanished'), [stays]);
  });

  it('go full when their time to drain is over', async () => {
    await cluster('late', [50, 40], { drain: { settle: '0s', timeout: '1s' } });
    const [stays = ''] = names('late');
    await scale('late', 1);
    await until('it is gone', () => names('late').length === 1);
    assert.deepEqual(names('late'), [stays]);
    assert.match((await events('late', 'DrainEnded')).join(), /\(40 connections left after 1\d seconds\) at the end/);
  });

  it('all go for 0 replicas, and come back', async () => {
    await cluster('none', [0, 0]);
    await scale('none', 0);
    await until('all are gone', () => names('none').length === 0);
    await until('it says so', async () => (await condition('none', 'Available'))?.reason === 'ScaledToZero');
    await scale('none', 1);
    await ready('none', 1);
  });

  it('wait with a scale-down while one that may hold connections is not ready, and say so', async () => {
    await cluster('unready', [50, 40, 30]);
    const [, second = ''] = names('unready');
    await pods.setReady('unready', second, false);
    await until('it is seen', async () => (await status('unready'))?.gateway?.readyReplicas === 2);
    await scale('unready', 2);
    await until(
      'it says so',
      async () =>
        (await condition('unready', 'Progressing'))?.reason === 'ScaleDownWaits' ||
        (await condition('unready', 'Progressing'))?.message.includes('waiting') === true,
    );
    assert.deepEqual(draining('unready'), []);
    assert.equal(await replicas('unready'), '3');
    await pods.setReady('unready', second, true);
    await until('the emptiest drains', () => draining('unready').length === 1);
    assert.deepEqual(draining('unready'), [names('unready')[2]]);
  });

  it('of the old version end only when they are out of the Service, while no operator runs too, and serve again where that is undone', async () => {
    await cluster('rolled', [50, 45, 40, 35, 30, 25, 20, 15]);
    const old = names('rolled');
    const left = () => old.filter((name) => names('rolled').includes(name));
    const fresh = () => names('rolled').filter((name) => !old.includes(name));
    pods.startsReady = false;
    const image = (tag: string) =>
      plane.kubectl([
        ...['patch', 'pushcluster/live', '-n', 'rolled', '--type=merge'],
        ...['-p', JSON.stringify({ spec: { image: { gateway: `gateway:${tag}` } } })],
      ]);
    const deployment = (path: string) =>
      plane.kubectl(['get', 'deployment/live-gateway', '-n', 'rolled', `-o=jsonpath={${path}}`]);
    try {
      await image('2');
      await until('two new ones are there', () => fresh().length === 2);
      await until('it says so', async () => (await condition('rolled', 'Progressing'))?.reason === 'RollingOut');
      assert.equal(await operator.end(), 0, operator.output);
      const [first, second] = fresh();
      for (const name of fresh()) await pods.setReady('rolled', name, true);
      await until('they are seen to be ready', async () => (await deployment('.status.readyReplicas')) === '10');
      assert.deepEqual(left(), old);
      assert.deepEqual(serving('rolled').length, 10);
      await operator.start();
      await until('old ones go', () => left().length < 8);
      assert.deepEqual(
        serving('rolled').filter((name) => old.includes(name)),
        [],
        'and are out before',
      );
      await until('two more new ones come', () => fresh().length === 4);
      assert.deepEqual(draining('rolled'), []);
      assert.equal(await replicas('rolled'), '8');
      await image('1.2.3');
      await until('they serve again', () => left().every((name) => serving('rolled').includes(name)));
      await until('the others are out', () => serving('rolled').every((name) => name !== first && name !== second));
    } finally {
      pods.startsReady = true;
    }
  });

  it('of the old version end only as others that are terminating go, where that is limited', async () => {
    await cluster('limited', [8, 7, 6, 5, 4, 3, 2, 1], { rollout: { maxTerminating: 2 } });
    // Without a kubelet, a finalizer keeps pods terminating.
    const finalizers = (name: string, list: string[] | null) =>
      plane
        .kubectl([
          ...['patch', 'pod', name, '-n', 'limited', '--type=merge'],
          ...['-p', JSON.stringify({ metadata: { finalizers: list } })],
        ])
        .catch((error: Error) => {
          if (!error.message.includes('NotFound')) throw error;
        });
    const old = names('limited');
    for (const name of old) await finalizers(name, ['example.com/connections']);
    /** Old gateways that terminate, and that Kubernetes has not given up, as it does with pods without a node. */
    const terminating = () =>
      old.filter((name) => {
        const pod = pods.object('limited', name);
        return pod?.metadata.deletionTimestamp !== undefined && phaseOf(pod) !== 'Failed';
      });
    let most = 0;
    const counting = setInterval(() => {
      most = Math.max(most, terminating().length);
    }, 50);
    try {
      await plane.kubectl([
        ...['patch', 'pushcluster/live', '-n', 'limited', '--type=merge'],
        ...['-p', JSON.stringify({ spec: { image: { gateway: 'gateway:2' } } })],
      ]);
      await until('new ones are ready, and old ones wait for others', async () => {
        const message = (await condition('limited', 'Progressing'))?.message;
        return message?.includes('terminating, and gateway.rollout.maxTerminating is 2') ?? false;
      });
      await until('their number is told', async () => {
        const { total, ready, terminating: ending = 0 } = (await status('limited'))?.gateway?.pods ?? {};
        return ending > 0 && ready === 10 && total === 10 + ending;
      });
      await until('all have gone', async () => {
        for (const name of old)
          if (pods.object('limited', name)?.metadata.deletionTimestamp) await finalizers(name, null);
        return names('limited').every((name) => !old.includes(name));
      });
      await ready('limited', 8);
      assert.equal(most, 2);
    } finally {
      clearInterval(counting);
    }
  });

  it('keep the NATS that they use until the last of them is gone, whatever the new ones use', async () => {
    await cluster('moved', [3, 2], {}, {});
    const old = names('moved');
    const fresh = () => names('moved').filter((name) => !old.includes(name));
    const ofNats = async () =>
      (await plane.kubectl(['get', 'statefulset,service,secret', '-n', 'moved', '-o=name']))
        .split('\n')
        .filter((line) => line.includes('live-nats'));
    const before = await ofNats();
    assert.equal(before.length, 6);
    pods.startsReady = false;
    try {
      const patch = JSON.stringify({ spec: { nats: { url: 'nats://elsewhere:4222' } } });
      await plane.kubectl(['patch', 'pushcluster/live', '-n', 'moved', '--type=merge', '-p', patch]);
      await until('the first new one is there', () => fresh().length === 1);
      await until('it is told', async () => {
        const { status, metadata } = await get('moved');
        return status?.observedGeneration === metadata.generation;
      });
      assert.deepEqual(await ofNats(), before);
      await pods.setReady('moved', fresh()[0] ?? '', true);
      await until('the second new one is there', () => fresh().length === 2);
      assert.deepEqual(await ofNats(), before);
      await pods.setReady('moved', fresh()[1] ?? '', true);
      // Logic uses it as well.
      await until('the old gateways are gone', () => names('moved').length === 2);
      assert.deepEqual(await ofNats(), before);
      const logic = ['get', 'pods', '-n', 'moved', '-l', 'app.kubernetes.io/component=logic'];
      const path = '-o=jsonpath={.items[*].metadata.name}';
      for (const name of (await plane.kubectl([...logic, path])).split(' ')) await pods.setReady('moved', name, true);
      await until('nobody uses it, and it is gone', async () => (await ofNats()).length === 0);
      assert.deepEqual(names('moved'), fresh());
    } finally {
      pods.startsReady = true;
    }
  });

  it('that are fuller than the others are out of the Service until they are not', async () => {
    await cluster('uneven', [2_000, 1_900]);
    const [first, second] = pods.of('uneven');
    assert.ok(first && second);
    await scale('uneven', 4);
    await ready('uneven', 4);
    await until('the full ones are out', () => serving('uneven').length === 2);
    assert.ok(!serving('uneven').includes(first.name) && !serving('uneven').includes(second.name));
    await until('it says so', async () => (await condition('uneven', 'Progressing'))?.reason === 'Rebalancing');
    // While one doesn't say what it holds, nobody knows that they are not.
    const [, , , last] = pods.of('uneven');
    assert.ok(last);
    last.isUp = false;
    const isTold = async () =>
      (await condition('uneven', 'Available'))?.message.includes('did not respond to status requests');
    await until('what it said is out of date', async () => (await isTold()) === true, 120_000);
    assert.equal(serving('uneven').length, 2);
    assert.equal((await condition('uneven', 'Progressing'))?.reason, 'Rebalancing');
    last.isUp = true;
    for (const pod of pods.of('uneven')) pod.says.connections = 975;
    await until('all serve', () => serving('uneven').length === 4);
    assert.deepEqual(draining('uneven'), []);
  });
});
