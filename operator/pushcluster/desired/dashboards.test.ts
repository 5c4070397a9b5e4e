import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { dashboards } from './dashboards.ts';
import { clusterOf } from './fixture.ts';

const on = { monitoring: { dashboards: { enabled: true } } };
const Dashboard = z.looseObject({
  uid: z.string(),
  title: z.string(),
  tags: z.array(z.string()),
  links: z.array(z.looseObject({ tags: z.array(z.string()) })),
  panels: z.array(z.unknown()).min(5),
  templating: z.looseObject({
    list: z.array(z.looseObject({ name: z.string(), current: z.unknown().optional() })),
  }),
});
const filesOf = (cluster = clusterOf(on)) => dashboards(cluster).flatMap(({ data }) => Object.entries(data ?? {}));
const jsonOf = (cluster = clusterOf(on)) => filesOf(cluster).map(([, text]) => Dashboard.parse(JSON.parse(text)));

describe('dashboards of a PushCluster', () => {
  it('are none unless they are asked for', () => {
    assert.deepEqual(dashboards(clusterOf()), []);
  });

  it('are all that the chart has, a ConfigMap each, far below the 1 MiB that one may hold', () => {
    const folder = new URL('../../../charts/pushcluster/dashboards/', import.meta.url);
    assert.equal(dashboards(clusterOf(on)).length, readdirSync(folder).length);
    for (const [name, text] of filesOf()) assert.ok(text.length < 200_000, `${name}: ${text.length}`);
  });

  it('show this cluster when they are opened', () => {
    for (const { title, templating } of jsonOf()) {
      const chosen = (name: string) => templating.list.find((variable) => variable.name === name)?.current;
      assert.deepEqual(chosen('namespace'), { selected: true, text: ['shop'], value: ['shop'] }, title);
      assert.deepEqual(chosen('cluster'), { selected: true, text: ['live'], value: ['live'] }, title);
      assert.match(title, /^PushCluster shop\/live \/ \w/);
    }
  });

  it('have nothing left in them that is to be filled in', () => {
    for (const [name, text] of filesOf()) assert.doesNotMatch(text, /@[A-Z]+@/, name);
  });

  it("have the chart's panels, letter by letter", () => {
    const folder = new URL('../../../charts/pushcluster/dashboards/', import.meta.url);
    const panels = readdirSync(folder).map((file) => JSON.parse(readFileSync(new URL(file, folder), 'utf8')).panels);
    assert.deepEqual(
      jsonOf().map((dashboard) => dashboard.panels),
      panels,
    );
  });

  it('do not stand in the way of those of another cluster, in the same Grafana and the same folder', () => {
    const clusters = [
      ...[clusterOf(on), clusterOf(on, { name: 'b' }), clusterOf(on, { namespace: 'other' })],
      ...[clusterOf(on, { namespace: 'a-b', name: 'c' }), clusterOf(on, { namespace: 'a', name: 'b-c' })],
    ];
    const count = clusters.length * dashboards(clusterOf(on)).length;
    const all = clusters.flatMap((cluster) => jsonOf(cluster));
    assert.equal(new Set(clusters.flatMap((cluster) => filesOf(cluster).map(([name]) => name))).size, count);
    assert.equal(new Set(all.map(({ uid }) => uid)).size, count);
    assert.equal(new Set(all.map(({ title }) => title)).size, count);
    for (const { uid } of all) assert.match(uid, /^[a-z0-9-]{1,40}$/);
  });

  it('link to each other, and to nobody else', () => {
    for (const { tags, links } of jsonOf())
      for (const link of links) {
        assert.deepEqual(link.tags, ['pushcluster:shop/live']);
        assert.ok(tags.includes('pushcluster:shop/live'));
      }
  });

  it('carry the label that Grafana looks for, and what else is given, but for what the operator lives by', () => {
    const marks = { labels: { grafana_dashboard: 'live', team: 'a' }, annotations: { grafana_folder: 'Live' } };
    const of = (more: object) =>
      dashboards(clusterOf({ monitoring: { dashboards: { enabled: true, ...more } } })).map(({ metadata }) => metadata);
    for (const { labels } of of({})) assert.equal(labels.grafana_dashboard, '1');
    for (const { labels, annotations } of of(marks)) {
      assert.deepEqual([labels.grafana_dashboard, labels.team], ['live', 'a']);
      assert.equal(labels['pushcluster.dev/cluster'], 'live');
      assert.deepEqual(annotations, { grafana_folder: 'Live' });
    }
  });
});
