import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply, type Kubectl, kubectlWith } from '../harness/cluster/kubectl.ts';
import { OPERATOR_GROUP, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { until } from '../harness/until.ts';

/** In the operator's `rbac.podServiceAccounts`: so that no other policy than the one under test refuses. */
const ALLOWED = 'cloud';
const BELONG = /the operator may only (change and delete|write) objects that belong to a PushCluster/;
const template = (serviceAccountName?: string) => ({
  metadata: { labels: { app: 'theirs' } },
  spec: { ...(serviceAccountName ? { serviceAccountName } : {}), containers: [{ name: 'a', image: 'a:1' }] },
});
const deployment = (name: string, more: object = {}, serviceAccountName?: string) => ({
  ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, ...more } },
  spec: { replicas: 0, selector: { matchLabels: { app: 'theirs' } }, template: template(serviceAccountName) },
});

/** What somebody could do with the operator's credentials; that its own work passes is in all other tests of it. */
describe("the operator's credentials", () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  /** With the operator's rights. */
  let as: Kubectl;
  let owner: { apiVersion: string; kind: string; name: string; uid: string };

  before(async () => {
    plane = await startControlPlane();
    operator = await OperatorProcess.startIn(plane, 'shop');
    const theirs = { metadata: { name: 'theirs', labels: { app: 'theirs' } } };
    const items = [
      { apiVersion: 'v1', kind: 'Secret', ...theirs },
      { apiVersion: 'v1', kind: 'ConfigMap', ...theirs },
      { apiVersion: 'v1', kind: 'Service', ...theirs, spec: { ports: [{ port: 80 }] } },
      { apiVersion: 'v1', kind: 'ServiceAccount', ...theirs },
      deployment('theirs', {}, ALLOWED),
      { ...deployment('theirs', {}, ALLOWED), kind: 'StatefulSet' },
      { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', ...theirs, spec: { podSelector: {} } },
      { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', ...theirs, addressType: 'IPv4', endpoints: [] },
      { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', ...theirs, spec: { minAvailable: 1 } },
    ];
    const text = JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
    await until('the namespace has its service account', () =>
      plane.kubectl(['get', 'serviceaccount', 'default', '-n', 'shop']).then(
        () => true,
        () => false,
      ),
    );
    await plane.kubectl(['create', '-n', 'shop', '-f', '-'], text);
    await plane.kubectl(['run', 'theirs', '--image=a:1', '-n', 'shop']);
    const head = { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster' };
    await apply(plane.kubectl, [{ ...head, metadata: { name: 'live', namespace: 'shop' } }]);
    const uid = await plane.kubectl(['get', 'pushcluster', 'live', '-n', 'shop', '-o=jsonpath={.metadata.uid}']);
    owner = { ...head, name: 'live', uid };
    await until('the operator has made everything', () =>
      plane.kubectl(['get', 'deployment', 'live-logic', '-n', 'shop']).then(
        () => true,
        () => false,
      ),
    );
    const kubeconfig = await plane.kubeconfigFor(`/O=${OPERATOR_GROUP}/CN=a-thief`);
    const kubectl = kubectlWith((await kubeTools('control-plane'))('kubectl'), kubeconfig);
    as = (args, input) => kubectl([...args, '-n', 'shop', '--validate=false'].filter(keptFor(args)), input);
    await until('the policies count', () =>
      as(['annotate', 'secret', 'theirs', 'a=b', '--dry-run=server']).then(
        () => false,
        () => true,
      ),
    );
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await plane?.stop();
  });

  const write = (object: object) =>
    as(['apply', '--server-side', '--force-conflicts', '-f', '-'], JSON.stringify(object));
  const owned = () => ({ ownerReferences: [owner] });

  for (const kind of [
    'secret',
    'configmap',
    'service',
    'serviceaccount',
    'deployment',
    'statefulset',
    'networkpolicy',
    'endpointslice',
    'poddisruptionbudget',
  ])
    it(`change and delete no ${kind} of others, nor take it over`, async () => {
      await assert.rejects(
        as(['patch', kind, 'theirs', '--type=merge', '-p', '{"metadata":{"labels":{"a":"b"}}}']),
        BELONG,
      );
      const takeOver = JSON.stringify({ metadata: owned() });
      await assert.rejects(as(['patch', kind, 'theirs', '--type=merge', '-p', takeOver]), BELONG);
      await assert.rejects(as(['delete', kind, 'theirs', '--wait=false']), BELONG);
    });

  it('make nothing that belongs to no PushCluster, and free nothing that belongs to one', async () => {
    await assert.rejects(write(deployment('mine', {}, ALLOWED)), BELONG);
    await assert.rejects(write({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'mine' } }), BELONG);
    const other = [{ apiVersion: 'example.com/v1', kind: 'PushCluster', name: 'live', uid: owner.uid }];
    const made = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'mine', ownerReferences: other } };
    await assert.rejects(write(made), BELONG);
    const free = ['patch', 'secret', 'live-api-key', '--type=merge', '-p', '{"metadata":{"ownerReferences":null}}'];
    await assert.rejects(as(free), BELONG);
  });

  it('get no token of a service account, and run no pods as one', async () => {
    const annotations = { 'kubernetes.io/service-account.name': 'theirs' };
    const metadata = { name: 'token', annotations, ...owned() };
    const token = { apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/service-account-token', metadata };
    await assert.rejects(write(token), /the operator may not create tokens of service accounts/);
    const refusal = /the operator may only run pods with the service accounts of their PushCluster/;
    await assert.rejects(write(deployment('mine', owned())), refusal);
    await assert.rejects(write(deployment('mine', owned(), 'theirs')), refusal);
    await write(deployment('mine', owned(), 'live-gateway'));
    await as(['delete', 'deployment', 'mine', '--wait=false']);
  });

  it('change nothing of pods but labels and annotations of those of PushClusters', async () => {
    let pod = '';
    await until('there is a pod of a gateway', async () => {
      const selector = 'pushcluster.dev/cluster=live,app.kubernetes.io/component=gateway';
      pod = await plane.kubectl(['get', 'pods', '-n', 'shop', '-l', selector, '-o=jsonpath={.items[*].metadata.name}']);
      pod = pod.split(' ')[0] ?? '';
      return pod !== '';
    });
    await as(['annotate', 'pod', pod, 'a=b']);
    await assert.rejects(as(['annotate', 'pod', 'theirs', 'a=b']), /may only change pods of PushClusters/);
    const containers = JSON.stringify({ spec: { containers: [{ name: 'gateway', image: 'evil:1' }] } });
    await assert.rejects(as(['patch', 'pod', pod, '-p', containers]), /may only change labels and annotations of pods/);
    const finalizers = JSON.stringify({ metadata: { finalizers: ['a.b/c'] } });
    await assert.rejects(as(['patch', 'pod', pod, '-p', finalizers]), /may only change labels and annotations/);
  });
});

/** Only some commands of kubectl validate. */
function keptFor([command]: readonly string[]): (arg: string) => boolean {
  return (arg) => arg !== '--validate=false' || command === 'apply';
}
