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

/** The dashboard of a cluster's health: does it serve, how full is it, do pushes arrive? */
export const overview = dashboard({
  uid: 'pushcluster-overview',
  title: 'Overview',
  description:
    'Whether clients receive pushes, how many, with which latency, and how much capacity the fullest gateway has left.',
  variables: [...CLUSTER_VARIABLES, LINE_RATE_VARIABLE],
  rows: [
    {
      title: 'Now',
      panels: [
        number({
          title: 'Open connections',
          description:
            'Connections on all gateways. A sudden drop means that clients lost their connection: see "Closures by code" on the Gateway dashboard, then check the load balancer.',
          unit: 'short',
          queries: [{ expr: `sum(${gateway('connections')})`, legend: 'connections' }],
        }),
        number({
          title: 'Deliveries per second',
          description:
            'Items written to sockets: one for each item and connection. If it is 0 although there are pushes, see "Bus" and "Gaps".',
          unit: 'ops',
          queries: [{ expr: `sum(${rate(gateway('messages_delivered_total'))})`, legend: 'items' }],
        }),
        number({
          title: 'Latency (p99)',
          description:
            'Time from acceptance by logic to the write to the socket, including the batching delay (up to 1 s by default). If it is far above the delay, check loop lag and the bus, then add gateways.',
          unit: 's',
          queries: [{ expr: quantile(0.99, gateway('delivery_latency_seconds_bucket')), legend: 'p99' }],
          warns: { at: 2, bad: 3 },
        }),
        number({
          title: 'Failed pushes',
          description:
            'Share of push requests that fail with status 5xx and are not delivered. Check the bus (503 bus_unavailable) and the Logic and bus dashboard.',
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
            'Gateways that are scraped and not draining. If there are fewer than desired, see the Operator and rollouts dashboard.',
          unit: 'short',
          queries: [{ expr: `count(${gateway('draining')} == 0)`, legend: 'gateways' }],
        }),
        number({
          title: 'Bus',
          description:
            'Share of gateways and logic pods that are connected to NATS. Below 100 %, pushes fail or do not reach all clients. Check the NATS pods, then the network.',
          unit: 'percentunit',
          queries: [{ expr: `avg(${busConnected()})`, legend: 'connected' }],
          max: 1,
        }),
      ],
    },
    {
      title: 'Connections and deliveries',
      panels: [
        lines({
          title: 'Connections',
          description:
            'Open connections by cluster. If the number drops and does not recover, clients cannot connect: see "Refused handshakes" on the Gateway dashboard.',
          unit: 'short',
          queries: [{ expr: `sum by (${PER_CLUSTER}) (${gateway('connections')})`, legend: CLUSTER_LEGEND }],
        }),
        lines({
          title: 'Deliveries',
          description:
            'Items written to sockets per second, by cluster. Expected: pushes times listeners. If it falls behind, latency and drops increase: see the fullest gateway below, and add gateways.',
          unit: 'ops',
          queries: [
            { expr: `sum by (${PER_CLUSTER}) (${rate(gateway('messages_delivered_total'))})`, legend: CLUSTER_LEGEND },
          ],
        }),
        lines({
          title: 'Handshakes',
          description:
            'Connections that are opened, closed and rejected, per second. Many of each at the same time are a reconnect storm: see the runbook. The Gateway dashboard shows the reasons of rejections.',
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
            'Distribution of the time from acceptance by logic to the write to the socket. A band at the batching delay is expected. A second band above it is a slow gateway or bus: see "Latency of the slowest gateway".',
          unit: 's',
          queries: [{ expr: `sum by (le) (${rate(gateway('delivery_latency_seconds_bucket'))})`, legend: '{{le}}' }],
          width: 16,
        }),
        lines({
          title: 'Latency of the slowest gateway',
          description:
            '99th percentile of each gateway, the slowest ones on top. If one stands out, check its loop lag and CPU. If all are slow, check the bus.',
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
            'Items that did not reach a connection, per second, by reason: "slow" are clients that read too slowly, "overload" is a room above its maxRate, "bus_gap" was lost on the bus. If many clients are slow at the same time, check the bandwidth and the CPU of the gateways.',
          unit: 'ops',
          queries: [{ expr: `sum by (reason) (${rate(gateway('messages_dropped_total'))})`, legend: '{{reason}}' }],
          width: 12,
        }),
        lines({
          title: 'Gaps',
          description:
            'Items lost between logic and a gateway, per second, as found by publisher counters. If it stays above 0, NATS disconnects gateways as slow consumers, or reconnects: check its log, and "Reconnects" on the Logic and bus dashboard.',
          unit: 'ops',
          queries: [{ expr: `sum by (${PER_CLUSTER}) (${rate(gateway('gaps_total'))})`, legend: CLUSTER_LEGEND }],
          width: 12,
        }),
      ],
    },
    {
      title: 'Fullest gateway',
      panels: [
        lines({
          title: 'CPU',
          description:
            'CPU cores used by the busiest gateway, and by the busiest shard, which can use one core only. If a shard is near 1, use more shards (CPUs for the pods) or more gateways.',
          unit: 'short',
          queries: [
            { expr: `max(${GATEWAY_CPU})`, legend: 'busiest gateway' },
            { expr: `max(${rate(gateway('shard_cpu_seconds_total'))})`, legend: 'busiest shard' },
          ],
        }),
        lines({
          title: 'Loop lag',
          description:
            'Highest event loop delay of any shard in the last second. Above 200 ms, everything on that shard is delayed by this time: add gateways, or increase the batching delay.',
          unit: 's',
          queries: [{ expr: `max(${gateway('shard_loop_lag_seconds')})`, legend: 'latest shard' }],
          warns: { at: 0.2, bad: 0.5 },
        }),
        lines({
          title: 'Bandwidth',
          description:
            'Bytes sent by the busiest gateway, including headers, as a share of the line rate selected above. Other pods on the node are not included. Above 0.7: use more nodes, compression, or a longer batching delay.',
          unit: 'percentunit',
          queries: [{ expr: `max(${GATEWAY_WIRE}) / $line_rate`, legend: 'busiest gateway' }],
          warns: { at: 0.7, bad: 0.85 },
        }),
        lines({
          title: 'Usage of limits',
          description:
            'Usage of memory, file descriptors and event loop time by the fullest gateway. It rejects new connections with status 503 before 1 is reached: add gateways, or raise the limit.',
          unit: 'percentunit',
          queries: [{ expr: `max by (resource) (${gateway('pressure')})`, legend: '{{resource}}' }],
          warns: { at: 0.8, bad: 0.9 },
          max: 1,
        }),
        lines({
          title: 'File descriptors',
          description:
            'Connections as a share of the files that a gateway may open. Near 1, new connections are rejected: raise the open files limit of the nodes (docs/how-to/tune-nodes.md), or add gateways.',
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
          title: 'Imbalance',
          description:
            'Connections of the fullest gateway relative to the average. It increases when gateways are added, and decreases by rebalancing. If it stays above 1.5, see gateway.rebalance.',
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
