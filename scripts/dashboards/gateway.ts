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

/** Series of the chosen gateways. */
function gateway(name: string, more = ''): string {
  return chosen(`pushcluster_gateway_${name}`, `pod=~"$pod"${more === '' ? '' : `,${more}`}`);
}

function perPod(expr: string): string {
  return `sum by (${PER_POD}) (${expr})`;
}

/** A sum of a pod's hub and shards is of all pods: only the chosen ones of it. */
function ofPod(expr: string): string {
  return `(${expr}) and on (${PER_POD}) ${gateway('draining')}`;
}

const POD = '{{pod}}';
const SHARD = '{{pod}} shard {{shard}}';

/** Each gateway, and each of its shards. */
export const gatewayDashboard = dashboard({
  uid: 'pushcluster-gateway',
  title: 'Gateway',
  description: 'Each gateway and each of its shards: who is connected, what goes out, and what it costs.',
  variables: [...CLUSTER_VARIABLES, POD_VARIABLE, LINE_RATE_VARIABLE],
  rows: [
    {
      title: 'Connections',
      panels: [
        lines({
          title: 'Connections',
          description:
            'Of each gateway. They are even where the load balancer is; a new gateway fills slowly since connections stay where they are: see gateway.rebalance.',
          unit: 'short',
          queries: [{ expr: perPod(gateway('connections')), legend: POD }],
        }),
        lines({
          title: 'Opened',
          description:
            'Handshakes a second of each gateway. Some 5,000 a second and core are the end: set connections.acceptRate, so that a storm comes in at a pace that all survive.',
          unit: 'ops',
          queries: [{ expr: perPod(rate(gateway('connections_opened_total'))), legend: POD }],
        }),
        lines({
          title: 'Closures by code',
          description:
            "1000 and 1001 are people who left, 1012 are connections moved by a drain, 1006 is a connection cut without a word. Much 1006: look at the load balancer's idle timeout and at restarts of shards. 4001 and 4401 are tokens, 1013 is overload, 4003 slow readers.",
          unit: 'ops',
          queries: [{ expr: `sum by (code) (${rate(gateway('connections_closed_total'))})`, legend: '{{code}}' }],
        }),
        lines({
          title: 'Refused handshakes',
          description:
            'By reason. "full", "memory", "fds", "loop" and "rate" are the gateway\'s limits: add gateways. "token" and "origin" are clients: look at who issues tokens, and at auth.allowedOrigins.',
          unit: 'ops',
          queries: [{ expr: `sum by (reason) (${rate(gateway('refused_total'))})`, legend: '{{reason}}' }],
        }),
        lines({
          title: 'Rooms',
          description:
            'Rooms with a member on each gateway: each is a subscription on the bus. Near rooms.max (200,000) new ones are refused; where names of rooms are made by clients, allow patterns only.',
          unit: 'short',
          queries: [{ expr: perPod(gateway('rooms')), legend: POD }],
        }),
        lines({
          title: 'Leaving',
          description:
            '1 while a gateway drains. Longer than drain.timeout: it hangs; look at its log, and delete the pod if nobody is on it any more.',
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
            'Items written to sockets a second. One gateway far below the others with as many connections: look at its loop lag and its bus.',
          unit: 'ops',
          queries: [{ expr: perPod(rate(gateway('messages_delivered_total'))), legend: POD }],
        }),
        lines({
          title: 'Frames sent',
          description:
            'WebSocket frames a second: packets, which are what costs CPU. Some 100,000 a second and core are the end. Longer merge windows make fewer.',
          unit: 'ops',
          queries: [{ expr: perPod(rate(gateway('frames_sent_total'))), legend: POD }],
        }),
        lines({
          title: 'Items in a frame',
          description:
            'On average. 1 where rooms are quiet. Far below items a second times the window: urgent pushes or tiny maxBytes break frames up.',
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
          title: 'Merge windows',
          description:
            "From a frame's first item to the frame. It should end at maxDelay: beyond it the hub is late, so look at its CPU.",
          unit: 's',
          queries: [{ expr: `sum by (le) (${rate(gateway('batch_window_seconds_bucket'))})`, legend: '{{le}}' }],
        }),
        lines({
          title: 'Latency',
          description:
            'From accepted by logic to written to the socket: half, and 99 of 100, of each gateway. Above the merge window: loop lag, then CPU, then the bus.',
          unit: 's',
          queries: [
            { expr: quantile(0.5, gateway('delivery_latency_seconds_bucket'), 'pod'), legend: '{{pod}} p50' },
            { expr: quantile(0.99, gateway('delivery_latency_seconds_bucket'), 'pod'), legend: '{{pod}} p99' },
          ],
          warns: { at: 2, bad: 3 },
        }),
        lines({
          title: 'Wire',
          description:
            'Bytes a second on the wire, headers included, as a share of the line rate that is chosen above. Above 0.7: compression, longer windows, or more nodes.',
          unit: 'percentunit',
          queries: [{ expr: `(${ofPod(GATEWAY_WIRE)}) / $line_rate`, legend: POD }],
          warns: { at: 0.7, bad: 0.85 },
        }),
        lines({
          title: 'Drops',
          description:
            'Items that did not reach a connection, by gateway and reason. "slow" on one gateway alone: its node\'s wire is full, or its shard is late.',
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
            'Items lost before this gateway, a second. On one gateway: its node or its network. On all: NATS.',
          unit: 'ops',
          queries: [{ expr: perPod(rate(gateway('gaps_total'))), legend: POD }],
        }),
        lines({
          title: 'Retries dropped',
          description:
            'Pushes dropped since their id was seen in the last two minutes: backends that retry, which is harmless. Ids forgotten early are not: a retry of those repeats. Push fewer ids, or retry sooner.',
          unit: 'ops',
          queries: [
            { expr: perPod(rate(gateway('push_retries_dropped_total'))), legend: '{{pod}} dropped' },
            { expr: perPod(rate(gateway('push_ids_forgotten_total'))), legend: '{{pod}} forgotten early' },
          ],
        }),
      ],
    },
    {
      title: 'What it costs',
      panels: [
        lines({
          title: 'CPU',
          description:
            "Cores that each gateway uses, hub and shards. Near the pod's limit the kernel throttles it, and everybody waits: raise resources, or add gateways.",
          unit: 'short',
          queries: [{ expr: ofPod(GATEWAY_CPU), legend: POD }],
        }),
        lines({
          title: 'CPU of shards',
          description: 'Each shard can use one core. Near 1: more shards (CPUs for the pod), or more gateways.',
          unit: 'short',
          queries: [{ expr: rate(gateway('shard_cpu_seconds_total')), legend: SHARD }],
          warns: { at: 0.8, bad: 0.95 },
        }),
        lines({
          title: 'Loop lag of shards',
          description:
            'How late each event loop ran in the last second, at worst. Above some 200 ms: the shard has too much to do; add gateways or shards.',
          unit: 's',
          queries: [{ expr: gateway('shard_loop_lag_seconds'), legend: SHARD }],
          warns: { at: 0.2, bad: 0.5 },
        }),
        lines({
          title: 'Memory',
          description:
            'Resident memory of hub and shards. What the kernel holds for sockets comes on top. It should be flat at even load; a steady climb is a leak: keep a heap snapshot, and restart.',
          unit: 'bytes',
          queries: [{ expr: ofPod(GATEWAY_MEMORY), legend: POD }],
        }),
        lines({
          title: 'Used of each limit',
          description:
            'Of memory, descriptors and time to answer. A gateway refuses newcomers with 503 before it runs out. Near 1: add gateways, or raise that limit.',
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
            'The kernel shares newcomers out by address and port. Far from even: few clients behind one balancer connection, or a shard that was replaced a moment ago.',
          unit: 'short',
          queries: [{ expr: gateway('shard_connections'), legend: SHARD }],
        }),
        lines({
          title: 'Memory of shards',
          description:
            'Resident memory of each shard. One that stands out with even connections: slow readers fill its buffers (slowConsumer.maxBuffer).',
          unit: 'bytes',
          queries: [{ expr: gateway('shard_resident_memory_bytes'), legend: SHARD }],
        }),
        lines({
          title: 'Shards replaced, items overrun',
          description:
            'Shards that died or hung, and items dropped before a shard that fell behind, a minute. Above 0: look at the log for its reason; out of memory is the usual one.',
          unit: 'short',
          queries: [
            { expr: `60 * ${perPod(rate(gateway('shard_restarts_total')))}`, legend: '{{pod}} replaced' },
            { expr: `60 * ${perPod(rate(gateway('shard_overrun_items_total')))}`, legend: '{{pod}} overrun' },
          ],
        }),
        lines({
          title: 'Frames of clients',
          description:
            'What clients send, a second, what of it had no effect, and answers that full sockets had no room for. Much that is ignored: a client with a bug, or somebody who tries things.',
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
          title: 'Generation of the settings',
          description:
            "All gateways of a cluster should have the same within 10 s of a change. One that stays behind has refused it: its log and the PushCluster's condition Degraded say why.",
          unit: 'none',
          queries: [{ expr: gateway('config_generation'), legend: POD, instant: true }],
          width: 12,
        }),
        lines({
          title: 'Settings refused',
          description:
            'Changes of the settings file that were refused as wrong, an hour; the former ones stay in force. Look at the log of the gateway: it names the key.',
          unit: 'short',
          queries: [{ expr: perPod(`increase(${gateway('config_refused_total')}[1h])`), legend: POD }],
          width: 12,
        }),
      ],
    },
  ],
});
