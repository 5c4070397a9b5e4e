import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { BYTES_METRIC, CONNECTIONS_METRIC } from '@pushcluster/operator/metricsApi/api.ts';
import { alertRules, hastyRules } from '../harness/alertRules.ts';
import { adapterQueries, kedaQueries } from '../harness/autoscalerQueries.ts';
import { asked, type Dashboard, dashboards, panelQueries } from '../harness/dashboardQueries.ts';
import { type Exported, metricsOf, metricsPage, metricsUsed } from '../harness/metricsReference.ts';
import { CLUSTER, NAMESPACE, ObservedCluster } from '../harness/observedCluster.ts';
import { panelPicture } from '../harness/panelPicture.ts';
import type { Series } from '../harness/prometheus.ts';
import { until } from '../harness/until.ts';

/** Of rates, seconds: four scrapes, and the second that a shard's report takes. */
const RATE_SECONDS = 6;
/** Share by which a value must differ to be another. */
const DIFFERENCE = 0.001;

/** Queries that show trouble: a calm and a busy cluster alike have none of it. */
const TROUBLE = [
  'Overview / Bus / A',
  'Overview / Gateways / A',
  'Overview / Gaps / A',
  'Overview / Failed pushes / A',
  'Gateway / Draining / A',
  'Gateway / Lost on the bus / A',
  'Gateway / Lost on the bus / B',
  'Gateway / Shard restarts and overruns / A',
  'Gateway / Settings generation / A',
  'Gateway / Rejected settings / A',
  'Logic and bus / Gateways known to logic / A',
  'Logic and bus / Ignored messages, rejected connections / A',
  'Logic and bus / Connected / A',
  'Logic and bus / Reconnects / A',
  'Logic and bus / Known peers of gateways / A',
  'Logic and bus / Invalid messages / A',
  'Operator and rollouts / Conditions / A',
  'Operator and rollouts / Degraded / A',
  'Operator and rollouts / Gateways: desired, ready, draining / A',
  'Operator and rollouts / Drains: connections left / A',
  'Operator and rollouts / Connections moved / A',
  'Operator and rollouts / Settings generations / A',
  'Operator and rollouts / Settings generations / B',
  'Operator and rollouts / PushClusters / A',
  'Operator and rollouts / Reconcile duration / A',
  'Operator and rollouts / Reconcile duration / B',
].map((name) => `PushCluster / ${name}`);

/** Queries that nothing here changes, and why: they are there, and numbers. */
const STEADY = Object.fromEntries(
  Object.entries({
    'Gateway / CPU budget of frames / A': 'takes a gateway that has too much work',
    'Gateway / Frames from clients / C': 'takes a client that asks and does not read',
    'Gateway / Frames from clients / D': 'takes readers for whom more waits than the budget of a shard',
    'Gateway / Retries dropped / B': 'takes 100,000 ids in two minutes',
    'Gateway / Shard restarts and overruns / B': 'takes a shard that stands still before a full queue',
    'Gateway / Repairs by cause / A': 'takes a bus that loses messages of rooms with history',
    'Gateway / Resumes by outcome / A': 'takes clients that come back to rooms with history',
    'Gateway / Interrupted histories / A': 'takes a history that is made anew',
    'Logic and bus / Storing: waiting messages / A': 'of a moment between two scrapes',
    'Logic and bus / Storing: retries / A': 'takes a store that does not answer',
    'Logic and bus / Storing: retries / B': 'takes a store that does not answer',
    'Logic and bus / Waiting for the bus / A': 'of a moment between two scrapes',
    'Logic and bus / Pending gateway queries / A': 'of a moment between two scrapes',
    'Logic and bus / Ignored messages, rejected connections / B': 'takes more connections than logic may have',
    'Operator and rollouts / Leaders / A': 'one, throughout',
    'Operator and rollouts / Work queue / A': 'of a moment between two scrapes',
    'Operator and rollouts / Failed watches / A': 'takes an API server in trouble',
  }).map(([name, why]) => [`PushCluster / ${name}`, why]),
);

const CLUSTER_ALERTS = ['PushClusterUnavailable', 'PushClusterDegraded'];
const BUS_ALERTS = ['PushClusterBusAway', 'PushClusterPushesFail'];

