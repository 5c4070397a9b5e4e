import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { AuditLog } from '../../harness/cluster/audit.ts';
import { folderOf } from '../../harness/cluster/cluster.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { claimNamespace, installChart, RELEASE } from '../../harness/cluster/product.ts';
import { Lateness } from '../../harness/lateness.ts';
import { exactRefusals } from '../../harness/refusals.ts';
import { until } from '../../harness/until.ts';

const OPERATOR = `system:serviceaccount:${RELEASE.namespace}:${RELEASE.operator}`;
/** From apply to Ready, where the machine is not late. */
const READY_MS = 20_000;
/** What the operator itself may add to that; where the machine is slow, as much as the API server takes for its requests. */
const OPERATORS_SHARE_MS = 1_000;

describe('a PushCluster from nothing', () => {
  let cluster: OpenCluster;
  let live: Live;
  /** By how much the machine was late from apply to Ready, milliseconds. */
  let late = 0;
  /** When it was seen to be Ready, milliseconds of Unix time. */
  let readyAt = 0;
  before(async () => {
    cluster = await openCluster();
  });
  after(async () => {
    await live?.end();
    await cluster.close();
  });

  it('begins with the chart: two operators, of which one leads', async (t) => {
    const began = performance.now();
    await installChart(cluster.kubectl, cluster.helm);
    t.diagnostic(`chart installed, both operators ready: ${seconds(performance.now() - began)}`);
    const args = ['-n', RELEASE.namespace, 'get', 'pods', '-l', 'app.kubernetes.io/name=pushcluster-operator'];
    const nodes = await cluster.kubectl([...args, '-o', 'jsonpath={.items[*].spec.nodeName}']);
    assert.equal(new Set(nodes.split(' ')).size, 2, nodes);
    const holder = () =>
      cluster.kubectl([
        ...['-n', RELEASE.namespace, 'get', 'lease', 'pushcluster-operator'],
        ...['-o', 'jsonpath={.spec.holderIdentity}'],
      ]);
    await until('one leads', async () => (await holder().catch(() => '')).startsWith(`${RELEASE.operator}-`));
  });

  it('is Ready within 20 s of `{}`, in a namespace that admits only restricted pods', async (t) => {
    await claimNamespace(cluster.kubectl, 'install');
    live = new Live(cluster.kubectl, 'install');
    const lateness = Lateness.during(t);
    const began = performance.now();
    await live.apply({});
    await live.whenReady();
    const took = performance.now() - began;
    readyAt = Date.now();
    late = lateness.total;
    t.diagnostic(`apply to Ready: ${seconds(took)}; this machine was late by ${seconds(late)}`);
    assert.ok(took <= READY_MS + late, seconds(took));
    for (const role of ['gateway', 'logic'] as const)
      assert.equal(
        new Set((await live.pods(role)).map(({ node }) => node)).size,
        2,
        `${role} pods are spread over nodes`,
      );
    for (const role of ['gateway', 'logic', 'nats'] as const)
      for (const pod of await live.pods(role)) assert.equal(pod.restarts, 0, `${pod.name} was restarted`);
  });

  it('gets there with less than a second by the operator itself, and on a busy machine less than Kubernetes takes for the pods', async (t) => {
    if (!process.env.E2E_CLUSTER) return t.skip('it needs the audit log, which KUBECONFIG does not lead to');
    const audit = new AuditLog(join(folderOf(process.env.E2E_CLUSTER), 'control-plane', 'audit.log'));
    const writes = (await audit.writes()).filter(
      ({ namespace, code }) => namespace === 'install' && code >= 200 && code < 300,
    );
    const requests = writes.filter(({ user }) => user === OPERATOR);
    const first = writes.find(({ resource }) => resource === 'pushcluster.dev/pushclusters')!;
    const made = Math.max(
      ...['live-nats', 'live-gateway', 'live-logic'].map(
        (name) => requests.find((each) => /^apps\/[a-z]+$/.test(each.resource) && each.name === name)!.answered,
      ),
    );
    // Later ones tell of something else.
    const told = requests.filter(
      ({ resource, received }) => resource === 'pushcluster.dev/pushclusters/status' && received < readyAt,
    );
    const ready = told.at(-1)!;
    // What the last status is about: the controllers' own, of a Deployment or the StatefulSet.
    const known = writes
      .filter(
        ({ resource, answered }) =>
          /^apps\/(deployments|statefulsets)\/status$/.test(resource) && answered < ready.received,
      )
      .at(-1)!;
    t.diagnostic(`applied to objects made: ${seconds(made - first.answered)} (operator)`);
    // Pods of this cluster too: as slow as the operator, where others have the processors.
    const started = known.answered - made;
    t.diagnostic(`objects made to pods ready: ${seconds(started)} (Kubernetes: schedule, start, probe)`);
    t.diagnostic(`pods ready to status Ready: ${seconds(ready.answered - known.answered)} (operator)`);
    // Less what the API server took for the operator's requests.
    const served = requests
      .filter(({ answered }) => answered > first.answered && answered <= made)
      .reduce((sum, { received, answered }) => sum + answered - received, 0);
    t.diagnostic(`of the former the API server took ${seconds(served)}`);
    const share = made - first.answered - served + ready.answered - known.answered;
    assert.ok(share <= Math.max(OPERATORS_SHARE_MS, served, started) + late, `the operator's own share is ${share} ms`);
  });

  it('is readable by kubectl alone', async () => {
    assert.match(await live.kubectl('get', 'push'), /^NAME +READY +REASON .*\nlive +True +Ready +2\/2 /);
    const described = await live.kubectl('describe', 'pushcluster', 'live');
    assert.match(described, /Message: +2 gateways and 2 logic pods are ready/);
  });

  it('says what is wrong with what the API server refuses, rule by rule', async (t) => {
    const wrong = exactRefusals();
    const list = { apiVersion: 'v1', kind: 'List', items: wrong.map(({ object }) => object) };
    const error = await cluster
      .kubectl(['create', '--dry-run=server', '--validate=strict', '-f', '-'], JSON.stringify(list))
      .then(
        (created) => new Error(`accepted: ${created}`),
        (refused: Error) => refused,
      );
    const refused = new Map(
      Array.from(error.message.matchAll(/"([^"]+)" is invalid: (.*)/g), ([, name, says]) => [name!, says!]),
    );
    for (const { object, message } of wrong) assert.ok(refused.get(object.metadata.name)?.includes(message), message);
    assert.ok(wrong.length >= 30);
    t.diagnostic(`${wrong.length} rules`);
  });
});

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(2)} s`;
}
