import { dashboard, lines, number, table } from './panels.ts';
import { CLUSTER_VARIABLES, clusters, gateway, PER_CLUSTER, PER_POD, quantile, rate } from './selectors.ts';

const NAME = '{{cluster_namespace}}/{{cluster_name}}';
const BY_NAME = 'cluster_namespace, cluster_name';

/** The dashboard of the operator's work, and of moving connections. */
export const operatorDashboard = dashboard({
  uid: 'pushcluster-operator',
  title: 'Operator and rollouts',
  description: 'Conditions of each PushCluster, draining and scaling, and the state of the operator.',
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
            'Ready and Available should be 1, Degraded 0. `kubectl describe` of the PushCluster shows the reason; the runbook has a section for each alert.',
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
            '1 if something is wrong that does not resolve itself: a rejected object, rejected settings, or a file limit that is too low. See the message of the condition.',
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
          title: 'Gateways: desired, ready, draining',
          description:
            'Desired by the spec or an autoscaler. If fewer are ready for minutes, pods are pending (no node has capacity) or crash: see `kubectl get pods` and `kubectl describe`.',
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
            'Connections of draining gateways. They decrease by drain.rate per second. If they do not, clients ignore RECONNECT and are closed with code 1012 at the end.',
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
            'Connections moved per second, by reason: shutdown, drain or rebalancing. If the sum stays above drain.rate, a drain is short of time: see drain.timeout.',
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
          title: 'Settings generations',
          description:
            'Lowest and highest settings generation of the gateways of a cluster. If they differ for more than 10 s, a pod has rejected a change or not received it: see the condition Degraded.',
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
            "By the operator's namespace. Should be 1. If it is 0 for more than 20 s, nothing is repaired: check the operator's pods and the lease. Gateways continue to serve.",
          unit: 'none',
          tall: true,
          queries: [{ expr: 'sum by (namespace) (pushcluster_operator_leader)', legend: 'leaders {{namespace}}' }],
        }),
        number({
          title: 'PushClusters',
          description:
            'PushClusters that the operators manage. Only the first 1,000 of each operator have metrics by name.',
          unit: 'none',
          tall: true,
          queries: [{ expr: 'sum(max by (namespace, job) (pushcluster_operator_clusters))', legend: 'PushClusters' }],
        }),
        number({
          title: 'Work queue',
          description:
            "PushClusters waiting to be reconciled, on the leader, by the operator's namespace. If it stays above 0, the API server is slow or rejects requests: see failed reconciles.",
          unit: 'none',
          tall: true,
          queries: [
            { expr: 'max by (namespace) (pushcluster_operator_workqueue_depth)', legend: 'waiting {{namespace}}' },
          ],
        }),
        lines({
          title: 'Reconciles by outcome',
          description:
            '"error" and "conflict" are retried. If errors persist, see the log of the operator; frequent reasons are missing permissions and webhooks.',
          unit: 'ops',
          queries: [
            { expr: `sum by (outcome) (${rate('pushcluster_operator_reconcile_total')})`, legend: '{{outcome}}' },
          ],
          width: 12,
        }),
        lines({
          title: 'Reconcile duration',
          description:
            'Median and 99th percentile. Milliseconds if nothing changes. If it takes seconds, the API server is slow.',
          unit: 's',
          queries: [
            { expr: quantile(0.5, 'pushcluster_operator_reconcile_seconds_bucket'), legend: 'p50' },
            { expr: quantile(0.99, 'pushcluster_operator_reconcile_seconds_bucket'), legend: 'p99' },
          ],
        }),
        lines({
          title: 'Requests to the API server',
          description:
            'By verb. Without changes, there are only watches and the lease. If patches persist, something reverts what the operator applies: the audit log shows what.',
          unit: 'reqps',
          queries: [{ expr: `sum by (verb) (${rate('pushcluster_operator_requests_total')})`, legend: '{{verb}}' }],
        }),
        lines({
          title: 'Failed watches',
          description:
            'By reason, per second. "expired" is normal after a pause. Persistent failures are caused by missing permissions or a faulty API server: see the log.',
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
            'Resident memory of each replica. It grows with the number of PushClusters and pods. Near its limit, raise operator.resources.',
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
            'CPU cores of each replica, near 0 when idle. If it is high without changes of PushClusters, see requests to the API server.',
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
