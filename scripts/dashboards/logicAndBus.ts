import { dashboard, heatMap, lines } from './panels.ts';
import { CLUSTER_LEGEND, CLUSTER_VARIABLES, chosen, logic, PER_CLUSTER, PER_POD, quantile, rate } from './selectors.ts';

const LOGIC = 'app_kubernetes_io_component="logic"';

/** The dashboard of pushes from backends, and of the bus that carries them. */
export const logicAndBus = dashboard({
  uid: 'pushcluster-logic-and-bus',
  title: 'Logic and bus',
  description: 'Pushes of publishers, their responses, and the bus that carries them to the gateways.',
  variables: CLUSTER_VARIABLES,
  rows: [
    {
      title: 'Pushes',
      panels: [
        lines({
          title: 'Push requests by status',
          description:
            '202: accepted. 207: partly accepted. 4xx: error of the publisher (401 and 403: its key; 429: its rate). 503: bus unavailable or overload. If there are 5xx continuously, check the bus below.',
          unit: 'reqps',
          queries: [{ expr: `sum by (code) (${rate(logic('push_requests_total'))})`, legend: '{{code}}' }],
        }),
        lines({
          title: 'Push requests by target',
          description:
            'Targets of pushes: all, rooms, users. "unknown" was rejected before the target was known. If "all" increases suddenly, find the publisher: each such item is sent to every client.',
          unit: 'reqps',
          queries: [{ expr: `sum by (target) (${rate(logic('push_requests_total'))})`, legend: '{{target}}' }],
        }),
        lines({
          title: 'Items',
          description:
            'Items confirmed by the bus per second; one for several rooms counts once for each. If there are far more than people can read, set rooms[].overload.',
          unit: 'ops',
          queries: [{ expr: `sum by (${PER_CLUSTER}) (${rate(logic('messages_total'))})`, legend: CLUSTER_LEGEND }],
        }),
        heatMap({
          title: 'Bus confirmation time',
          description:
            'Time from the acceptance of a push to the confirmation by NATS: one or two milliseconds within a zone. If it is higher, check the CPU of NATS and the network.',
          unit: 's',
          queries: [{ expr: `sum by (le) (${rate(logic('publish_seconds_bucket'))})`, legend: '{{le}}' }],
          width: 16,
        }),
        lines({
          title: 'Bus confirmation time (p99)',
          description: 'By logic pod. If one stands out, check its node. If all are slow, check NATS and the network.',
          unit: 's',
          queries: [{ expr: quantile(0.99, logic('publish_seconds_bucket'), 'pod'), legend: '{{pod}}' }],
          warns: { at: 0.1, bad: 0.5 },
        }),
      ],
    },
    {
      title: 'Rooms with history',
      panels: [
        lines({
          title: 'Storing: waiting messages',
          description:
            'Messages to rooms with history that are not stored yet. At 10,000 in a pod, pushes are rejected (503 overloaded): check the NATS servers, their storage, and the leader of the stream.',
          unit: 'short',
          queries: [{ expr: logic('history_waiting_messages'), legend: '{{pod}}' }],
          warns: { at: 1_000, bad: 5_000 },
          width: 12,
        }),
        lines({
          title: 'Storing: retries',
          description:
            'Messages that were sent again because NATS had not confirmed them, and those that were stored already, per second. Expected for seconds when a NATS server restarts; otherwise check the CPU and storage of NATS.',
          unit: 'ops',
          queries: [
            { expr: `sum(${rate(logic('publish_retries_total'))})`, legend: 'sent again' },
            { expr: `sum(${rate(logic('publish_duplicates_total'))})`, legend: 'stored already' },
          ],
          width: 12,
        }),
        lines({
          title: 'Storing: time (p99)',
          description:
            'Time until a message to a room with history was stored, with all attempts, by logic pod. Some milliseconds with one copy, more with three and with `sync: always`. Expected to rise to seconds when a NATS server crashes; otherwise check the CPU and storage of NATS.',
          unit: 's',
          queries: [{ expr: quantile(0.99, logic('history_store_seconds_bucket'), 'pod'), legend: '{{pod}}' }],
          warns: { at: 0.5, bad: 2 },
          width: 8,
        }),
        lines({
          title: 'Stored bytes',
          description:
            'Bytes of the histories in one copy, by policy. All copies of all policies must fit in the storage of JetStream: nats.managed.jetstream.size, or that of your own NATS. If a history grows too large, lower rooms[].history (messages, maxAge).',
          unit: 'bytes',
          queries: [{ expr: `max by (${PER_CLUSTER}, match) (${logic('history_bytes')})`, legend: '{{match}}' }],
          width: 8,
        }),
        lines({
          title: 'Age of the oldest message',
          description:
            'Age of the oldest message of all rooms of a policy. It rises to rooms[].history.maxAge and stays there. If it falls at once, the history was made anew: its clients were told.',
          unit: 's',
          queries: [
            {
              // 0 where nothing is stored.
              expr: `(time() - min by (${PER_CLUSTER}, match) (${logic('history_oldest_timestamp_seconds')})) or 0 * max by (${PER_CLUSTER}, match) (${logic('history_messages')})`,
              legend: '{{match}}',
            },
          ],
          width: 8,
        }),
      ],
    },
    {
      title: 'Logic pods',
      panels: [
        lines({
          title: 'CPU',
          description:
            'CPU cores used by each logic pod, which can use one. Near 1: add logic pods (logic.replicas or logic.autoscaling).',
          unit: 'short',
          queries: [{ expr: rate(chosen('process_cpu_seconds_total', LOGIC)), legend: '{{pod}}' }],
          warns: { at: 0.8, bad: 0.95 },
        }),
        lines({
          title: 'Memory',
          description:
            'Resident memory of each logic pod. It grows with messages that wait for the bus. A continuous increase at constant load is a leak.',
          unit: 'bytes',
          queries: [{ expr: chosen('process_resident_memory_bytes', LOGIC), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Waiting for the bus',
          description:
            'Bytes sent to the bus and not yet confirmed. At 64 MiB, pushes are rejected (503 overloaded): NATS is too slow or unavailable.',
          unit: 'bytes',
          queries: [{ expr: logic('publish_in_flight_bytes'), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Gateways known to logic',
          description:
            'Gateways that reported in the last seconds, by logic pod. If there are fewer than exist, these gateways have lost the bus and their clients receive nothing.',
          unit: 'short',
          queries: [{ expr: logic('known_gateways'), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Pending gateway queries',
          description:
            'Queries to gateways (/v1/rooms, /v1/users, …) without a response yet. At 256, more are rejected: query less often.',
          unit: 'short',
          queries: [{ expr: logic('questions_under_way'), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Ignored messages, rejected connections',
          description:
            'Messages of gateways that were not understood or surplus, expected only during rollouts; and connections closed because there were too many: a publisher that keeps opening connections. Per second.',
          unit: 'ops',
          queries: [
            { expr: `sum by (kind) (${rate(logic('ignored_messages_total'))})`, legend: 'ignored {{kind}}' },
            { expr: `sum(${rate(logic('connections_refused_total'))})`, legend: 'connections refused' },
          ],
        }),
      ],
    },
    {
      title: 'Bus',
      panels: [
        lines({
          title: 'Connected',
          description:
            'Share of the gateways and logic pods of each cluster that are connected to NATS. Below 1, gateways receive nothing or logic responds with 503. Check the NATS pods and their log.',
          unit: 'percentunit',
          queries: [
            { expr: `avg by (${PER_CLUSTER}) (${chosen('pushcluster_bus_connected')})`, legend: CLUSTER_LEGEND },
          ],
          max: 1,
          width: 12,
        }),
        lines({
          title: 'Known peers of gateways',
          description:
            'By gateway. All gateways of a cluster should know equally many. One that knows fewer has lost the bus, or its reports are lost. They share the drain rate based on this.',
          unit: 'short',
          queries: [{ expr: `max by (${PER_POD}) (${chosen('pushcluster_gateway_peers')})`, legend: '{{pod}}' }],
          width: 12,
        }),
        lines({
          title: 'Reconnects',
          description:
            'Connections to NATS after the first one, per minute. One for each pod when a server restarts. If there are more, NATS disconnects slow consumers, or the network is unstable.',
          unit: 'short',
          queries: [
            {
              expr: `60 * sum by (${PER_POD}) (${rate(chosen('pushcluster_bus_reconnects_total'))})`,
              legend: '{{pod}}',
            },
          ],
          width: 12,
        }),
        lines({
          title: 'Invalid messages',
          description:
            'Bus messages that a gateway could not parse, per second. If it is above 0 after a rollout, another program publishes with this prefix, or the versions are incompatible.',
          unit: 'ops',
          queries: [
            {
              expr: `sum by (${PER_POD}) (${rate(chosen('pushcluster_gateway_bus_messages_ignored_total'))})`,
              legend: '{{pod}}',
            },
          ],
          width: 12,
        }),
      ],
    },
  ],
});
