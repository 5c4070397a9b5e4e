import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { alerts as alertsOf } from '@pushcluster/operator/pushcluster/desired/alerts.ts';
import { stringify } from 'yaml';
import { alertRules, RULES_FILE } from '../harness/alertRules.ts';

const run = promisify(execFile);
const RUNBOOK = join(import.meta.dirname, '../../docs/how-to/runbook.md');
const OF_POD = 'namespace="shop",pushcluster_dev_cluster="live",pod="live-gateway-1"';
const OF_LOGIC = 'namespace="shop",pushcluster_dev_cluster="live",pod="live-logic-1"';
const WAITING = `pushcluster_logic_history_waiting_messages{${OF_LOGIC}}`;
const onBus = (component: string, number: number) =>
  `pushcluster_bus_connected{namespace="shop",pushcluster_dev_cluster="live",app_kubernetes_io_component="${component}",pod="live-${component}-${number}"}`;

/** Series as promtool writes them: value, growth and count of samples, one a minute. */
type Series = Record<string, string>;
type Case = {
  /** Series under which it fires. */
  firing: Series;
  /** The nearest to it that is all right. */
  quiet: Series;
  /** When it is looked at. */
  at: string;
  labels?: Record<string, string>;
  summary: string;
};

const pod = { namespace: 'shop', pushcluster_dev_cluster: 'live', pod: 'live-gateway-1' };
const live = { namespace: 'shop', pushcluster_dev_cluster: 'live' };
const named = { cluster_namespace: 'shop', cluster_name: 'live' };
const ofCluster = (name: string) => `cluster_namespace="shop",cluster_name="${name}"`;
const condition = (type: string, name = 'live') =>
  `pushcluster_operator_cluster_condition{${ofCluster(name)},condition="${type}"}`;
const wanted = (name: string) => `pushcluster_operator_cluster_gateways{${ofCluster(name)},state="wanted"}`;
const limited = (name: string) => `pushcluster_operator_cluster_autoscaler_limited{${ofCluster(name)}}`;
const OF_OPERATOR = 'namespace="push-system",job="operator"';
const failing = (pod: string) => `pushcluster_operator_clusters_failing{${OF_OPERATOR},pod="${pod}"}`;
const watches = (pod: string, namespace: string) =>
  `pushcluster_operator_watches_failing{${OF_OPERATOR},pod="${pod}",watched_namespace="${namespace}"}`;
const leader = (namespace: string, pod: string) =>
  `pushcluster_operator_leader{namespace="${namespace}",job="operator",pod="${pod}"}`;
const gateway = (name: string, more = '') => `pushcluster_gateway_${name}{${OF_POD}${more}}`;
const certificate = (what: string, use: string, pod: string) =>
  `pushcluster_certificate_${what}_seconds{namespace="shop",pushcluster_dev_cluster="live",pod="${pod}",use="${use}"}`;
const natsCertificate = (what: string, name: string) =>
  `pushcluster_operator_cluster_nats_certificate_${what}_seconds{${ofCluster(name)}}`;
const historyBytes = (match: string, pod: number) =>
  `pushcluster_logic_history_bytes{namespace="shop",pushcluster_dev_cluster="live",pod="live-logic-${pod}",match="${match}"}`;
const storable = (name: string) => `pushcluster_operator_cluster_jetstream_bytes{${ofCluster(name)}}`;
const requests = (code: number) => `pushcluster_logic_push_requests_total{${OF_LOGIC},target="room",code="${code}"}`;
const reconciles = (outcome: string) => `pushcluster_operator_reconcile_total{pod="operator-1",outcome="${outcome}"}`;

