import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { FIELD_MANAGER } from '@pushcluster/operator/kube/client.ts';
import { alerts } from '@pushcluster/operator/pushcluster/desired/alerts.ts';
import { dashboards } from '@pushcluster/operator/pushcluster/desired/dashboards.ts';
import { stringify } from 'yaml';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { installKinds } from '../harness/releasedKinds.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const monitoring = { rules: { enabled: true, labels: { release: 'prometheus' } }, dashboards: { enabled: true } };
const DASHBOARDS = 'app.kubernetes.io/component=dashboards';

const Made = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    labels: z.record(z.string(), z.string()),
    ownerReferences: z.array(z.looseObject({ kind: z.string(), name: z.string() })),
    managedFields: z.array(z.looseObject({ manager: z.string() })),
  }),
  data: z.record(z.string(), z.string()).optional(),
  spec: z.unknown().optional(),
});
const List = z.object({ items: z.array(Made) });

describe('alerts and dashboards of one PushCluster', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-monitoring-'));
  let plane: ControlPlane;
  let operator: OperatorProcess;
  before(async () => {
    plane = await startControlPlane();
    operator = await OperatorProcess.startIn(plane, NAMESPACE);
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await plane?.stop();
    rmSync(folder, { recursive: true });
  });

  const pushCluster = (spec: object) =>
    apply(plane.kubectl, [
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata: { name: 'live', namespace: NAMESPACE },
        spec,
      },
    ]);
  /** As the operator is to make it of the same specification. */
  const cluster = () =>
    PushCluster.parse({ metadata: { name: 'live', namespace: NAMESPACE, uid: '' }, spec: { monitoring } });
  const get = (...args: string[]) => plane.kubectl(['get', '-n', NAMESPACE, '--ignore-not-found', ...args]);
  const soon = (what: string, holds: () => Promise<boolean>) =>
    until(what, holds).catch((error: Error) => {
      throw new Error(`${error.message}: ${operator.output.slice(-3_000)}`);
    });
  const degraded = () => get('pushcluster/live', '-o=jsonpath={.status.conditions[?(@.type=="Degraded")]}');
  const made = async (): Promise<z.infer<typeof Made>[]> => {
    const text = await get('configmap', '-l', DASHBOARDS, '-o=json', '--show-managed-fields');
    return text === '' ? [] : List.parse(JSON.parse(text)).items;
  };
  const rule = async () => {
    const text = await get('prometheusrule/live-alerts', '-o=json', '--show-managed-fields');
    return text === '' ? undefined : Made.parse(JSON.parse(text));
  };
  const isOfLive = ({ metadata: { ownerReferences, managedFields } }: z.infer<typeof Made>) => {
    assert.deepEqual(
      ownerReferences.map(({ kind, name }) => [kind, name]),
      [['PushCluster', 'live']],
    );
    assert.deepEqual(
      managedFields.map(({ manager }) => manager),
      [FIELD_MANAGER],
    );
  };

  it('are none where nobody asks for them', async () => {
    await pushCluster({});
    await soon('it has its settings', async () => (await get('configmap/live-settings', '-o=name')) !== '');
    await soon('it is seen to', async () => (await degraded()).includes('"False"'));
    assert.equal(await get('configmap', '-l', DASHBOARDS, '-o=name'), '');
  });

  it('are dashboards alone where no Prometheus operator is, and that is said', async () => {
    await pushCluster({ monitoring });
    await soon('it says so', async () => /"True".*KindMissing|KindMissing.*"True"/.test(await degraded()));
    assert.match(await degraded(), /PrometheusRule live-alerts: the kind PrometheusRule .* is not installed: install/);
    assert.equal((await made()).length, dashboards(cluster()).length);
  });

  it('are ConfigMaps that Grafana finds, with what the operator made, and owned by the PushCluster', async () => {
    const all = await made();
    const wanted = dashboards(cluster());
    for (const map of all) {
      assert.equal(map.metadata.labels.grafana_dashboard, '1');
      assert.deepEqual(map.data, wanted.find(({ metadata }) => metadata.name === map.metadata.name)?.data);
      isOfLive(map);
    }
  });

  it('are a PrometheusRule where that kind is there, which Prometheus takes', async () => {
    await operator.end();
    await installKinds(plane, 'prometheus-operator', 'prometheusrules.monitoring.coreos.com');
    await operator.start();
    await soon('it is there', async () => (await rule()) !== undefined);
    await soon('nothing is wrong', async () => (await degraded()).includes('"False"'));
    const alert = await rule();
    assert.ok(alert);
    assert.equal(alert.metadata.labels.release, 'prometheus');
    isOfLive(alert);
    // What the Prometheus operator's schema does not know would have been left out without a word.
    const [wanted] = alerts(cluster());
    assert.deepEqual(alert.spec, wanted?.spec);
    const file = join(folder, 'rules.yaml');
    writeFileSync(file, stringify(alert.spec));
    const { stdout } = await promisify(execFile)('promtool', ['check', 'rules', '--lint-fatal', file]);
    assert.match(stdout, new RegExp(`SUCCESS: ${wanted?.spec.groups[0]?.rules.length} rules found`));
  });

  it('are put back when somebody changes or deletes them', async () => {
    const name = 'configmap/live-dashboard-overview';
    const data = () => get(name, '-o=jsonpath={.data}');
    const before = await data();
    const spoilt = { data: { 'pushcluster.shop.live.overview.json': '{}' } };
    await plane.kubectl(['patch', name, '-n', NAMESPACE, '--type=merge', '-p', JSON.stringify(spoilt)]);
    await soon('the dashboard is as it was', async () => (await data()) === before);
    await plane.kubectl(['delete', name, '-n', NAMESPACE]);
    await soon('the dashboard is there again', async () => (await data()) === before);
    const wanted = JSON.stringify((await rule())?.spec);
    const none = { spec: { groups: [] } };
    await plane.kubectl([
      'patch',
      'prometheusrule/live-alerts',
      '-n',
      NAMESPACE,
      '--type=merge',
      '-p',
      JSON.stringify(none),
    ]);
    await soon('the alerts are as they were', async () => JSON.stringify((await rule())?.spec) === wanted);
  });

  it('are written once: what is as wanted is left alone', async () => {
    const mine = async () =>
      (await plane.audit.writes())
        .filter(({ user }) => user === OPERATOR_USER)
        .map(({ verb, resource, name }) => `${verb} ${resource} ${name}`)
        .filter((write) => /live-(dashboard|alerts)/.test(write));
    const change = async (type: string) => {
      await pushCluster({ monitoring, gateway: { service: { type } } });
      await soon('it is done', async () => (await get('service/live-gateway', '-o=jsonpath={.spec.type}')) === type);
    };
    // What was put back before is in the log when what came after it is done.
    await change('ClusterIP');
    const writes = await mine();
    for (const type of ['NodePort', 'ClusterIP']) await change(type);
    assert.deepEqual(await mine(), writes);
  });

  it('go when they are not wanted any more, and nothing else does', async () => {
    await pushCluster({ monitoring: { rules: { enabled: false }, dashboards: { enabled: false } } });
    await soon('the alerts are gone', async () => (await rule()) === undefined);
    await soon('the dashboards are gone', async () => (await made()).length === 0);
    assert.notEqual(await get('configmap/live-settings', '-o=name'), '');
  });
});
