import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PushCluster, type Status } from '@pushcluster/operator/api/pushCluster.ts';
import { Client } from '@pushcluster/operator/kube/client.ts';
import { connect } from '@pushcluster/operator/kube/connection.ts';
import { ClusterCache } from '@pushcluster/operator/pushcluster/clusterCache.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { type PlayedPod, PlayedPods } from '../harness/cluster/playedPods.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const SETTINGS = 'pushcluster.dev/settings';
const NAMESPACE = 'shop';
/** Pods are asked every 10 s. */
const HEARD_MS = 90_000;

describe('what the operator makes of what pods say', () => {
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
    const spec = { logic: { replicas: 1 }, nats: { url: 'nats://n:4222', prefix: 'shop' } };
    const head = { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster' };
    await apply(plane.kubectl, [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
      { ...head, metadata: { name: 'live', namespace: NAMESPACE }, spec },
    ]);
    await condition('Ready', ({ status }) => status === 'True');
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await pods?.stop();
    await plane?.stop();
  });

  async function condition(
    type: string,
    holds: (found: NonNullable<Status['conditions']>[number]) => boolean,
    namespace = NAMESPACE,
  ): Promise<void> {
    let found: Status | undefined;
    await until(
      `${type} is as expected`,
      async () => {
        const args = ['get', 'pushcluster', 'live', '-n', namespace, '-o=json'];
        found = PushCluster.parse(JSON.parse(await plane.kubectl(args))).status;
        return found?.conditions?.some((each) => each.type === type && holds(each)) ?? false;
      },
      HEARD_MS,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(found)}\n${operator.output.slice(-2_000)}`);
    });
  }
  const patch = (spec: object) => {
    const args = ['patch', 'pushcluster', 'live', '-n', NAMESPACE, '--type=merge'];
    return plane.kubectl([...args, '-p', JSON.stringify({ spec })]);
  };
  const brought = (role: 'gateway' | 'logic') =>
    pods.of(NAMESPACE, role).map(({ name }) => pods.object(NAMESPACE, name)?.metadata.annotations?.[SETTINGS]);
  const names = () => pods.of(NAMESPACE).map(({ name }) => name);
  function gateway(): PlayedPod {
    const [first] = pods.of(NAMESPACE);
    assert.ok(first);
    return first;
  }

  it('brings changed settings to the pods that they are for, and replaces none', async () => {
    await until('all pods have an annotation', () =>
      [...brought('gateway'), ...brought('logic')].every((hash) => hash !== undefined),
    );
    const [before, logic, were] = [brought('gateway'), brought('logic'), names()];
    assert.equal(before.length, 2);
    assert.equal(new Set(before).size, 1);
    await patch({ gateway: { batching: { maxDelay: '250ms' } } });
    await until('gateways have another', () => brought('gateway').every((hash) => hash !== before[0]));
    assert.equal(new Set(brought('gateway')).size, 1);
    assert.deepEqual(brought('logic'), logic);
    assert.deepEqual(names(), were);
    const after = brought('gateway');
    await patch({ logic: { replicas: 2 } });
    await until('another logic pod has come', () => brought('logic').filter((hash) => hash === logic[0]).length === 2);
    assert.deepEqual(brought('gateway'), after);
  });

  it('tells who has not loaded the current settings yet, and who refuses them', async () => {
    const slow = gateway();
    slow.followsSettings = false;
    await patch({ gateway: { batching: { maxDelay: '300ms' } } });
    await condition('Progressing', ({ message }) => message === `${slow.name} has not loaded the current settings yet`);
    slow.says.settings.refused = 'gateway.batching.maxDelay must be at most 200ms';
    await condition('Degraded', ({ reason }) => reason === 'SettingsRefused');
    await condition('Ready', ({ status, message }) => {
      const expected = `1 pod rejected the settings and keeps the previous ones: ${slow.name}: ${slow.says.settings.refused}`;
      return status === 'False' && message === expected;
    });
    delete slow.says.settings.refused;
    slow.followsSettings = true;
    await condition('Degraded', ({ status }) => status === 'False');
    await condition('Progressing', ({ status }) => status === 'False');
  });

  it('is Degraded where gateways may open fewer files than they are to hold connections', async () => {
    await patch({ gateway: { connections: { max: 100_001 } } });
    await condition('Degraded', ({ reason, message }) => {
      return reason === 'FileLimitTooLow' && message.includes('may open 100000 files, too few for 100001 connections');
    });
    await patch({ gateway: { connections: { max: 0 } } });
    await condition('Degraded', ({ status }) => status === 'False');
  });

  it('names the pod that does not become ready, and why, and takes that back', async () => {
    const { name } = gateway();
    const image = 'docker.io/pushcluster/gateway:9.9.9';
    const state = { waiting: { reason: 'ImagePullBackOff', message: `Back-off pulling image "${image}"` } };
    const one = { name: 'gateway', image, imageID: '', ready: false, restartCount: 0, state };
    const patched = (containerStatuses: object[]) => {
      const args = ['patch', 'pod', name, '-n', NAMESPACE, '--subresource=status', '--type=merge'];
      return plane.kubectl([...args, '-p', JSON.stringify({ status: { containerStatuses } })]);
    };
    await pods.setReady(NAMESPACE, name, false);
    await condition('Ready', ({ message }) => message === '1 of 2 gateways are updated and ready');
    await patched([one]);
    const words = `${name}: image ${image} cannot be pulled: see \`kubectl describe pod ${name}\``;
    await condition('Degraded', ({ reason, message }) => reason === 'PodsStuck' && message === words);
    await condition('Ready', ({ reason, message }) => reason === 'PodsStuck' && message === words);
    await condition('Progressing', ({ message }) => message === `1 of 2 gateways are ready; ${words}`);
    await until('an event tells it', async () =>
      (
        await plane.kubectl(['get', 'events', '-n', NAMESPACE, '-o=name', '--field-selector=reason=PodsStuck'])
      ).includes('event'),
    );
    await patched([]);
    await pods.setReady(NAMESPACE, name, true);
    await condition('Ready', ({ status }) => status === 'True');
    await condition('Degraded', ({ status }) => status === 'False');
  });

  it('names the volume that a pod waits for, and the field that it is made of, and takes that back', async () => {
    const { name } = gateway();
    const metadata = pods.object(NAMESPACE, name)?.metadata;
    const conditions = (found: object[]) => {
      const args = ['patch', 'pod', name, '-n', NAMESPACE, '--subresource=status', '--type=merge'];
      return plane.kubectl([...args, '-p', JSON.stringify({ status: { conditions: found } })]);
    };
    // As a kubelet does it.
    await apply(plane.kubectl, [
      {
        ...{ apiVersion: 'v1', kind: 'Event', metadata: { name: 'not-mounted', namespace: NAMESPACE } },
        involvedObject: { apiVersion: 'v1', kind: 'Pod', name, namespace: NAMESPACE, uid: metadata?.uid },
        ...{ type: 'Warning', reason: 'FailedMount', source: { component: 'kubelet', host: 'node1' } },
        message: 'MountVolume.SetUp failed for volume "tls" : secret "live-tls" not found',
        ...{ count: 3, firstTimestamp: '2026-01-02T03:04:05Z', lastTimestamp: '2026-01-02T03:05:05Z' },
      },
    ]);
    await conditions([
      { type: 'PodReadyToStartContainers', status: 'False' },
      { type: 'Ready', status: 'False' },
    ]);
    const words = `${name}: volume tls (gateway.service.tls) cannot be mounted: secret "live-tls" not found`;
    await condition('Degraded', ({ reason, message }) => reason === 'PodsStuck' && message === words);
    await condition('Ready', ({ message }) => message === words);
    await pods.setReady(NAMESPACE, name, true);
    await condition('Ready', ({ status }) => status === 'True');
    await condition('Degraded', ({ status }) => status === 'False');
  });

  it('names the NATS server that is not ready, and why', async () => {
    const namespace = 'busy';
    const spec = { gateway: { replicas: 1 }, logic: { replicas: 1 } };
    const head = { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster' };
    await apply(plane.kubectl, [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
      { ...head, metadata: { name: 'live', namespace }, spec },
    ]);
    const name = 'live-nats-0';
    await until('its pod is made', () =>
      plane.kubectl(['get', 'pod', name, '-n', namespace]).then(
        () => true,
        () => false,
      ),
    );
    const patched = (status: object) => {
      const args = ['patch', 'pod', name, '-n', namespace, '--subresource=status', '--type=merge'];
      return plane.kubectl([...args, '-p', JSON.stringify({ status })]);
    };
    const message = '0/2 nodes are available: 2 Insufficient memory.';
    await patched({ conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message }] });
    const none = '0 of 1 NATS servers are ready: publishing requires more than half of them';
    await condition(
      'Available',
      (found) => found.message === `${none}; ${name}: cannot be scheduled: ${message}`,
      namespace,
    );
    const state = { waiting: { reason: 'ErrImagePull', message: 'not found' } };
    const one = { name: 'nats', image: 'nats:9', imageID: '', ready: false, restartCount: 0, state };
    await patched({ conditions: [{ type: 'PodScheduled', status: 'True' }], containerStatuses: [one] });
    const words = `${name}: image nats:9 cannot be pulled: see \`kubectl describe pod ${name}\``;
    await condition('Degraded', (found) => found.reason === 'PodsStuck' && found.message === words, namespace);
    await plane.kubectl(['delete', 'pushcluster', 'live', '-n', namespace, '--wait=false']);
  });

  it('says who does not answer, and stays Ready', async () => {
    const silent = gateway();
    silent.isUp = false;
    await until(
      'it is told',
      async () => {
        const args = [
          'get',
          'pushcluster',
          'live',
          '-n',
          NAMESPACE,
          '-o=jsonpath={.status.conditions[?(@.type=="Ready")]}',
        ];
        const { status, message } = JSON.parse(await plane.kubectl(args));
        return (
          status === 'True' &&
          message.includes(`1 pod did not respond to status requests: ${silent.name}: socket hang up`)
        );
      },
      HEARD_MS,
    );
    silent.isUp = true;
    await condition('Ready', ({ message }) => !message.includes('did not respond'));
  });

  it('writes nothing while pods say the same', async () => {
    const written = async () =>
      (await plane.audit.writes()).filter(
        ({ user, resource }) => user === OPERATOR_USER && !/leases|events/.test(resource),
      );
    // What it has heard last may still be on its way into the status in the first round of questions.
    let late: unknown[] = [];
    await until(
      'it has asked all and written nothing',
      async () => {
        const before = (await written()).length;
        const asked = pods.of(NAMESPACE).map((pod) => pod.asked);
        const isAsked = () => pods.of(NAMESPACE).every((pod, at) => pod.asked > (asked[at] ?? 0) + 1);
        await until('all were asked again', isAsked, HEARD_MS);
        late = (await written()).slice(before);
        return late.length === 0;
      },
      HEARD_MS,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(late)}`);
    });
  });

  it('is Degraded where admission lets it change no pod, in its words', async () => {
    await apply(plane.kubectl, admission);
    const [name = ''] = names();
    const touch = ['annotate', 'pod', name, '-n', NAMESPACE, '--dry-run=server', 'touched=yes'];
    await until('pods may not be changed', () =>
      plane.kubectl(touch).then(
        () => false,
        () => true,
      ),
    );
    await patch({ gateway: { batching: { maxDelay: '400ms' } } });
    await condition('Degraded', ({ reason, message }) => reason === 'Forbidden' && message.includes('hands off'));
    await plane.kubectl(['delete', 'validatingadmissionpolicybinding,validatingadmissionpolicy', 'hands-off']);
    await condition('Degraded', ({ status }) => status === 'False');
  });

  it('answers /healthz by whether it works', async () => {
    const answer = await fetch(`http://127.0.0.1:${operator.adminPort}/healthz`);
    assert.deepEqual([answer.status, await answer.text()], [200, 'ok\n']);
  });

  it('finds out that ServiceMonitors come and go while it runs', async () => {
    const asked: string[] = [];
    const view = new ClusterCache({
      ...{ client: new Client(connect({ KUBECONFIG: plane.kubeconfig })), namespaces: [], served: [], lookEvery: 300 },
      onKey: (key) => asked.push(key),
      onGone: () => {},
    });
    view.start();
    try {
      await Promise.all(view.reflectors.map((each) => each.whenSynced()));
      assert.equal(view.hasServiceMonitors(NAMESPACE), false);
      const { length } = view.reflectors;
      asked.length = 0;
      await apply(plane.kubectl, [serviceMonitors]);
      await until('it is seen', () => view.hasServiceMonitors(NAMESPACE));
      assert.equal(view.reflectors.length, length + 1);
      await until('clusters are looked at', () => asked.includes(`${NAMESPACE}/live`));
      await plane.kubectl(['delete', 'crd', 'servicemonitors.monitoring.coreos.com']);
      await until('it is gone', () => !view.hasServiceMonitors(NAMESPACE));
      assert.equal(view.reflectors.length, length);
    } finally {
      await view.stop();
    }
  });
});

const registration = 'admissionregistration.k8s.io/v1';
const admission = [
  {
    ...{ apiVersion: registration, kind: 'ValidatingAdmissionPolicy', metadata: { name: 'hands-off' } },
    spec: {
      failurePolicy: 'Fail',
      matchConstraints: {
        resourceRules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['UPDATE'], resources: ['pods'] }],
      },
      validations: [{ expression: 'false', message: 'hands off', reason: 'Forbidden' }],
    },
  },
  {
    ...{ apiVersion: registration, kind: 'ValidatingAdmissionPolicyBinding', metadata: { name: 'hands-off' } },
    spec: { policyName: 'hands-off', validationActions: ['Deny'] },
  },
];

const serviceMonitors = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'servicemonitors.monitoring.coreos.com' },
  spec: {
    group: 'monitoring.coreos.com',
    scope: 'Namespaced',
    names: { kind: 'ServiceMonitor', plural: 'servicemonitors' },
    versions: [
      {
        ...{ name: 'v1', served: true, storage: true },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
};
