import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { z } from 'zod';
import { alertRules } from '../harness/alertRules.ts';
import { type Helm, helmWith } from '../harness/cluster/helm.ts';
import { CHART, REGISTRY } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';

const run = promisify(execFile);
const KINDS = ['PrometheusRule', 'ServiceMonitor'].map((kind) => `monitoring.coreos.com/v1/${kind}`);
const Made = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().optional(),
    labels: z.record(z.string(), z.string()).default({}),
    annotations: z.record(z.string(), z.string()).default({}),
  }),
  data: z.record(z.string(), z.string()).optional(),
  spec: z.looseObject({}).optional(),
});
type Made = z.infer<typeof Made>;

describe('what the chart brings for Prometheus and Grafana', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-chart-'));
  let helm: Helm;
  before(async () => {
    helm = helmWith((await kubeTools('control-plane'))('helm'));
  });
  after(() => rmSync(folder, { recursive: true }));

  async function made(monitoring: object = {}, kinds: readonly string[] = []): Promise<Made[]> {
    const args = ['template', 'push', CHART, '-n', 'push-system', '-f', '-'];
    const text = await helm(
      [...args, ...kinds.map((kind) => `--api-versions=${kind}`)],
      JSON.stringify({ images: { registry: REGISTRY }, monitoring }),
    );
    return parseAllDocuments(text).map((document) => {
      // Such as a key that is there twice.
      assert.deepEqual(document.errors, []);
      return Made.parse(document.toJS());
    });
  }
  const ofKind = (objects: readonly Made[], kind: string) => objects.filter((each) => each.kind === kind);
  const dashboards = (objects: readonly Made[]) =>
    objects.filter(({ metadata }) => metadata.labels['app.kubernetes.io/component'] === 'dashboards');

  async function promtool(rules: unknown): Promise<string> {
    const file = join(folder, 'rules.yaml');
    writeFileSync(file, typeof rules === 'string' ? rules : stringify(rules));
    return (await run('promtool', ['check', 'rules', file])).stdout;
  }

  it('has a ConfigMap for each dashboard, as it is in the folder, with the label that Grafana looks for', async () => {
    const maps = dashboards(await made());
    const files = readdirSync(join(CHART, 'dashboards'));
    assert.equal(maps.length, files.length);
    for (const name of files) {
      const map = maps.find(({ data }) => data?.[`pushcluster-${name}`] !== undefined);
      assert.deepEqual(
        JSON.parse(map?.data?.[`pushcluster-${name}`] ?? ''),
        JSON.parse(readFileSync(join(CHART, 'dashboards', name), 'utf8')),
      );
      assert.equal(map?.metadata.labels.grafana_dashboard, '1');
      assert.equal(map?.metadata.namespace, 'push-system');
    }
  });

  it('puts dashboards where and as the values say, or nowhere', async () => {
    const folderOf = { grafana_folder: 'PushCluster' };
    const [map] = dashboards(await made({ dashboards: { namespace: 'grafana', annotations: folderOf } }));
    assert.equal(map?.metadata.namespace, 'grafana');
    assert.deepEqual(map?.metadata.annotations, folderOf);
    assert.deepEqual(dashboards(await made({ dashboards: { enabled: false } })), []);
  });

  it('makes a PrometheusRule and a ServiceMonitor only where these kinds are', async () => {
    const without = await made();
    for (const kind of ['PrometheusRule', 'ServiceMonitor']) assert.deepEqual(ofKind(without, kind), []);
    const having = await made({}, KINDS);
    const [rule] = ofKind(having, 'PrometheusRule');
    assert.match(await promtool(rule?.spec), new RegExp(`SUCCESS: ${alertRules().length} rules found`));
    const [monitor] = ofKind(having, 'ServiceMonitor');
    // It finds the operator's Service, by a port that this one alone has.
    const selected = z
      .object({
        selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
        endpoints: z.array(z.object({ port: z.string() })),
      })
      .parse(monitor?.spec);
    const Service = z.object({ ports: z.array(z.object({ name: z.string() })) });
    const found = ofKind(having, 'Service').filter(
      ({ metadata, spec }) =>
        Object.entries(selected.selector.matchLabels).every(([name, value]) => metadata.labels[name] === value) &&
        Service.parse(spec).ports.some(({ name }) => name === selected.endpoints[0]?.port),
    );
    assert.deepEqual(
      found.map(({ metadata }) => metadata.name),
      ['push-pushcluster-operator-metrics'],
    );
    const off = await made({ rules: { enabled: false }, serviceMonitor: { enabled: false } }, KINDS);
    for (const kind of ['PrometheusRule', 'ServiceMonitor']) assert.deepEqual(ofKind(off, kind), []);
  });

  it('has every label once: one that the values give too is as they say', async () => {
    const labels = { 'app.kubernetes.io/part-of': 'kube-prometheus', team: 'a' };
    const on = { enabled: true, labels };
    const objects = await made({ dashboards: on, rules: { ...on, configMap: true }, serviceMonitor: on }, KINDS);
    const labelled = objects.filter(({ metadata }) => metadata.labels.team === 'a');
    assert.equal(labelled.length, readdirSync(join(CHART, 'dashboards')).length + 3);
    for (const { metadata } of labelled) {
      assert.equal(metadata.labels['app.kubernetes.io/part-of'], 'kube-prometheus');
      assert.equal(metadata.labels['app.kubernetes.io/managed-by'], 'Helm');
    }
  });

  it('makes a rules file for a Prometheus without its operator, with line rate and runbook as set', async () => {
    const rules = { configMap: true, lineRate: 25, runbook: 'https://runbooks.example.com/push' };
    const map = (await made({ rules })).find(({ data }) => data?.['pushcluster.yaml'] !== undefined);
    const text = map?.data?.['pushcluster.yaml'] ?? '';
    assert.match(await promtool(text), /SUCCESS/);
    assert.ok(text.includes('> 0.8 * 3.125e+09'), 'a quarter of 100 Gbit/s, in bytes');
    assert.ok(text.includes('runbook_url: https://runbooks.example.com/push#pushclusterbusaway'));
    assert.ok(!text.includes('docs/how-to/runbook.md#'));
    // Without a runbook it is the file that is tested, but for the links: a pager can open URLs only.
    const plain = (await made({ rules: { configMap: true } })).find(({ data }) => data?.['pushcluster.yaml']);
    const tested = readFileSync(join(CHART, 'rules', 'pushcluster.yaml'), 'utf8');
    assert.deepEqual(
      parse(plain?.data?.['pushcluster.yaml'] ?? ''),
      parse(tested.replaceAll('runbook_url: docs/', 'runbook: docs/')),
    );
  });
});