const CASES: Record<string, Case> = {
  PushClusterUnavailable: {
    firing: { [condition('Available')]: '1 0x10', [wanted('live')]: '2x11' },
    // A moment without a gateway is not one to be woken up for; nor is one that isn't ready, but serves; nor is what
    // somebody has switched off.
    quiet: {
      [condition('Available')]: '1 0 1x10',
      [condition('Ready')]: '0x10',
      [wanted('live')]: '2x11',
      [condition('Available', 'off')]: '0x11',
      [wanted('off')]: '0x11',
    },
    at: '4m',
    labels: named,
    summary: 'PushCluster shop/live is unavailable.',
  },
  PushClusterHandshakesRefused: {
    firing: {
      [gateway('refused_total', ',reason="full"')]: '0+10x20',
      [gateway('refused_total', ',reason="memory"')]: '0+10x20',
      [gateway('connections_opened_total')]: '0+60x20',
    },
    // Who comes with a bad token is turned away as often as they like.
    quiet: {
      [gateway('refused_total', ',reason="full"')]: '0+5x20',
      [gateway('refused_total', ',reason="token"')]: '0+1000x20',
      [gateway('connections_opened_total')]: '0+60x20',
    },
    at: '12m',
    labels: live,
    summary: 'shop/live rejects 25% of new connections.',
  },
  PushClusterPushesFail: {
    firing: { [requests(202)]: '0+90x20', [requests(503)]: '0+10x20' },
    quiet: { [requests(202)]: '0+999x20', [requests(503)]: '0+1x20', [requests(403)]: '0+500x20' },
    at: '12m',
    labels: live,
    summary: 'shop/live fails 10% of pushes with status 5xx.',
  },
  PushClusterLatencyHigh: {
    firing: {
      [gateway('delivery_latency_seconds_bucket', ',le="3"')]: '0+950x30',
      [gateway('delivery_latency_seconds_bucket', ',le="+Inf"')]: '0+1000x30',
    },
    quiet: {
      [gateway('delivery_latency_seconds_bucket', ',le="3"')]: '0+995x30',
      [gateway('delivery_latency_seconds_bucket', ',le="+Inf"')]: '0+1000x30',
    },
    at: '20m',
    labels: live,
    summary: 'shop/live delivers 5% of all items after more than 3 s.',
  },
  PushClusterItemsDropped: {
    firing: {
      [gateway('messages_dropped_total', ',reason="slow"')]: '0+100x40',
      [gateway('messages_delivered_total')]: '0+900x40',
    },
    // What a policy drops is as somebody wanted it.
    quiet: {
      [gateway('messages_dropped_total', ',reason="slow"')]: '0+10x40',
      [gateway('messages_dropped_total', ',reason="overload"')]: '0+5000x40',
      [gateway('messages_delivered_total')]: '0+900x40',
    },
    at: '30m',
    labels: live,
    summary: 'shop/live drops 10% of all items because of slow connections.',
  },
  PushClusterItemsLostOnBus: {
    firing: { [gateway('gaps_total')]: '0+60x20' },
    // One restart of NATS: lost once, and no more.
    quiet: { [gateway('gaps_total')]: '0 0 60x20' },
    at: '12m',
    labels: live,
    summary: 'shop/live loses 1 items per second between logic and gateways.',
  },
  PushClusterHistoriesInterrupted: {
    firing: { [gateway('history_resets_total')]: '0x9 3x10' },
    // Before the last ten minutes.
    quiet: { [gateway('history_resets_total')]: '0 3x20' },
    at: '15m',
    labels: live,
    summary: 'shop/live has interrupted histories of rooms.',
  },
  PushClusterStoringSlow: {
    firing: { [WAITING]: '6000x10' },
    // A leader's change.
    quiet: { [WAITING]: '0 6000 0x10' },
    at: '3m',
    labels: { ...live, pod: 'live-logic-1' },
    summary: 'shop/live-logic-1 has 6k messages that are not stored yet.',
  },
  PushClusterHistoriesFull: {
    // Each logic pod tells of all policies.
    firing: {
      [historyBytes('chat-*', 1)]: '50x20',
      [historyBytes('live-*', 1)]: '40x20',
      [historyBytes('live-*', 2)]: '40x20',
      [storable('live')]: '100x20',
    },
    // Of another PushCluster, which has more; and one whose NATS is not managed.
    quiet: {
      [historyBytes('chat-*', 1)]: '39x20',
      [historyBytes('live-*', 1)]: '40x20',
      [historyBytes('live-*', 2)]: '40x20',
      [storable('live')]: '100x20',
      [storable('small')]: '10x20',
      'pushcluster_logic_history_bytes{namespace="shop",pushcluster_dev_cluster="external",match="a"}': '900x20',
    },
    at: '15m',
    labels: live,
    summary: 'The histories of shop/live take 90% of what a NATS server may store.',
  },
  PushClusterBusAway: {
    // No logic pod can push; three gateways of four would still deliver.
    firing: {
      [onBus('logic', 1)]: '1 0x10',
      [onBus('logic', 2)]: '1 0x10',
      ...Object.fromEntries([1, 2, 3].map((number) => [onBus('gateway', number), '1x11'])),
      [onBus('gateway', 4)]: '1 0x10',
    },
    // One pod that stays away, one that comes and goes, pods that begin without it, and a restart of NATS in a minute.
    quiet: {
      [onBus('logic', 1)]: '1 0 1x10',
      [onBus('logic', 2)]: '1 0 1x10',
      [onBus('gateway', 1)]: '1 0x10',
      [onBus('gateway', 2)]: '1 0 1 0 1 0 1 0 1',
      [onBus('gateway', 3)]: '_ _ 0 1x10',
      [onBus('gateway', 4)]: '1x11',
    },
    at: '5m',
    labels: { ...live, app_kubernetes_io_component: 'logic' },
    summary: 'In shop/live only 0% of the logic pods are connected to NATS.',
  },
  PushClusterPodOffBus: {
    firing: { [onBus('gateway', 1)]: '1 0x20', [onBus('gateway', 2)]: '1x21' },
    // It connects now and then; another is replaced while it is away; a third begins.
    quiet: {
      [onBus('gateway', 1)]: '1 0 0 0 0 0 0 1 0 0 0 0 0 0 0 1 0',
      [onBus('gateway', 2)]: '1 0 0 0 0 stale',
      [onBus('gateway', 3)]: '_x10 0 0 1x10',
    },
    at: '16m',
    labels: { ...live, pod: 'live-gateway-1' },
    summary: 'shop/live-gateway-1 has not been connected to NATS for more than ten minutes.',
  },
  PushClusterGatewayNearlyFull: {
    firing: {
      [gateway('pressure', ',resource="memory"')]: '0.5 0.9x20',
      [gateway('pressure', ',resource="fds"')]: '0.2x20',
    },
    quiet: { [gateway('pressure', ',resource="memory"')]: '0.8x20', [gateway('pressure', ',resource="loop"')]: '1x20' },
    at: '8m',
    labels: { ...pod, resource: 'memory' },
    summary: 'Gateway shop/live-gateway-1 uses 90% of its memory.',
  },
  PushClusterGatewayLate: {
    firing: {
      [gateway('shard_loop_lag_seconds', ',shard="0"')]: '0.01x20',
      [gateway('shard_loop_lag_seconds', ',shard="1"')]: '0.5x20',
    },
    quiet: { [gateway('shard_loop_lag_seconds', ',shard="0"')]: '0.01 0.2 2 0.2x20' },
    at: '8m',
    labels: pod,
    summary: 'A shard of gateway shop/live-gateway-1 has an event loop delay of 500ms.',
  },
  PushClusterWireNearlyFull: {
    // 54e9 bytes and 1e9 frames of 66 bytes a minute: 2e9 bytes a second, and nearly 1e9.
    firing: { [gateway('bytes_sent_total')]: '0+54e9x20', [gateway('frames_sent_total')]: '0+1e9x20' },
    quiet: { [gateway('bytes_sent_total')]: '0+50e9x20', [gateway('frames_sent_total')]: '0+1e6x20' },
    at: '12m',
    labels: pod,
    summary: 'Gateway shop/live-gateway-1 sends 2GB/s: more than 80 % of the line rate.',
  },
  PushClusterShardsDie: {
    firing: { [gateway('shard_restarts_total')]: '0 0 0 1 2 3 3x30' },
    quiet: { [gateway('shard_restarts_total')]: '0 0 0 1 1x35' },
    at: '30m',
    labels: pod,
    summary: 'Gateway shop/live-gateway-1 restarted shards 3 times in 30 minutes.',
  },
  PushClusterDrainHangs: {
    firing: { [gateway('draining')]: '1x100' },
    quiet: { [gateway('draining')]: '0x30 1x60' },
    at: '80m',
    labels: pod,
    summary: 'Gateway shop/live-gateway-1 has been draining for longer than any drain may take.',
  },
  PushClusterNotScraped: {
    firing: { [`up{${OF_POD}}`]: '1 0x10' },
    quiet: { [`up{${OF_POD}}`]: '1 0 0 1x10', 'up{job="somebody-else"}': '0x20' },
    at: '7m',
    labels: pod,
    summary: 'shop/live-gateway-1 cannot be scraped by Prometheus.',
  },
  PushClusterCertificateExpires: {
    // For 90 days, with one day left: of one pod, which has not read the new one.
    firing: {
      [certificate('expiry_timestamp', 'gateway', 'live-gateway-1')]: '86400x30',
      [certificate('lifetime', 'gateway', 'live-gateway-1')]: '7776000x30',
      [certificate('expiry_timestamp', 'gateway', 'live-gateway-2')]: '9000000x30',
      [certificate('lifetime', 'gateway', 'live-gateway-2')]: '7776000x30',
    },
    // One that is renewed each day, with half a day left; one that has eight days left; one that is renewed in time.
    quiet: {
      [certificate('expiry_timestamp', 'nats', 'live-logic-1')]: '43200x30',
      [certificate('lifetime', 'nats', 'live-logic-1')]: '86400x30',
      [certificate('expiry_timestamp', 'gateway', 'live-gateway-1')]: '691200x30',
      [certificate('lifetime', 'gateway', 'live-gateway-1')]: '7776000x30',
      [certificate('expiry_timestamp', 'gateway', 'live-gateway-2')]: '86400x5 7776000x25',
      [certificate('lifetime', 'gateway', 'live-gateway-2')]: '7776000x30',
    },
    at: '20m',
    labels: { ...live, use: 'gateway' },
    summary: 'The certificate gateway in shop/live has not been renewed: it expires in 23h 40m 0s.',
  },
  PushClusterNatsCertificateExpires: {
    firing: {
      [natsCertificate('expiry_timestamp', 'live')]: '86400x30',
      [natsCertificate('lifetime', 'live')]: '7776000x30',
    },
    // One of a day with half a day left, and one that is renewed in time.
    quiet: {
      [natsCertificate('expiry_timestamp', 'live')]: '86400x5 7776000x25',
      [natsCertificate('lifetime', 'live')]: '7776000x30',
      [natsCertificate('expiry_timestamp', 'daily')]: '43200x30',
      [natsCertificate('lifetime', 'daily')]: '86400x30',
    },
    at: '20m',
    labels: named,
    summary: 'The certificate of managed NATS of PushCluster shop/live has not been renewed: it expires in 23h 40m 0s.',
  },
  PushClusterDegraded: {
    firing: { [condition('Degraded')]: '1x20' },
    quiet: { [condition('Degraded')]: '1x5 0x15', [condition('Progressing')]: '1x20' },
    at: '12m',
    labels: named,
    summary: 'PushCluster shop/live is degraded, and will not recover by itself.',
  },
  PushClusterAutoscalerAtMaximum: {
    firing: { [limited('live')]: '1x40' },
    // A peak, and one that is at its maximum without a need for more.
    quiet: { [limited('live')]: '1x20 0x20', [limited('calm')]: '0x40' },
    at: '35m',
    labels: named,
    summary: 'The autoscaler of PushCluster shop/live has needed more pods than its maxReplicas for 30 minutes.',
  },
  PushClusterAutoscalerFails: {
    firing: { [condition('Autoscaling')]: '0x20', [wanted('live')]: '2x20' },
    // One that starts, and one that is suspended.
    quiet: {
      [condition('Autoscaling')]: '0x10 1x10',
      [wanted('live')]: '2x20',
      [condition('Autoscaling', 'off')]: '0x20',
      [wanted('off')]: '0x20',
    },
    at: '17m',
    labels: named,
    summary: 'The autoscaler of PushCluster shop/live does not work.',
  },
  PushClusterOperatorWithoutLeader: {
    // One release of two; the other one has a leader.
    firing: { [leader('one', 'a')]: '1 0x10', [leader('one', 'b')]: '0x11', [leader('two', 'a')]: '1x11' },
    // A hand-over.
    quiet: { [leader('one', 'a')]: '1 0x10', [leader('one', 'b')]: '0 0 1x11', [leader('two', 'a')]: '1x11' },
    at: '5m',
    labels: { namespace: 'one', job: 'operator' },
    summary: 'No operator in namespace one is the leader.',
  },
  PushClusterWatchesFail: {
    // One namespace is missing; the other replica says so too.
    firing: {
      [watches('operator-1', 'gone')]: '0 1x20',
      [watches('operator-2', 'gone')]: '1x21',
      [watches('operator-1', 'shop')]: '0x21',
    },
    // One restarts now and then, and one namespace comes late.
    quiet: { [watches('operator-1', 'shop')]: '0 1 0 2 0 1x7 0 1 0', [watches('operator-1', 'late')]: '1x8 0x20' },
    at: '15m',
    labels: { namespace: 'push-system', job: 'operator', watched_namespace: 'gone' },
    summary: 'Kinds that the operator in namespace push-system cannot watch in namespace gone: 1.',
  },
  PushClusterReconcilesFail: {
    // One of many, which is tried again ever more seldom; an operator that doesn't lead has none.
    firing: {
      [failing('operator-1')]: '0 1x40',
      [failing('operator-2')]: '0x41',
      [reconciles('done')]: '0+50x41',
      [reconciles('error')]: '0 1x10 2x30',
    },
    quiet: { [failing('operator-1')]: '0 1x8 0 1x12 0x20', [failing('operator-2')]: '0x41' },
    at: '20m',
    labels: { namespace: 'push-system', job: 'operator' },
    summary: 'PushClusters that the operator in namespace push-system cannot reconcile: 1.',
  },
};

