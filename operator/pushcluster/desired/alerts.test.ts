import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { alerts } from './alerts.ts';
import { clusterOf } from './fixture.ts';

const Rules = z.object({ groups: z.array(z.object({ rules: z.array(z.looseObject({ alert: z.string() })) })) });
const rulesOf = (more: object = {}) =>
  alerts(clusterOf({ monitoring: { rules: { enabled: true, ...more } } })).flatMap(({ spec }) =>
    spec.groups.flatMap(({ rules }) => rules),
  );

describe('alerts of a PushCluster', () => {
  it('are none unless they are asked for', () => {
    assert.deepEqual(alerts(clusterOf()), []);
  });

  it("are the chart's, but for those about the operator itself", () => {
    const file = new URL('../../../charts/pushcluster/rules/pushcluster.yaml', import.meta.url);
    const all = Rules.parse(parse(readFileSync(file, 'utf8'))).groups.flatMap(({ rules }) => rules);
    const mine = new Set(rulesOf().map(({ alert }) => alert));
    assert.deepEqual(
      all.map(({ alert }) => alert).filter((alert) => !mine.has(alert)),
      ['PushClusterOperatorWithoutLeader', 'PushClusterWatchesFail', 'PushClusterReconcilesFail'],
    );
  });

  it('ask about this cluster alone, wherever they ask', () => {
    for (const { alert, expr } of rulesOf()) {
      // Every metric that is named stands before the cluster's labels.
      const named = expr.match(/\b(up|pushcluster_(?!dev_cluster)\w+)\b/g) ?? [];
      const chosen = expr.match(
        /\{(namespace="shop",pushcluster_dev_cluster="live"|cluster_namespace="shop",cluster_name="live")[,}]/g,
      );
      assert.ok(named.length > 0, alert);
      assert.equal(chosen?.length, named.length, `${alert}: ${expr}`);
    }
  });

  it('go by the line rate and name the runbook as they are set', () => {
    const wire = (more: object) => rulesOf(more).find(({ alert }) => alert === 'PushClusterWireNearlyFull');
    assert.match(wire({})?.expr ?? '', /> 0\.8 \* 1250000000$/);
    assert.match(wire({ lineRate: 25 })?.expr ?? '', /> 0\.8 \* 3125000000$/);
    assert.equal(wire({})?.annotations.runbook_url, undefined, 'a pager can open URLs only');
    assert.equal(wire({})?.annotations.runbook, 'docs/how-to/runbook.md#pushclusterwirenearlyfull');
    const runbook = "https://runbooks.example.com/$&'";
    assert.equal(wire({ runbook })?.annotations.runbook_url, `${runbook}#pushclusterwirenearlyfull`);
    const [byDefault] = alerts(
      clusterOf({ monitoring: { rules: { enabled: true } } }),
      'https://docs.example.com/runbook',
    );
    assert.match(
      JSON.stringify(byDefault),
      /"runbook_url":"https:\/\/docs\.example\.com\/runbook#pushclusterdegraded"/,
    );
  });

  it('carry the labels that Prometheus chooses by, but for what the operator lives by', () => {
    const [rule] = alerts(clusterOf({ monitoring: { rules: { enabled: true, labels: { release: 'prometheus' } } } }));
    assert.equal(rule?.metadata.labels.release, 'prometheus');
    assert.equal(rule?.metadata.labels['pushcluster.dev/cluster'], 'live');
  });

  it('are made in a group that no other cluster has', () => {
    assert.deepEqual(
      alerts(clusterOf({ monitoring: { rules: { enabled: true } } })).map(({ spec }) => spec.groups.map((g) => g.name)),
      [['pushcluster.shop.live']],
    );
  });
});
