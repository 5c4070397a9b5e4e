import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { CLUSTER_RULES, OWN_RULES, type PolicyRule } from '@pushcluster/operator/rbac.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply, established } from '../harness/cluster/kubectl.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { Metrics } from '../harness/metrics.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const CRD = 'pushclusters.pushcluster.dev';
const RBAC = 'rbac.authorization.k8s.io';
/** Without a permission, the operator asks again after at most half a minute. */
const COMEBACK_MS = 120_000;

/** An operator of some namespaces, of which not all are there, and that has not always the rights that it needs. */
describe('an operator', () => {
  let plane: ControlPlane;
  const operators: OperatorProcess[] = [];

  before(async () => {
    plane = await startControlPlane();
  });
  after(async () => {
    await Promise.all(operators.map((each) => each.end('SIGKILL')));
    await plane?.stop();
  });

  async function operator(user: string, namespaces: string[], lease = OPERATOR_USER): Promise<OperatorProcess> {
    const [adminPort = 0] = await freePorts(1);
    const env = { WATCH_NAMESPACES: namespaces.join(','), LEASE_NAMESPACE: 'default', LEASE_NAME: lease };
    const made = new OperatorProcess(plane, { adminPort, user, env });
    operators.push(made);
    return made;
  }

  const namespaces = (...names: string[]) =>
    apply(
      plane.kubectl,
      names.map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
    );

  /** Gives a user rights in a namespace; without rules, those of the operator where it watches. */
  const allow = (user: string, namespace: string, rules: readonly PolicyRule[] = CLUSTER_RULES) => {
    const metadata = { name: user, namespace };
    return apply(plane.kubectl, [
      { apiVersion: `${RBAC}/v1`, kind: 'Role', metadata, rules },
      {
        ...{ apiVersion: `${RBAC}/v1`, kind: 'RoleBinding', metadata },
        roleRef: { apiGroup: RBAC, kind: 'Role', name: user },
        subjects: [{ kind: 'User', name: user, apiGroup: RBAC }],
      },
    ]);
  };
  /** OWN_RULES for a lease of that name. */
  const allowLease = (user: string, lease = OPERATOR_USER) =>
    allow(
      user,
      'default',
      OWN_RULES.map((rule) => (rule.resourceNames ? { ...rule, resourceNames: [...rule.resourceNames, lease] } : rule)),
    );

  const pushCluster = (namespace: string, spec: object = {}) =>
    apply(plane.kubectl, [
      { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster', metadata: { name: 'live', namespace }, spec },
    ]);
  const replicasOf = (namespace: string) =>
    plane
      .kubectl(['get', 'deployment', 'live-logic', '-n', namespace, '-o=jsonpath={.spec.replicas}'])
      .catch(() => 'none');
  const holder = (lease: string) =>
    plane.kubectl(['get', 'lease', lease, '-o=jsonpath={.spec.holderIdentity}']).catch(() => '');
  const admin = async (of: OperatorProcess, path: string) => {
    const answer = await fetch(`http://127.0.0.1:${of.adminPort}${path}`);
    return { status: answer.status, text: await answer.text() };
  };
  const metrics = async (of: OperatorProcess) => new Metrics((await admin(of, '/metrics')).text);
  const failing = async (of: OperatorProcess, namespace: string) =>
    (await metrics(of)).sum('pushcluster_operator_watches_failing', { watched_namespace: namespace });
  /** Kinds and namespaces that a user watches at the moment or did. */
  const watched = async (user: string) =>
    (await plane.audit.events())
      .filter((each) => each.user === user && each.verb === 'watch' && each.code === 200)
      .map(({ resource, namespace }) => `${namespace} ${resource}`);

  it('does not campaign without the CRD and without rights, says what is missing, and does once it has them', async () => {
    await namespaces('later');
    await allowLease('poor', 'poor');
    const poor = await operator('poor', ['later'], 'poor');
    await poor.launch();
    await until('it says what it cannot list', async () => {
      const { status, text } = await admin(poor, '/readyz').catch(() => ({ status: 0, text: '' }));
      return status === 503 && /pushclusters in namespace later have not been listed yet: .*poor/.test(text);
    });
    await allow('poor', 'later');
    await until('it says that the kind is missing', async () =>
      (await admin(poor, '/readyz')).text.includes('the API server does not have this kind'),
    );
    assert.equal((await admin(poor, '/healthz')).status, 200, 'a restart would not help');
    assert.ok((await failing(poor, 'later')) > 0);
    assert.deepEqual([await holder('poor'), poor.leads], ['', false]);
    await apply(plane.kubectl, [crd()]);
    await established(plane.kubectl, CRD);
    await until('it leads', () => poor.leads, COMEBACK_MS);
    assert.equal((await admin(poor, '/readyz')).status, 200);
    assert.equal(await poor.end(), 0);
  });

  it('reconciles the other namespaces while one is missing or goes, and that one once it is there', async () => {
    await namespaces('shop', 'chat', 'quiet');
    for (const namespace of ['shop', 'chat', 'quiet']) await allow('one', namespace);
    await allowLease('one', 'one');
    const one = await operator('one', ['shop', 'chat', 'quiet', 'missing'], 'one');
    await one.start();
    assert.equal((await admin(one, '/readyz')).status, 200);
    await pushCluster('shop');
    await pushCluster('chat');
    for (const namespace of ['shop', 'chat'])
      await until(`${namespace} is reconciled`, async () => (await replicasOf(namespace)) === '2');
    await until('the missing one is told', async () => (await failing(one, 'missing')) === 1);
    assert.equal(await failing(one, 'shop'), 0);

    // Only PushClusters are watched where there are none.
    const ofQuiet = (await watched('one')).filter((each) => each.startsWith('quiet '));
    assert.deepEqual([...new Set(ofQuiet)], ['quiet pushcluster.dev/pushclusters']);

    await plane.kubectl(['delete', 'namespace', 'chat', '--timeout=60s']);
    await plane.apiServer.kill();
    await plane.apiServer.start();
    await until('the one that went is told, as one watch', async () => (await failing(one, 'chat')) === 1, COMEBACK_MS);
    await pushCluster('shop', { logic: { replicas: 3 } });
    await until('the others are reconciled', async () => (await replicasOf('shop')) === '3');
    assert.equal(one.leads && one.isRunning, true);

    for (const namespace of ['chat', 'missing']) {
      await namespaces(namespace);
      await allow('one', namespace);
      await pushCluster(namespace);
      await until(`${namespace} is reconciled`, async () => (await replicasOf(namespace)) === '2', COMEBACK_MS);
    }
    assert.deepEqual([await failing(one, 'shop'), one.isRunning], [0, true]);
    assert.equal(await one.end(), 0);
  });
});
