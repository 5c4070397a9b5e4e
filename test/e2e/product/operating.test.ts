import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { startDiscoveringPrometheus } from '../../harness/cluster/discoveringPrometheus.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { commandsIn, pasteFor } from '../../harness/cluster/pasted.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { queriesWithoutHistory } from '../../harness/dashboardQueries.ts';
import type { Prometheus } from '../../harness/prometheus.ts';
import { until } from '../../harness/until.ts';

const INTERVAL_SECONDS = 2;
const RATE_SECONDS = 10;
const ROOT = new URL('../../../', import.meta.url).pathname;

describe('docs/how-to/scale.md', () => {
  let cluster: OpenCluster;
  let prometheus: Prometheus;
  const began = Date.now() / 1_000;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    prometheus = await startDiscoveringPrometheus(cluster.kubectl, { interval: INTERVAL_SECONDS });
  });
  after(async () => {
    await cluster.kubectl(['delete', '-f', `${ROOT}/examples/minimal.yaml`, '--ignore-not-found']);
    await cluster.kubectl(['delete', 'pod', 'crowd', 'backend', '--now', '--ignore-not-found']);
    await prometheus?.stop();
    await cluster.close();
  });

  it('has an example of autoscaling that works as pasted: from two gateways to four, and back', async (t) => {
    await cluster.kubectl(['apply', '-f', `${ROOT}/examples/minimal.yaml`]);
    await cluster.kubectl(['wait', 'push/live', '--for=condition=Ready', '--timeout=2m']);
    const text = await readFile(`${ROOT}/docs/how-to/scale.md`, 'utf8');
    const [, section = ''] = /^## Autoscaling\n(.*?)^## /ms.exec(text) ?? [];
    const blocks = commandsIn(section);
    assert.equal(blocks.length, 3, 'the section has its commands');
    const { code, output } = await pasteFor(cluster, `set -eo pipefail\n${blocks.join('\n')}`, 500_000);
    t.diagnostic(output);
    assert.equal(code, 0, output);
    assert.match(output, /"kind":"MetricValueList"/);
    assert.match(output, /^live +True +Ready +4\/4 +[78]\d\d /m);
    assert.match(output, /^live +True +Ready +2\/2 +/m);
  });

  it('and every query of the dashboards shows it', async (t) => {
    const queries = queriesWithoutHistory(RATE_SECONDS);
    // People of this example only: those of other tests may be on their way out.
    const range = (expr: string) =>
      prometheus.range(expr.replaceAll('namespace=~".*"', 'namespace="default"'), {
        ...{ from: began, to: Date.now() / 1_000 },
        step: INTERVAL_SECONDS,
      });
    const silent: string[] = [];
    for (const { panel, expr } of queries) {
      const values = (await range(expr)).flatMap(({ points }) => points.map(({ value }) => value));
      if (!values.some(Number.isFinite)) silent.push(`${panel}: ${expr}`);
    }
    assert.deepEqual(silent, [], 'panels that show nothing of it');
    t.diagnostic(`${queries.length} queries`);

    /** What the panel of this name shows over time, of one series. */
    const shown = async (title: string, legend?: string) => {
      const { expr } = queries.find(({ panel }) => panel.startsWith(`PushCluster / ${title} / `))!;
      const series = (await range(expr)).filter(({ labels }) => !legend || Object.values(labels).includes(legend));
      assert.equal(series.length, 1, title);
      return series[0]!.points.map(({ value }) => value);
    };
    // The example's steps are 15 s apart, and a gateway settles for longer: the next drain may begin before one ends.
    // The page goes on when more than 700 are connected: the last ones may come too late to be seen.
    const expected: [title: string, legend: string | undefined, least: number, most: number][] = [
      ['Overview / Open connections', undefined, 701, 800],
      ['Overview / Gateways', undefined, 4, 4],
      ['Operator and rollouts / Gateways: desired, ready, draining', 'wanted', 4, 4],
      ['Operator and rollouts / Gateways: desired, ready, draining', 'ready', 4, 4],
      ['Operator and rollouts / Gateways: desired, ready, draining', 'draining', 1, 2],
    ];
    // The last drain may have just begun.
    await until(
      'two gateways are shown, and no drain',
      async () =>
        (await shown('Overview / Gateways')).at(-1) === 2 &&
        (await shown('Operator and rollouts / Gateways: desired, ready, draining', 'draining')).at(-1) === 0,
      300_000,
    );
    for (const [title, legend, least, most] of expected) {
      const values = await shown(title, legend);
      t.diagnostic(`${title} ${legend ?? ''}: ${values.filter((value, i) => value !== values[i - 1]).join(' ')}`);
      const top = Math.max(...values);
      assert.ok(top >= least && top <= most, `${title}: at most ${top}`);
      assert.ok(values.at(-1)! < top, `${title} falls again`);
    }
    const delivered = await shown('Overview / Deliveries per second');
    assert.ok(Math.max(...delivered.filter(Number.isFinite)) > 400, 'what the 800 are sent');
  });
});
