import { dashboard, heatMap, lines, number } from './panels.ts';
import {
  CLUSTER_LEGEND,
  CLUSTER_VARIABLES,
  GATEWAY_CPU,
  GATEWAY_WIRE,
  gateway,
  LINE_RATE_VARIABLE,
  logic,
  PER_CLUSTER,
  PER_POD,
  quantile,
  rate,
  ratio,
} from './selectors.ts';

/** Is it serving, how full is it, and does what is pushed arrive. */
export const overview = dashboard({
  uid: 'pushcluster-overview',
  title: 'Overview',
  description:
    'Whether people get their pushes, how many there are, how long it takes, and how full the fullest gateway is.',
  variables: [...CLUSTER_VARIABLES, LINE_RATE_VARIABLE],
  rows: [
    {
      title: 'Now',
      panels: [
        number({
          title: 'People online',
          description:
            'Connections on all gateways. A sudden fall means that people lost their connection: look at "Closures by code" on the Gateway dashboard, then at the load balancer.',
          unit: 'short',
          queries: [{ expr: `sum(${gateway('connections')})`, legend: 'connections' }],
        }),
        number({
          title: 'Deliveries a second',
          description:
            'Items written to sockets, one for each item and connection. 0 while pushes come in: look at "Bus" beside it, and at gaps.',
          unit: 'ops',
          queries: [{ expr: `sum(${rate(gateway('messages_delivered_total'))})`, legend: 'items' }],
        }),
        number({
          title: 'Latency, 99 of 100 within',
          description:
            'From accepted by logic to written to the socket. It includes the merge window (1 s unless set otherwise). Far above the window: look at loop lag and at the bus, then add gateways.',
          unit: 's',
          queries: [{ expr: quantile(0.99, gateway('delivery_latency_seconds_bucket')), legend: 'p99' }],
          warns: { at: 2, bad: 3 },
        }),
        number({
          title: 'Pushes refused',
          description:
            "Share of push requests answered by 5xx: what a backend pushes then doesn't arrive. Look at the bus (503 bus_unavailable) and at the Logic and bus dashboard.",
          unit: 'percentunit',
          queries: [
            {
              expr: `(sum(${rate(logic('push_requests_total', 'code=~"5.."'))}) / sum(${rate(logic('push_requests_total'))}) >= 0) or vector(0)`,
              legend: 'share',
            },
          ],
          warns: { at: 0.001, bad: 0.01 },
        }),
        number({
          title: 'Gateways',
          description:
            'Gateways that are scraped and not leaving. Fewer than wanted: the Operator and rollouts dashboard tells why.',
          unit: 'short',
          queries: [{ expr: `count(${gateway('draining')} == 0)`, legend: 'gateways' }],
        }),
        number({
          title: 'Bus',
          description:
            'Share of gateways and logic pods with a connection to NATS. Below 100 %: pushes fail or miss people. Look at the NATS pods, then at the network between.',
          unit: 'percentunit',
          queries: [{ expr: `avg(${busConnected()})`, legend: 'connected' }],
          max: 1,
        }),
      ],
    },
    {
      title: 'People and deliveries',
      panels: [
        lines({
          title: 'Connections',
          description:
            'People online by cluster. A step down that does not come back means that something keeps people out: look at "Refused handshakes".',
          unit: 'short',
          queries: [{ expr: `sum by (${PER_CLUSTER}) (${gateway('connections')})`, legend: CLUSTER_LEGEND }],
        }),
        lines({
          title: 'Deliveries',
          description:
            'Items written to sockets a second, by cluster. They follow pushes times listeners; where they fall behind, latency grows and drops begin: look at the fullest gateway below, and add gateways.',
          unit: 'ops',
          queries: [
            { expr: `sum by (${PER_CLUSTER}) (${rate(gateway('messages_delivered_total'))})`, legend: CLUSTER_LEGEND },
          ],
        }),
        lines({
          title: 'Handshakes',
          description:
            'People who come, who go, and who are refused, a second. Many of each at the same time is a reconnect storm: see "Reconnect storm" in the runbook. Refusals name their reason on the Gateway dashboard.',
          unit: 'ops',
          queries: [
            { expr: `sum(${rate(gateway('connections_opened_total'))})`, legend: 'opened' },
            { expr: `sum(${rate(gateway('connections_closed_total'))})`, legend: 'closed' },
            { expr: `sum(${rate(gateway('refused_total'))})`, legend: 'refused' },
          ],
        }),
      ],
    },
    {
      title: 'Latency',
      panels: [
        heatMap({
          title: 'Delivery latency',
          description:
            'How many deliveries took how long, from accepted by logic to written to the socket. A band around the merge window is as it should be; a second band above it is a gateway or a bus that is late: "Latency of the slowest gateway" tells which.',
          unit: 's',
          queries: [{ expr: `sum by (le) (${rate(gateway('delivery_latency_seconds_bucket'))})`, legend: '{{le}}' }],
          width: 16,
        }),
        lines({
          title: 'Latency of the slowest gateway',
          description:
            'The 99th percentile of each gateway; the worst ones on top. One that stands out: look at its loop lag and its CPU. All together: look at the bus.',
          unit: 's',
          queries: [{ expr: quantile(0.99, gateway('delivery_latency_seconds_bucket'), 'pod'), legend: '{{pod}}' }],
          warns: { at: 2, bad: 3 },
        }),
      ],
    },
    {
      title: 'Drops and gaps',
      panels: [
        lines({
          title: 'Drops',
          description:
            'Items that did not reach a connection, a second: "slow" are clients that read too slowly, "overload" is a room over its maxRate (by policy), "bus_gap" was lost on the bus. Slow at many clients at once: look at the wire and at the gateways\' CPU.',
          unit: 'ops',
          queries: [{ expr: `sum by (reason) (${rate(gateway('messages_dropped_total'))})`, legend: '{{reason}}' }],
          width: 12,
        }),
        lines({
          title: 'Gaps',
          description:
            'Items lost between logic and a gateway, a second, as publisher counters show. Anything above 0 that goes on: NATS cuts gateways off as slow consumers, or reconnects. Look at its log and at "Reconnects" on Logic and bus.',
          unit: 'ops',
          queries: [{ expr: `sum by (${PER_CLUSTER}) (${rate(gateway('gaps_total'))})`, legend: CLUSTER_LEGEND }],
          width: 12,
        }),
      ],
    },
    {
      title: 'The fullest gateway',
      panels: [
        lines({
          title: 'CPU',
          description:
            'Cores used: of the busiest gateway in all, and of the busiest shard, which can use one core only. A shard near 1: more shards (CPUs for the pods) or more gateways.',
          unit: 'short',
          queries: [
            { expr: `max(${GATEWAY_CPU})`, legend: 'busiest gateway' },
            { expr: `max(${rate(gateway('shard_cpu_seconds_total'))})`, legend: 'busiest shard' },
          ],
        }),
        lines({
          title: 'Loop lag',
          description:
            'How late the latest event loop of a shard ran in the last second. Above some 200 ms everything on that shard waits so long: add gateways, or lengthen merge windows.',
          unit: 's',
          queries: [{ expr: `max(${gateway('shard_loop_lag_seconds')})`, legend: 'latest shard' }],
          warns: { at: 0.2, bad: 0.5 },
        }),
        lines({
          title: 'Wire',
          description:
            "Bytes that the busiest gateway sends, headers included, against the line rate that is chosen above (share of it; a node's other pods are not in it). Above 0.7: more nodes, compression, or longer windows.",
          unit: 'percentunit',
          queries: [{ expr: `max(${GATEWAY_WIRE}) / $line_rate`, legend: 'busiest gateway' }],
          warns: { at: 0.7, bad: 0.85 },
        }),
        lines({
          title: 'Used of each limit',
          description:
            'What the fullest gateway has used of its memory, its descriptors and its time to answer. It refuses newcomers with 503 before 1: add gateways, or raise the limit that is nearest.',
          unit: 'percentunit',
          queries: [{ expr: `max by (resource) (${gateway('pressure')})`, legend: '{{resource}}' }],
          warns: { at: 0.8, bad: 0.9 },
          max: 1,
        }),
        lines({
          title: 'Descriptors',
          description:
            'Connections against the files that a gateway may open. Near 1 newcomers are refused: raise the limit of open files of the nodes (docs/how-to/tune-nodes.md), or add gateways.',
          unit: 'percentunit',
          queries: [
            {
              expr: `max(sum by (${PER_POD}) (${gateway('connections')}) / sum by (${PER_POD}) (${gateway('fd_limit')}))`,
              legend: 'fullest gateway',
            },
          ],
          warns: { at: 0.8, bad: 0.9 },
          max: 1,
        }),
        lines({
          title: 'Uneven load',
          description:
            'Connections of the fullest gateway over the average. It grows when gateways are added and falls as they are evened out; above 1.5 for long: set gateway.rebalance.',
          unit: 'short',
          queries: [
            {
              expr: ratio(
                `max by (${PER_CLUSTER}) (${gateway('connections')})`,
                `avg by (${PER_CLUSTER}) (${gateway('connections')})`,
                1,
                PER_CLUSTER,
              ),
              legend: CLUSTER_LEGEND,
            },
          ],
        }),
      ],
    },
  ],
});

function busConnected(): string {
  return 'pushcluster_bus_connected{namespace=~"$namespace",pushcluster_dev_cluster=~"$cluster"}';
}
