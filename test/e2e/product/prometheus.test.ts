import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { hastyRules } from '../../harness/alertRules.ts';
import { Audience } from '../../harness/cluster/audience.ts';
import { scraperMay, startDiscoveringPrometheus } from '../../harness/cluster/discoveringPrometheus.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { queriesWithoutHistory } from '../../harness/dashboardQueries.ts';
import type { Prometheus } from '../../harness/prometheus.ts';
import { until } from '../../harness/until.ts';

const INTERVAL_SECONDS = 2;
const RATE_SECONDS = 10;
const DEADLINE_MS = 240_000;

describe('Prometheus in the cluster', () => {
  let cluster: OpenCluster;
  let live: Live;
  let audience: Audience;
  let prometheus: Prometheus;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'observed', { gateway: { batching: { maxDelay: '200ms' } } });
    audience = new Audience(await live.address());
    await audience.come({ fans: 20, regulars: 40 });
    audience.write(live, 200);
    const options = { rules: hastyRules(RATE_SECONDS), interval: INTERVAL_SECONDS };
    prometheus = await startDiscoveringPrometheus(cluster.kubectl, options);
  });
  after(async () => {
    audience?.end();
    await prometheus?.stop();
    await live?.end();
    await cluster?.close();
  });

  async function value(expr: string): Promise<number | undefined> {
    return (await prometheus.query(expr))[0]?.points[0]?.value;
  }
  const of = 'namespace="observed",pushcluster_dev_cluster="live"';

  it('finds every pod by the documented configuration, and no other', async () => {
    const pods = [...(await live.pods('gateway')), ...(await live.pods('logic'))].map(({ name }) => name);
    const found = () => prometheus.labelValues('pod', `up{${of}}`);
    await until('all pods are scraped', async () => (await found()).length >= pods.length, DEADLINE_MS);
    assert.deepEqual(await found(), pods.sort());
    const operators = () => prometheus.labelValues('pod', 'pushcluster_operator_leader');
    await until('both operators are scraped', async () => (await operators()).length === 2, DEADLINE_MS);
    const others = await prometheus.labelValues('job', 'up{app_kubernetes_io_component="nats"}');
    assert.deepEqual(others, [], 'NATS has no metrics');
  });

  it('may see pods by the documented rights, and nothing else', async () => {
    for (const verb of ['get', 'list', 'watch']) assert.equal(await scraperMay(cluster.kubectl, verb, 'pods'), true);
    assert.equal(await scraperMay(cluster.kubectl, 'delete', 'pods'), false);
    assert.equal(await scraperMay(cluster.kubectl, 'list', 'secrets'), false);
    assert.equal(await scraperMay(cluster.kubectl, 'list', 'pushclusters', 'pushcluster.dev'), false);
  });

  it('has an answer to every query of the dashboards, under load', async (t) => {
    const queries = queriesWithoutHistory(RATE_SECONDS);
    let unanswered: string[] = [];
    let n = 0;
    await until(
      'every query has an answer',
      async () => {
        // The operator has something to do, so that there is a time that it takes.
        await live.patch({ gateway: { rooms: { maxPerConnection: 50 + (n++ % 2) } } });
        unanswered = [];
        for (const { panel, expr } of queries) {
          const series = await prometheus.query(expr);
          const answered = series.some(({ points }) => Number.isFinite(points[0]?.value));
          if (!answered) unanswered.push(`${panel}: ${expr}`);
        }
        return unanswered.length === 0;
      },
      DEADLINE_MS,
    ).catch((error: Error) => {
      throw new Error(`${error.message}:\n${unanswered.join('\n')}`);
    });
    t.diagnostic(`${queries.length} queries`);
  });

  it('shows people come, and gateways scaled', async () => {
    const connections = `sum(pushcluster_gateway_connections{${of}})`;
    await until('all are counted', async () => (await value(connections)) === 60, DEADLINE_MS);
    await audience.come({ regulars: 40 });
    await until('more are counted', async () => (await value(connections)) === 100, DEADLINE_MS);
    await live.patch({ gateway: { replicas: 3 } });
    await live.whenReady(DEADLINE_MS);
    await until(
      'a third gateway is scraped',
      async () => (await value(`count(up{${of}} * on (pod) pushcluster_gateway_draining)`)) === 3,
      DEADLINE_MS,
    );
    const wanted = 'max(pushcluster_operator_cluster_gateways{cluster_namespace="observed",state="wanted"})';
    await until('it is wanted', async () => (await value(wanted)) === 3, DEADLINE_MS);
  });

  it('fires an alert when a cluster stops to serve, and takes it back', async () => {
    const firing = async () =>
      (await prometheus.alerts()).some(
        ({ name, state, labels }) =>
          name === 'PushClusterUnavailable' && state === 'firing' && labels.cluster_namespace === 'observed',
      );
    await until('it does not fire', async () => !(await firing()), DEADLINE_MS);
    // Nobody who pushes would be answered.
    await audience.quiet();
    await live.patch({ logic: { replicas: 0 } });
    await until('the alert fires', firing, DEADLINE_MS);
    await live.patch({ logic: { replicas: 2 } });
    await until('the alert is taken back', async () => !(await firing()), DEADLINE_MS);
  });
});