let cluster: ObservedCluster;
/** Ends of the phases, seconds of Unix time. */
let idle = 0;
let calm = 0;
let busy = 0;
let over = 0;
/** What each role exports. */
let exported: Exported;
/** Alerts that fired: before the bus went, while it was away, after it came back. */
const fired: Record<'before' | 'away' | 'after', string[]> = { before: [], away: [], after: [] };

before(async () => {
  cluster = await ObservedCluster.start(hastyRules(RATE_SECONDS));
  await cluster.idle();
  idle = await counted();
  await cluster.calm();
  calm = await counted();
  await cluster.busy();
  busy = await counted(calm);
  await cluster.trouble();
  await phase();
  fired.before = await firing('a degraded cluster that does not serve is told', (alerts) =>
    CLUSTER_ALERTS.every((alert) => alerts.includes(alert)),
  );
  exported = await cluster.exported();
  await cluster.nats.kill();
  fired.away = await firing('the bus is told to be away, and pushes to fail', (alerts) =>
    BUS_ALERTS.every((alert) => alerts.includes(alert)),
  );
  await cluster.nats.restart();
  fired.after = await firing('the bus is told to be back, and pushes to succeed', (alerts) =>
    BUS_ALERTS.every((alert) => !alerts.includes(alert)),
  );
  await cluster.leave();
  await until('the others forget the gateway that left', async () => {
    const [series] = await cluster.prometheus.query(
      'pushcluster_logic_known_gateways + on () min(pushcluster_gateway_peers)',
    );
    return series?.points[0]?.value === 1;
  });
  // A step of a range more: the last one must see the last scrape.
  over = Date.now() / 1_000 + 1;
});
after(() => cluster?.stop());

describe('every query of the dashboards, asked of Prometheus', () => {
  const all = dashboards().flatMap((dashboard) => panelQueries(dashboard, RATE_SECONDS));
  for (const { panel, expr } of all)
    it(panel, async () => {
      const [quiet, loaded] = [await at(expr, calm), await at(expr, busy)];
      for (const [phase, series] of Object.entries({ calm: quiet, busy: loaded })) {
        assert.ok(series.length > 0, `nothing where it is ${phase}: ${expr}`);
        for (const { points, labels } of series)
          assert.ok(Number.isFinite(points[0]?.value), `${points[0]?.value} of ${JSON.stringify(labels)}: ${expr}`);
      }
      if (panel in STEADY) return;
      const from = TROUBLE.includes(panel) ? busy : isOfBuckets(expr) ? idle : undefined;
      const later = from === undefined ? loaded : await cluster.prometheus.range(expr, { from, to: over, step: 1 });
      assert.ok(differs(quiet, later), `the same all the time: ${JSON.stringify(quiet)} ${expr}`);
    });

  for (const { panel, expr } of all)
    it(`${panel}: a number also where nobody is connected and nothing is pushed`, async () => {
      const series = await at(expr, idle);
      assert.ok(series.length > 0, `nothing: ${expr}`);
      for (const { points, labels } of series)
        assert.ok(Number.isFinite(points[0]?.value), `${points[0]?.value} of ${JSON.stringify(labels)}: ${expr}`);
    });

  it('none is excused that is not there', () => {
    const names = new Set(all.map(({ panel }) => panel));
    for (const name of [...TROUBLE, ...Object.keys(STEADY)]) assert.ok(names.has(name), name);
  });
});

describe('what autoscalers ask Prometheus', () => {
  const here = { namespace: NAMESPACE, name: CLUSTER };
  it("by the chart's rules for prometheus-adapter: a value for each gateway, which grows with the load", async () => {
    const queries = adapterQueries(here);
    assert.deepEqual([...queries.keys()], [CONNECTIONS_METRIC, BYTES_METRIC]);
    for (const expr of queries.values()) {
      const [quiet, loaded] = [await at(expr, calm), await at(expr, busy)];
      assert.deepEqual(
        loaded.map(({ labels }) => labels.pod).sort(),
        [`${CLUSTER}-gateway-0`, `${CLUSTER}-gateway-1`],
        expr,
      );
      assert.ok(sum(loaded) > sum(quiet), expr);
    }
  });

  it("by a ScaledObject of KEDA: the cluster's sum, which grows with the load", async () => {
    const queries = kedaQueries(here);
    assert.equal(queries.length, 2);
    for (const expr of queries) {
      const [quiet, loaded] = [await at(expr, calm), await at(expr, busy)];
      assert.equal(loaded.length, 1, expr);
      assert.ok(sum(loaded) > sum(quiet), expr);
    }
  });

  function sum(series: readonly Series[]): number {
    return series.reduce((all, { points }) => all + (points[0]?.value ?? Number.NaN), 0);
  }
});