describe('the alerts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-rules-'));
  const alerts = alertRules();
  after(() => rmSync(folder, { recursive: true }));

  it('are what Prometheus takes', async () => {
    const { stdout } = await run('promtool', ['check', 'rules', '--lint-fatal', RULES_FILE]);
    assert.match(stdout, new RegExp(`SUCCESS: ${alerts.length} rules found`));
  });

  it('have a firing and a quiet case each', () => {
    assert.deepEqual(alerts.map(({ alert }) => alert).sort(), Object.keys(CASES).sort());
  });

  for (const { alert, labels, annotations } of alerts) {
    const { firing, quiet, at, summary, labels: more = {} } = CASES[alert] ?? assert.fail(`no case for ${alert}`);
    const { description, runbook_url } = annotations;
    const told = {
      exp_labels: { ...labels, ...more },
      exp_annotations: { summary, description, runbook_url },
    };

    it(`${alert} fires where it should, and says which`, async () => {
      await promtool(`${alert}-firing`, firing, at, alert, [told]);
    });

    it(`${alert} stays quiet where all is well`, async () => {
      await promtool(`${alert}-quiet`, quiet, at, alert, []);
    });
  }

  it('know a bucket of 3 s as Prometheus 3 calls it', async () => {
    const alert = 'PushClusterLatencyHigh';
    const { firing, quiet, at, summary, labels: more } = CASES[alert] ?? assert.fail();
    const { labels, annotations } = alerts.find((each) => each.alert === alert) ?? assert.fail();
    const { description, runbook_url } = annotations;
    const told = { exp_labels: { ...labels, ...more }, exp_annotations: { summary, description, runbook_url } };
    await promtool(`${alert}-firing-3.0`, normalised(firing), at, alert, [told]);
    await promtool(`${alert}-quiet-3.0`, normalised(quiet), at, alert, []);
    function normalised(series: Series): Series {
      const renamed = Object.entries(series).map(([name, values]) => [name.replace('le="3"', 'le="3.0"'), values]);
      assert.ok(renamed.some(([name]) => name?.includes('le="3.0"')));
      return Object.fromEntries(renamed);
    }
  });

  it('have a section of the runbook each, and it has no other', () => {
    const sections = [...readFileSync(RUNBOOK, 'utf8').matchAll(/^## (PushCluster\w+)$/gm)].map(([, name]) => name);
    assert.deepEqual([...sections].sort(), alerts.map(({ alert }) => alert).sort());
    for (const { alert, annotations } of alerts)
      assert.equal(annotations.runbook_url, `docs/how-to/runbook.md#${alert.toLowerCase()}`);
  });

  it('of one PushCluster fire as the others do, where it is this one', async () => {
    const own = narrowed('live');
    const tests = own.alerts.map(({ alert, labels, annotations }) => {
      const { firing, at, summary, labels: more = {} } = CASES[alert] ?? assert.fail(`no case for ${alert}`);
      const told = { exp_labels: { ...labels, ...more }, exp_annotations: { ...annotations, summary } };
      return caseOf(firing, at, alert, [told]);
    });
    await promtoolOf('one-firing', own.file, tests);
  });

  it('of one PushCluster are quiet about another, in its namespace or by its name', async () => {
    for (const own of [narrowed('other'), narrowed('live', 'elsewhere')]) {
      const tests = own.alerts.map(({ alert }) => {
        const { firing, at } = CASES[alert] ?? assert.fail(`no case for ${alert}`);
        return caseOf(firing, at, alert, []);
      });
      await promtoolOf('one-quiet', own.file, tests);
    }
  });

  /** The alerts that the operator makes for one PushCluster alone. */
  function narrowed(name: string, namespace = 'shop') {
    const spec = { monitoring: { rules: { enabled: true } } };
    const [rule] = alertsOf(PushCluster.parse({ metadata: { name, namespace, uid: 'uid' }, spec }));
    assert.ok(rule);
    const file = join(folder, `of-${namespace}-${name}.yaml`);
    writeFileSync(file, stringify(rule.spec));
    return { file, alerts: rule.spec.groups.flatMap(({ rules }) => rules) };
  }

  async function promtool(name: string, series: Series, at: string, alertname: string, exp_alerts: object[]) {
    await promtoolOf(name, RULES_FILE, [caseOf(series, at, alertname, exp_alerts)]);
  }

  function caseOf(series: Series, at: string, alertname: string, exp_alerts: object[]) {
    return {
      interval: '1m',
      input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
      alert_rule_test: [{ eval_time: at, alertname, exp_alerts }],
    };
  }

  async function promtoolOf(name: string, rules: string, tests: object[]) {
    const file = join(folder, `${name}.yaml`);
    writeFileSync(file, stringify({ rule_files: [rules], evaluation_interval: '1m', tests }));
    await run('promtool', ['test', 'rules', file]).catch(({ stdout, stderr }) => assert.fail(`${stdout}${stderr}`));
  }
});
