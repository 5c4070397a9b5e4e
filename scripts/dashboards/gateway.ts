import { dashboard, heatMap, lines, table } from './panels.ts';
import {
  CLUSTER_VARIABLES,
  chosen,
  GATEWAY_CPU,
  GATEWAY_MEMORY,
  GATEWAY_WIRE,
  LINE_RATE_VARIABLE,
  PER_POD,
  POD_VARIABLE,
  quantile,
  rate,
  ratio,
} from './selectors.ts';

/** Series of a metric of the selected gateways. */
function gateway(name: string, more = ''): string {
  return chosen(`pushcluster_gateway_${name}`, `pod=~"$pod"${more === '' ? '' : `,${more}`}`);
}

function perPod(expr: string): string {
  return `sum by (${PER_POD}) (${expr})`;
}

/** GATEWAY_CPU and similar sums cover all pods: restricts `expr` to the selected ones. */
function ofPod(expr: string): string {
  return `(${expr}) and on (${PER_POD}) ${gateway('draining')}`;
}

const POD = '{{pod}}';
const SHARD = '{{pod}} shard {{shard}}';

/** The dashboard of single gateways and their shards. */
export const gatewayDashboard = dashboard({
  uid: 'pushcluster-gateway',
  title: 'Gateway',
  description: 'Connections, traffic and resource usage of each gateway and its shards.',
  variables: [...CLUSTER_VARIABLES, POD_VARIABLE, LINE_RATE_VARIABLE],
  rows: [
    {
      title: 'Connections',
      panels: [
        lines({
          title: 'Connections',
          description:
            'Connections of each gateway. They are balanced if the load balancer is. A new gateway fills slowly because connections stay where they are: see gateway.rebalance.',
          unit: 'short',
          queries: [{ expr: perPod(gateway('connections')), legend: POD }],
        }),
        lines({
          title: 'Opened',
          description:
            'Handshakes per second of each gateway. One core handles about 5,000 per second: set connections.acceptRate to limit the rate of a reconnect storm.',
          unit: 'ops',
          queries: [{ expr: perPod(rate(gateway('connections_opened_total'))), legend: POD }],
        }),
        lines({
          title: 'Closures by code',
          description:
            '1000 and 1001: the client left. 1012: moved by a drain. 1006: closed without a close frame; if there are many, check the idle timeout of the load balancer and restarts of shards. 4001 and 4401: tokens. 1013: overload. 4003: slow clients.',
          unit: 'ops',
          queries: [{ expr: `sum by (code) (${rate(gateway('connections_closed_total'))})`, legend: '{{code}}' }],
        }),
        lines({
          title: 'Refused handshakes',
          description:
            'Rejected handshakes by reason. "full", "memory", "fds", "loop" and "rate" are limits of the gateway: add gateways. "token" and "origin" are client errors: check the token issuer and auth.allowedOrigins.',
          unit: 'ops',
          queries: [{ expr: `sum by (reason) (${rate(gateway('refused_total'))})`, legend: '{{reason}}' }],
        }),
        lines({
          title: 'Rooms',
          description:
            'Rooms with members on each gateway. Each is a subscription on the bus. Near rooms.max (200,000), new rooms are rejected. If clients choose room names, restrict them with patterns.',
          unit: 'short',
          queries: [{ expr: perPod(gateway('rooms')), legend: POD }],
        }),
        lines({
          title: 'Draining',
          description:
            '1 while a gateway drains. If that takes longer than drain.timeout, check its log, and delete the pod if it has no connections left.',
          unit: 'short',
          queries: [{ expr: perPod(gateway('draining')), legend: POD }],
          max: 1,
        }),
      ],
    },
    {
      title: 'Deliveries',
      panels: [
        lines({
          title: 'Items delivered',
          description:
            'Items written to sockets per second. If one gateway is far below others with as many connections, check its loop lag and its bus connection.',
          unit: 'ops',
          queries: [{ expr: perPod(rate(gateway('messages_delivered_total'))), legend: POD }],
        }),
        lines({
          title: 'Frames sent',
          description:
            'WebSocket frames per second. Each is at least one packet, which dominates the CPU usage. One core sends about 100,000 per second. A longer batching delay reduces the number.',
          unit: 'ops',
          queries: [{ expr: perPod(rate(gateway('frames_sent_total'))), legend: POD }],
        }),
        lines({
          title: 'Items per frame',
          description:
            'Average number. 1 if rooms are quiet or small. With fixed windows: if it is far below items per second times the batching delay, urgent pushes or a small maxBytes split frames.',
          unit: 'short',
          queries: [
            {
              expr: ratio(
                perPod(rate(gateway('batch_items_sum'))),
                perPod(rate(gateway('batch_items_count'))),
                0,
                PER_POD,
              ),
              legend: POD,
            },
          ],
        }),
        heatMap({
          title: 'Batching delay',
          description:
            'Time from the first item of a frame to the frame. It should not exceed maxDelay: otherwise the hub is delayed, so check its CPU.',
          unit: 's',
          queries: [{ expr: `sum by (le) (${rate(gateway('batch_window_seconds_bucket'))})`, legend: '{{le}}' }],
        }),
        heatMap({
          title: 'Merge windows',
          description:
            'Length of the windows of rooms, chosen when they begin. Milliseconds in small rooms and maxDelay in large ones. If all are near maxDelay, the gateway has no CPU time for shorter ones.',
          unit: 's',
          queries: [{ expr: `sum by (le) (${rate(gateway('merge_window_seconds_bucket'))})`, legend: '{{le}}' }],
        }),
        lines({
          title: 'CPU budget of frames',
          description:
            'Cores that frames may take of the busiest core before merge windows become longer. 0.5 on a gateway with spare CPU time. Less: a process is busy, its event loop is delayed, or frames wait for a shard.',
          unit: 'short',
          queries: [{ expr: ofPod(gateway('frame_budget_cores')), legend: POD }],
        }),
        lines({
          title: 'Latency',
          description:
            'Time from acceptance by logic to the write to the socket: median and 99th percentile of each gateway. If it exceeds the batching delay, check loop lag, then CPU, then the bus.',
          unit: 's',
          queries: [
            { expr: quantile(0.5, gateway('delivery_latency_seconds_bucket'), 'pod'), legend: '{{pod}} p50' },
            { expr: quantile(0.99, gateway('delivery_latency_seconds_bucket'), 'pod'), legend: '{{pod}} p99' },
          ],
          warns: { at: 2, bad: 3 },
        }),
        lines({
          title: 'Bandwidth',
          description:
            'Bytes sent per second, including headers, as a share of the line rate selected above. Above 0.7: use compression, a longer batching delay, or more nodes.',
          unit: 'percentunit',
          queries: [{ expr: `(${ofPod(GATEWAY_WIRE)}) / $line_rate`, legend: POD }],
          warns: { at: 0.7, bad: 0.85 },
        }),
        lines({
          title: 'Drops',
          description:
            'Items that did not reach a connection, by gateway and reason. "slow" on a single gateway: its network is saturated, or its shard is delayed.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (namespace, pod, reason) (${rate(gateway('messages_dropped_total'))})`,
              legend: '{{pod}} {{reason}}',
            },
          ],
        }),
        lines({
          title: 'Lost on the bus',
          description:
            'Items lost before this gateway, per second. On one gateway, check its node or network; on all, check NATS. Items that came late are harmless: they were put in their place.',
          unit: 'ops',
          queries: [
            { expr: perPod(rate(gateway('gaps_total'))), legend: POD },
            { expr: perPod(rate(gateway('late_items_total'))), legend: '{{pod}} late' },
          ],
        }),
        lines({
          title: 'Retries dropped',
          description:
            'Pushes dropped because their id was seen in the last two minutes: retries of publishers, which is harmless. If ids are forgotten early, retries are delivered twice: use fewer ids, or retry sooner.',
          unit: 'ops',
          queries: [
            { expr: perPod(rate(gateway('push_retries_dropped_total'))), legend: '{{pod}} dropped' },
            { expr: perPod(rate(gateway('push_ids_forgotten_total'))), legend: '{{pod}} forgotten early' },
          ],
        }),
      ],
    },
    {
      title: 'Rooms with history',
      panels: [
        lines({
          title: 'Repairs by cause',
          description:
            'Rooms that were read from the store because messages did not arrive (gap), or were found only there (compare), per second. Clients notice a delay only. If it stays above 0, NATS loses messages: check "Lost on the bus".',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (namespace, pod, cause) (${rate(gateway('history_repairs_total'))})`,
              legend: '{{pod}} {{cause}}',
            },
          ],
        }),
        lines({
          title: 'Resumes by outcome',
          description:
            'Clients that came back to a room per second, by whether its history still had everything that they missed. If many are not recovered, raise rooms[].history (messages, maxAge), or check "Interrupted histories".',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (namespace, pod, recovered) (${rate(gateway('resumes_total'))})`,
              legend: '{{pod}} recovered: {{recovered}}',
            },
          ],
        }),
        lines({
          title: 'Interrupted histories',
          description:
            'Rooms whose history was made anew, or whose limits removed messages before they were read, per minute. Their clients are told. If it is above 0, check restarts of NATS, its storage, and rooms[].history.',
          unit: 'short',
          queries: [{ expr: `60 * ${perPod(rate(gateway('history_resets_total')))}`, legend: POD }],
        }),
        lines({
          title: 'Last messages in memory',
          description:
            'Last messages of rooms with history in the memory of each gateway, from which clients that come back are served. At most 64 MiB: above that, histories are read from the store more often.',
          unit: 'bytes',
          queries: [{ expr: gateway('history_ring_bytes'), legend: POD }],
        }),
      ],
    },
    {
      title: 'Resources',
      panels: [
        lines({
          title: 'CPU',
          description:
            'CPU cores used by each gateway, hub and shards. Near the limit of the pod, the kernel throttles it and all messages are delayed: raise resources, or add gateways.',
          unit: 'short',
          queries: [{ expr: ofPod(GATEWAY_CPU), legend: POD }],
        }),
        lines({
          title: 'CPU of shards',
          description: 'Each shard can use one core. Near 1: use more shards (CPUs for the pod), or more gateways.',
          unit: 'short',
          queries: [{ expr: rate(gateway('shard_cpu_seconds_total')), legend: SHARD }],
          warns: { at: 0.8, bad: 0.95 },
        }),
        lines({
          title: 'Loop lag of shards',
          description:
            'Highest delay of each event loop in the last second. Above 200 ms, the shard is overloaded: add gateways or shards.',
          unit: 's',
          queries: [{ expr: gateway('shard_loop_lag_seconds'), legend: SHARD }],
          warns: { at: 0.2, bad: 0.5 },
        }),
        lines({
          title: 'Memory',
          description:
            'Resident memory of hub and shards, without socket buffers of the kernel. It should be constant at constant load. If it keeps increasing, take a heap snapshot and restart the gateway.',
          unit: 'bytes',
          queries: [{ expr: ofPod(GATEWAY_MEMORY), legend: POD }],
        }),
        lines({
          title: 'Usage of limits',
          description:
            'Usage of memory, file descriptors and event loop time. A gateway rejects new connections with status 503 before a resource is exhausted. Near 1: add gateways, or raise the limit.',
          unit: 'percentunit',
          queries: [
            { expr: `max by (namespace, pod, resource) (${gateway('pressure')})`, legend: '{{pod}} {{resource}}' },
          ],
          warns: { at: 0.8, bad: 0.9 },
          max: 1,
        }),
        lines({
          title: 'Connections of shards',
          description:
            'The kernel distributes new connections by address and port. Imbalance is caused by few load balancer connections, or by a shard that was just restarted.',
          unit: 'short',
          queries: [{ expr: gateway('shard_connections'), legend: SHARD }],
        }),
        lines({
          title: 'Memory of shards',
          description:
            'Resident memory of each shard. If one stands out although connections are balanced, slow clients fill its buffers (slowConsumer.maxBuffer).',
          unit: 'bytes',
          queries: [{ expr: gateway('shard_resident_memory_bytes'), legend: SHARD }],
        }),
        lines({
          title: 'Shard restarts and overruns',
          description:
            'Shards that crashed or hung, and items dropped because a shard fell behind, per minute. If it is above 0, check the log; running out of memory is the most frequent reason.',
          unit: 'short',
          queries: [
            { expr: `60 * ${perPod(rate(gateway('shard_restarts_total')))}`, legend: '{{pod}} replaced' },
            { expr: `60 * ${perPod(rate(gateway('shard_overrun_items_total')))}`, legend: '{{pod}} overrun' },
          ],
        }),
        lines({
          title: 'Frames from clients',
          description:
            'Frames received from clients per second, those without effect, and responses dropped because a socket buffer was full. Many ignored frames indicate a faulty client or an attack.',
          unit: 'ops',
          queries: [
            { expr: `sum(${rate(gateway('frames_received_total'))})`, legend: 'received' },
            { expr: `sum(${rate(gateway('frames_ignored_total'))})`, legend: 'ignored' },
            { expr: `sum(${rate(gateway('answers_dropped_total'))})`, legend: 'answers dropped' },
            { expr: `sum(${rate(gateway('backlog_cut_total'))})`, legend: 'slow readers cut' },
          ],
        }),
      ],
    },
    {
      title: 'Settings',
      panels: [
        table({
          title: 'Settings generation',
          description:
            'All gateways of a cluster should have the same generation within 10 s of a change. A gateway that stays behind has rejected it: see its log and the condition Degraded of the PushCluster.',
          unit: 'none',
          queries: [{ expr: gateway('config_generation'), legend: POD, instant: true }],
          width: 12,
        }),
        lines({
          title: 'Rejected settings',
          description:
            'Invalid changes of the settings file, per hour. The previous settings stay in effect. The log of the gateway contains the key.',
          unit: 'short',
          queries: [{ expr: perPod(`increase(${gateway('config_refused_total')}[1h])`), legend: POD }],
          width: 12,
        }),
      ],
    },
  ],
});