describe('the pictures for the docs', () => {
  for (const dashboard of dashboards())
    it(`${dashboard.title}: each panel can be drawn from what was found`, async () => {
      const span = { from: calm, to: over };
      for (const panel of dashboard.panels.filter(({ type }) => type !== 'row')) {
        const found = await Promise.all(
          panel.targets.map(async ({ expr, legendFormat }) => ({
            legend: legendFormat,
            series: await cluster.prometheus.range(asked(expr, RATE_SECONDS), { ...span, step: 2 }),
          })),
        );
        const picture = panelPicture(panel, found, span, { width: 400, height: 240 });
        assert.ok(picture.includes(panel.title.replaceAll('&', '&amp;')));
        // Names of series are whole, or are not there.
        assert.doesNotMatch(picture, /NaN|undefined|Infinity|…/, panel.title);
        if (panel.type === 'timeseries') assert.match(picture, /<path d="M[\d.]+,[\d.]+L/, panel.title);
      }
    });
});

describe('the metrics', () => {
  it('are documented as they are exported', () => {
    const { is, should } = metricsPage(exported);
    assert.equal(is, should, 'make docs/reference/metrics.md anew: node test/metricsReference.ts');
  });

  it('that dashboards and alerts use are exported', () => {
    const known = new Set(
      Object.values(exported)
        .flatMap(metricsOf)
        .flatMap(({ name, type }) =>
          type === 'histogram' ? ['_bucket', '_sum', '_count'].map((suffix) => name + suffix) : [name],
        ),
    );
    const texts = [
      ...dashboards().map((dashboard) => JSON.stringify(dashboard)),
      ...alertRules().map(({ expr }) => expr),
    ];
    for (const name of texts.flatMap(metricsUsed)) assert.ok(known.has(name), `nobody exports ${name}`);
  });

  it('are named and described as promtool wants it', async () => {
    for (const text of Object.values(exported)) assert.equal(await lint(text), '');
  });
});

describe('what dashboards have beside panels', () => {
  for (const dashboard of dashboards()) {
    for (const { name, expr } of dashboard.annotations.list)
      it(`${dashboard.title}: "${name}" is nothing while it is calm, and marks when it happens`, async () => {
        const query = asked(expr, RATE_SECONDS);
        assert.deepEqual(await at(query, busy), []);
        assert.notDeepEqual(await cluster.prometheus.range(query, { from: busy, to: over, step: 1 }), []);
      });

    it(`${dashboard.title}: its variables find something to choose`, async () => {
      const found = await choices(dashboard);
      assert.deepEqual(found.namespace, ['shop']);
      assert.deepEqual(found.cluster, ['live']);
      if ('pod' in found) assert.deepEqual(found.pod, ['live-gateway-0', 'live-gateway-1']);
    });
  }
});

describe('the alerts in a real Prometheus, with minutes made seconds', () => {
  for (const { alert, expr } of alertRules())
    it(`${alert} looks at something that is there`, async () => {
      // No PushCluster has an autoscaler here: another condition stands for what that one says.
      const asked = comparedOf(expr).replaceAll('condition="Autoscaling"', 'condition="Degraded"');
      const series = await at(asked.replaceAll('[5m]', '[6s]').replaceAll('[10m]', '[6s]'), busy);
      assert.ok(series.length > 0, comparedOf(expr));
      for (const { points } of series) assert.ok(Number.isFinite(points[0]?.value), comparedOf(expr));
    });

  it('tell that the bus is away and pushes fail, while it is so and not else', () => {
    for (const alert of BUS_ALERTS) {
      assert.ok(!fired.before.includes(alert), `before: ${fired.before}`);
      assert.ok(fired.away.includes(alert), `while away: ${fired.away}`);
      assert.ok(!fired.after.includes(alert), `after: ${fired.after}`);
    }
  });

  it('tell of clusters that do not serve, and that are degraded', () => {
    for (const alert of CLUSTER_ALERTS) assert.ok(fired.before.includes(alert), `${fired.before}`);
  });

  it('tell of nothing that is not so', () => {
    const untrue = [
      'OperatorWithoutLeader',
      'ReconcilesFail',
      'DrainHangs',
      'WireNearlyFull',
      'NotScraped',
      'ShardsDie',
    ];
    for (const name of untrue)
      for (const when of Object.values(fired)) assert.ok(!when.includes(`PushCluster${name}`), `${when}`);
  });
});

/** What promtool says against our own metrics. */
function lint(text: string): Promise<string> {
  const own = text.split('\n').filter((line) => /^(# (HELP|TYPE) )?pushcluster_/.test(line));
  return new Promise((resolve, reject) => {
    const child = execFile('promtool', ['check', 'metrics'], (_error, stdout, stderr) => resolve(stdout + stderr));
    child.once('error', reject);
    child.stdin?.end(`${own.join('\n')}\n`);
  });
}

/** Waits until rates know of nothing that was before. */
async function phase(): Promise<void> {
  const end = performance.now() + 1_000 * (RATE_SECONDS + 3);
  await until('the phase is over', () => performance.now() > end);
}

/** How long something takes may be the same bucket's in two moments, however busy it is in one of them. */
function isOfBuckets(expr: string): boolean {
  return expr.includes('histogram_quantile');
}

/**
 * The same, and until something of everything has happened lately, which a busy machine puts off; returns the time.
 * @param former a time when what the load changes had other values
 */
async function counted(former?: number): Promise<number> {
  await phase();
  const all = dashboards().flatMap((dashboard) => panelQueries(dashboard, RATE_SECONDS));
  const loaded = all.filter(({ panel, expr }) => !(panel in STEADY || TROUBLE.includes(panel) || isOfBuckets(expr)));
  let time = 0;
  const isOther = async ({ expr }: { expr: string }, former: number) =>
    differs(await at(expr, former), await at(expr, time));
  const isNumber = async ({ expr }: { expr: string }) => {
    const series = await at(expr, time);
    return series.length > 0 && series.every(({ points }) => Number.isFinite(points[0]?.value));
  };
  await until('every query has numbers', async () => {
    time = Date.now() / 1_000;
    for (const query of all) if (!(await isNumber(query))) return false;
    if (former !== undefined) for (const query of loaded) if (!(await isOther(query, former))) return false;
    return true;
  }).catch(() => {
    // Each query's own test says which has none.
  });
  return time;
}

function at(expr: string, time: number): Promise<Series[]> {
  return cluster.prometheus.query(expr, time);
}

/** Waits until the alerts that fire are as wanted; returns these. */
async function firing(what: string, isWanted: (alerts: readonly string[]) => boolean): Promise<string[]> {
  let now: string[] = [];
  await until(what, async () => {
    const alerts = await cluster.prometheus.alerts();
    now = alerts.filter(({ state }) => state === 'firing').map(({ name }) => name);
    return isWanted(now);
  });
  return now;
}

/** Whether a series of `after` is new, or has a value other than in `before`. */
function differs(before: readonly Series[], after: readonly Series[]): boolean {
  const key = ({ labels }: Series) => JSON.stringify(Object.entries(labels).sort());
  const were = new Map(before.map((series) => [key(series), series.points[0]?.value]));
  return after.some((series) => {
    const was = were.get(key(series));
    return was === undefined || series.points.some(({ value }) => Math.abs(value - was) > DIFFERENCE * Math.abs(was));
  });
}

/** What an alert's expression compares: an alert that is quiet has no series itself. */
function comparedOf(expr: string): string {
  const inner = /^absent\((.*)\)$/s.exec(expr)?.[1] ?? expr;
  const comparison = [...inner.matchAll(/ (==|>|<) /g)].at(-1);
  assert.ok(comparison, `${expr} compares nothing`);
  return inner.slice(0, comparison.index);
}

/** What each variable of a dashboard would offer. */
async function choices({ templating }: Dashboard): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {};
  for (const { name, type, query } of templating.list) {
    if (type !== 'query' || typeof query === 'string') continue;
    const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(query.query) ?? [];
    found[name] = await cluster.prometheus.labelValues(label, asked(selector, RATE_SECONDS));
  }
  return found;
}
