import { dashboard, lines, number, table } from './panels.ts';
import { CLUSTER_VARIABLES, clusters, gateway, PER_CLUSTER, PER_POD, quantile, rate } from './selectors.ts';

const NAME = '{{cluster_namespace}}/{{cluster_name}}';
const BY_NAME = 'cluster_namespace, cluster_name';

/** What the operator does, and what moves. */
export const operatorDashboard = dashboard({
  uid: 'pushcluster-operator',
  title: 'Operator and rollouts',
  description: 'Conditions of each PushCluster, what drains and scales, and whether the operator works.',
  variables: CLUSTER_VARIABLES,
  happenings: [
    {
      name: 'Scaling',
      expr: `sum by (${BY_NAME}) (abs(delta(max by (${BY_NAME}) (${clusters('pushcluster_operator_cluster_gateways', 'state="wanted"')})[2m:30s]))) > 0`,
      title: `gateways scaled: ${NAME}`,
      color: 'blue',
    },
    {
      name: 'Drains',
      expr: `sum by (${PER_CLUSTER}) (${gateway('draining')}) > 0`,
      title: 'draining: {{namespace}}/{{pushcluster_dev_cluster}}',
      color: 'orange',
    },
  ],
  rows: [
    {
      title: 'PushClusters',
      panels: [
        table({
          title: 'Conditions',
          description:
            'Ready and Available should be 1, Degraded 0. `kubectl describe` of the PushCluster says why in a sentence; the runbook has a section for each alert.',
          unit: 'none',
          queries: [
            {
              expr: `max by (${BY_NAME}, condition) (${clusters('pushcluster_operator_cluster_condition')})`,
              legend: `${NAME} {{condition}}`,
              instant: true,
            },
          ],
          width: 12,
        }),
        lines({
          title: 'Degraded',
          description:
            "1 where something is wrong that does not go away by itself: a refused object, refused settings, too low a limit of files. The condition's message names it.",
          unit: 'short',
          queries: [
            {
              expr: `max by (${BY_NAME}) (${clusters('pushcluster_operator_cluster_condition', 'condition="Degraded"')})`,
              legend: NAME,
            },
          ],
          max: 1,
          width: 12,
        }),
        lines({
          title: 'Gateways wanted, ready, draining',
          description:
            'Wanted by spec or autoscaler. Ready below wanted for minutes: pods are pending (no node has room) or crash; `kubectl get pods` and `describe` say which.',
          unit: 'short',
          queries: [
            {
              expr: `max by (${BY_NAME}, state) (${clusters('pushcluster_operator_cluster_gateways')})`,
              legend: `${NAME} {{state}}`,
            },
          ],
          width: 12,
        }),
        lines({
          title: 'Drains: connections left',
          description:
            'Connections of gateways that leave. They fall at drain.rate a second; where they stay flat, clients ignore RECONNECT and are closed with 1012 at the end.',
          unit: 'short',
          queries: [
            {
              expr: `sum by (${PER_POD}) (${gateway('connections')}) * on (${PER_POD}) max by (${PER_POD}) (${gateway('draining')})`,
              legend: '{{pod}}',
            },
          ],
          width: 12,
        }),
        lines({
          title: 'Connections moved',
          description:
            'Connections asked or made to go elsewhere, a second, by reason: their gateway ends, was told to drain, or evens out. Together it should not be above drain.rate for long; above it, a drain is short of time: see drain.timeout.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (${PER_CLUSTER}, reason) (${rate(gateway('moved_total'))})`,
              legend: '{{namespace}}/{{pushcluster_dev_cluster}} {{reason}}',
            },
          ],
          width: 12,
        }),
        lines({
          title: 'Generations in force',
          description:
            'Lowest and highest generation of settings among the gateways of a cluster: apart for more than 10 s means that a pod refused a change, or has not got it. Look at condition Degraded.',
          unit: 'none',
          queries: [
            {
              expr: `min by (${PER_CLUSTER}) (${gateway('config_generation')})`,
              legend: 'lowest {{pushcluster_dev_cluster}}',
            },
            {
              expr: `max by (${PER_CLUSTER}) (${gateway('config_generation')})`,
              legend: 'highest {{pushcluster_dev_cluster}}',
            },
          ],
          width: 12,
        }),
      ],
    },
    {
      title: 'Operator',
      panels: [
        number({
          title: 'Leaders',
          description:
            "Exactly one. 0 for more than 20 s: nobody repairs anything; look at the operator's pods and at the lease. Gateways serve on meanwhile.",
          unit: 'none',
          tall: true,
          queries: [{ expr: 'sum(pushcluster_operator_leader)', legend: 'leaders' }],
        }),
        number({
          title: 'PushClusters',
          description: 'That the operator knows. Above 1,000 the others are not in the metrics by name.',
          unit: 'none',
          tall: true,
          queries: [{ expr: 'max(pushcluster_operator_clusters)', legend: 'PushClusters' }],
        }),
        number({
          title: 'Waiting',
          description:
            'PushClusters that wait to be reconciled, on the leader. Above 0 for long: the API server is slow or refuses; look at the reconciles that fail.',
          unit: 'none',
          tall: true,
          queries: [{ expr: 'max(pushcluster_operator_workqueue_depth)', legend: 'waiting' }],
        }),
        lines({
          title: 'Reconciles by outcome',
          description:
            '"error" and "conflict" are tried again by themselves. Errors that go on: the operator\'s log has the API server\'s words; often a missing right or a webhook.',
          unit: 'ops',
          queries: [
            { expr: `sum by (outcome) (${rate('pushcluster_operator_reconcile_total')})`, legend: '{{outcome}}' },
          ],
          width: 12,
        }),
        lines({
          title: 'A reconcile takes',
          description:
            'Half, and 99 of 100, within. Milliseconds where nothing changes. Seconds: the API server is slow; look at its own dashboards.',
          unit: 's',
          queries: [
            { expr: quantile(0.5, 'pushcluster_operator_reconcile_seconds_bucket'), legend: 'p50' },
            { expr: quantile(0.99, 'pushcluster_operator_reconcile_seconds_bucket'), legend: 'p99' },
          ],
        }),
        lines({
          title: 'Requests to the API server',
          description:
            'By verb. Idle is watches and the lease alone. Patches that go on: something changes back what the operator applies; the audit log says who.',
          unit: 'reqps',
          queries: [{ expr: `sum by (verb) (${rate('pushcluster_operator_requests_total')})`, legend: '{{verb}}' }],
        }),
        lines({
          title: 'Watches that failed',
          description:
            'By how, a second. "expired" is normal after a pause. Failures that go on: rights, or an API server in trouble; the log says which.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (how) (${rate('pushcluster_operator_watch_failures_total')})`,
              legend: '{{how}}',
            },
          ],
        }),
        lines({
          title: 'Memory of the operator',
          description:
            'Resident memory of each replica. It grows with the PushClusters and their pods; near its limit, raise operator.resources.',
          unit: 'bytes',
          queries: [
            {
              expr: 'process_resident_memory_bytes and on (instance) pushcluster_operator_leader',
              legend: '{{pod}}',
            },
          ],
          width: 12,
        }),
        lines({
          title: 'CPU of the operator',
          description:
            'Cores of each replica. Idle is near 0; busy without changes of PushClusters: see requests to the API server.',
          unit: 'short',
          queries: [
            {
              expr: `${rate('process_cpu_seconds_total')} and on (instance) pushcluster_operator_leader`,
              legend: '{{pod}}',
            },
          ],
          width: 12,
        }),
      ],
    },
  ],
});
