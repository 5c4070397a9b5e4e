import { dashboard, heatMap, lines } from './panels.ts';
import { CLUSTER_LEGEND, CLUSTER_VARIABLES, chosen, logic, PER_CLUSTER, PER_POD, quantile, rate } from './selectors.ts';

const LOGIC = 'app_kubernetes_io_component="logic"';

/** What backends push, and the bus that carries it. */
export const logicAndBus = dashboard({
  uid: 'pushcluster-logic-and-bus',
  title: 'Logic and bus',
  description: 'What backends push, how it is answered, and the bus that carries it to the gateways.',
  variables: CLUSTER_VARIABLES,
  rows: [
    {
      title: 'Pushes',
      panels: [
        lines({
          title: 'Push requests by answer',
          description:
            "202 is taken, 207 partly, 4xx is the backend's mistake (401 and 403: its key), 429 its rate, 503 the bus or overload. Any 5xx that goes on: look at the bus below.",
          unit: 'reqps',
          queries: [{ expr: `sum by (code) (${rate(logic('push_requests_total'))})`, legend: '{{code}}' }],
        }),
        lines({
          title: 'Push requests by target',
          description:
            'What was pushed to: all, rooms, users. "unknown" was refused before that was clear. A jump of "all": each such item goes to everybody, so find the backend that does it.',
          unit: 'reqps',
          queries: [{ expr: `sum by (target) (${rate(logic('push_requests_total'))})`, legend: '{{target}}' }],
        }),
        lines({
          title: 'Items',
          description:
            'Items that the bus confirmed, a second; one to several rooms counts once for each. Far above what people can read: set rooms[].overload.',
          unit: 'ops',
          queries: [{ expr: `sum by (${PER_CLUSTER}) (${rate(logic('messages_total'))})`, legend: CLUSTER_LEGEND }],
        }),
        heatMap({
          title: 'Receipt of the bus',
          description:
            'From an accepted push to the receipt of NATS: a millisecond or two in one zone. More: NATS is busy or far away; look at its CPU and at the network.',
          unit: 's',
          queries: [{ expr: `sum by (le) (${rate(logic('publish_seconds_bucket'))})`, legend: '{{le}}' }],
          width: 16,
        }),
        lines({
          title: 'Receipt, 99 of 100 within',
          description: 'By logic pod. One that stands out: look at its node. All of them: NATS is busy or far away.',
          unit: 's',
          queries: [{ expr: quantile(0.99, logic('publish_seconds_bucket'), 'pod'), legend: '{{pod}}' }],
          warns: { at: 0.1, bad: 0.5 },
        }),
      ],
    },
    {
      title: 'Logic pods',
      panels: [
        lines({
          title: 'CPU',
          description:
            'Cores of each logic pod, which can use one. Near 1: more logic pods (logic.replicas, or its autoscaling).',
          unit: 'short',
          queries: [{ expr: rate(chosen('process_cpu_seconds_total', LOGIC)), legend: '{{pod}}' }],
          warns: { at: 0.8, bad: 0.95 },
        }),
        lines({
          title: 'Memory',
          description:
            'Resident memory of each logic pod. It grows with what waits for the bus; a steady climb at even load is a leak.',
          unit: 'bytes',
          queries: [{ expr: chosen('process_resident_memory_bytes', LOGIC), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Waiting for the bus',
          description:
            'Bytes given to the bus and not yet confirmed. At 64 MiB pushes are refused (503 overloaded): NATS is too slow, or gone.',
          unit: 'bytes',
          queries: [{ expr: logic('publish_in_flight_bytes'), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Gateways that logic knows',
          description:
            'Heard of in the last seconds, by logic pod. Fewer than there are: those gateways have lost the bus, and their people miss everything.',
          unit: 'short',
          queries: [{ expr: logic('known_gateways'), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Questions under way',
          description:
            'Questions to gateways (/v1/rooms, /v1/users, …) that wait for answers. At 256 more are refused: ask less often.',
          unit: 'short',
          queries: [{ expr: logic('questions_under_way'), legend: '{{pod}}' }],
        }),
        lines({
          title: 'Ignored, refused',
          description:
            'Messages of gateways that were not understood or one too many, and connections closed since there were too many, a second. The first in a rollout only; the second: a backend that opens connections without end.',
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
            'Share of the gateways and logic pods of each cluster that have a connection to NATS. Below 1: gateways get nothing meanwhile, logic answers 503. Look at the NATS pods and their log.',
          unit: 'percentunit',
          queries: [
            { expr: `avg by (${PER_CLUSTER}) (${chosen('pushcluster_bus_connected')})`, legend: CLUSTER_LEGEND },
          ],
          max: 1,
          width: 12,
        }),
        lines({
          title: 'Other gateways that a gateway hears',
          description:
            'By gateway. Those of one cluster hear equally many: one that hears fewer has lost the bus, or its reports are lost. They share the pace of drains by it.',
          unit: 'short',
          queries: [{ expr: `max by (${PER_POD}) (${chosen('pushcluster_gateway_peers')})`, legend: '{{pod}}' }],
          width: 12,
        }),
        lines({
          title: 'Reconnects',
          description:
            'Connections to NATS after the first, a minute. One for each pod when a server restarts; more: NATS cuts slow consumers off, or the network flaps.',
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
          title: 'Messages not understood',
          description:
            'Bus messages that a gateway could not read, a second. Above 0 after a rollout is over: another program publishes under this prefix, or versions are too far apart.',
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
