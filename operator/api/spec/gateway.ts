import { z } from 'zod';
import { bytesIn, count, duration, extended, fraction, ruled, size } from '../fields.ts';
import { batching, twice } from './batching.ts';
import { disruptionBudget } from './disruptionBudget.ts';
import { GatewayAutoscaling } from './gatewayAutoscaling.ts';
import { GatewayService } from './gatewayService.ts';
import { ASKS_FOR_CPU, placement, replicas, resources } from './pods.ts';
import { GATEWAY_TEMPLATE, podAnnotations, podLabels, podTemplateFields } from './podTemplate.ts';
import { serviceAccount } from './serviceAccount.ts';

/**
 * Sysctls of the pod's network namespace that kubelets allow by default: Kubernetes' list of safe sysctls. tcp_rmem and
 * tcp_wmem are safe as of Kubernetes 1.32.
 */
export const SAFE_SYSCTLS = [
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
] as const;

export const Gateway = ruled(
  z.object({
    replicas: replicas.describe(
      'Number of gateways. When it is reduced, the gateways with the fewest connections are drained first, then removed. If it is not set, the operator sets it: to 2 for a new PushCluster (with `autoscaling`, to its `minReplicas`), otherwise to the current number. With `autoscaling`, leave it out: only the autoscaler and `kubectl scale` change it.',
    ),
    shards: extended(
      ruled(z.union([z.literal('auto'), z.number().int().min(1).max(256)]), {
        rule: "type(self) == int ? self >= 1 && self <= 256 : self == 'auto'",
        message: 'gateway.shards must be from 1 to 256, or auto',
      }),
      { 'x-kubernetes-int-or-string': true },
    )
      .default('auto')
      .describe(
        'Number of processes in a gateway that hold connections. `auto` is the number of its CPUs (limit, otherwise request) minus one, but at least one. Changing it rolls out the gateways.',
      ),
    connections: z
      .object({
        max: count
          .default(0)
          .describe(
            'Maximum number of connections of a gateway. More are rejected with status 503. 0 means as many as its file descriptors allow.',
          ),
        acceptRate: count
          .default(0)
          .describe(
            'Maximum number of handshakes per second and gateway. More are rejected with status 429. 0 means no limit.',
          ),
        perIp: count
          .default(0)
          .describe(
            'Maximum number of connections from one IP address (for IPv6, one /64 network) to a gateway. More are rejected with status 429. 0 means no limit, the default because many users may share an address.',
          ),
        onePerUser: z
          .boolean()
          .default(false)
          .describe(
            'Whether a user has at most one connection. When a user opens another one, the older connection is closed with code 4004.',
          ),
      })
      .prefault({})
      .describe('Limits on connections.'),
    rooms: z
      .object({
        maxPerConnection: z
          .number()
          .int()
          .min(1)
          .max(10_000)
          .default(100)
          .describe('Maximum number of rooms that a connection may join.'),
        max: z
          .number()
          .int()
          .min(1)
          .max(2_147_483_647)
          .default(200_000)
          .describe('Maximum number of rooms that have a member on one shard.'),
      })
      .prefault({})
      .describe('Limits on rooms.'),
    inbound: z
      .object({
        maxFrame: size('gateway.inbound.maxFrame', { min: '256B', max: '64KiB' })
          .default('4KiB')
          .describe('Largest frame that a client may send. A larger one closes the connection with code 1009.'),
        frameRate: z
          .number()
          .int()
          .min(1)
          .max(10_000)
          .default(50)
          .describe(
            'Maximum number of frames per second from one client, with bursts of twice that. More close the connection with code 1008.',
          ),
      })
      .prefault({})
      .describe('Limits on what clients send.'),
    idleTimeout: duration('gateway.idleTimeout', { min: '8s', max: '16m' })
      .default('2m')
      .describe(
        'Time after which a connection is closed that sends nothing, not even the answer to a ping. Pings are sent in time. Changing it rolls out the gateways.',
      ),
    batching: z
      .object({
        minDelay: batching('gateway.batching').minDelay.default('0s'),
        maxDelay: batching('gateway.batching').maxDelay.default('1s'),
        adaptive: batching('gateway.batching').adaptive.default(true),
        maxItems: batching('gateway.batching').maxItems.default(1_000),
        maxBytes: batching('gateway.batching').maxBytes.default('256KiB'),
        compression: z
          .boolean()
          .default(true)
          .describe(
            'Whether clients may use the compressed subprotocol, `pushcluster.v1.deflate`. Changing it rolls out the gateways.',
          ),
        urgentRate: count
          .default(10)
          .describe(
            'Maximum number of urgent pushes per second and room that are sent immediately, with all items queued before them. More are batched as usual. With 0, all are.',
          ),
      })
      .prefault({})
      .describe('Merging of the items of a room into frames. `rooms` overrides it for single rooms.'),
    slowConsumer: z
      .object({
        maxBuffer: size('gateway.slowConsumer.maxBuffer', { min: '16KiB', max: '64MiB' })
          .default('1MiB')
          .describe(
            "Maximum number of bytes queued for a connection, in addition to the kernel's send buffer. Must be at least twice `batching.maxBytes`. Changing it rolls out the gateways.",
          ),
        policy: z
          .enum(['skip', 'close'])
          .default('skip')
          .describe(
            'What happens when the queue is full. `skip` sends no more frames until the queue is empty, then tells the client what it has missed (LAGGED). `close` closes the connection with code 4003.',
          ),
      })
      .prefault({})
      .describe('Handling of connections that read more slowly than they are sent to.'),
    drain: z
      .object({
        rate: z
          .number()
          .int()
          .min(1)
          .max(1_000_000)
          .default(200)
          .describe(
            'Connections moved per second, shared by all gateways that drain. The rate increases if needed to finish within `timeout`.',
          ),
        settle: duration('gateway.drain.settle', { min: '0s', max: '5m' })
          .exactOptional()
          .describe(
            'Time for which a gateway that leaves still accepts connections, until load balancers have noticed. Default: `45s` if `service.type` is `LoadBalancer` and `service.externalTrafficPolicy` is `Local`, otherwise `5s`. Under `Local`, keep it at least 10 s longer than the interval times the failures of the health check of the load balancer. Changing it rolls out the gateways.',
          ),
        timeout: duration('gateway.drain.timeout', { min: '1s', max: '1h' })
          .default('5m')
          .describe(
            'Maximum time to move connections after `settle`. Keep the sum of both below 10 minutes if you use cluster-autoscaler, which waits no longer by default. Changing it rolls out the gateways.',
          ),
      })
      .prefault({})
      .describe('Draining: how a gateway moves its connections to others before it shuts down.'),
    rollout: z
      .object({
        maxTerminating: z
          .number()
          .int()
          .min(1)
          .max(1_000)
          .exactOptional()
          .describe(
            'Maximum number of gateways that a rollout has terminating at the same time. They move their connections for up to `drain.settle` + `drain.timeout`, beside the gateways that replace them. A rollout adds no more than this number at a time either. By default, there is no limit: up to twice `replicas` gateways exist in a rollout.',
          ),
      })
      .prefault({})
      .describe('Rollouts of the gateways.'),
    rebalance: z
      .object({
        threshold: fraction('gateway.rebalance.threshold', { min: 1.05, max: 100 })
          .default(1.2)
          .describe('A gateway moves connections away once it holds more than this multiple of the average.'),
        rate: count
          .default(100)
          .describe(
            'Number of connections that all gateways together move per second. 0 disables rebalancing; new gateways then fill only with new connections.',
          ),
        minimum: count.default(500).describe('Number of connections below which a gateway moves none away.'),
        moveOthers: z
          .boolean()
          .default(false)
          .describe(
            'Whether connections of clients that do not use the `pushcluster.v1` protocol are moved too, by closing them with code 1012.',
          ),
      })
      .prefault({})
      .describe(
        'Rebalancing: moves connections to gateways with fewer of them, for example after a scale-up. Paused during drains and rollouts.',
      ),
    protection: z
      .object({
        memory: fraction('gateway.protection.memory', { min: 0.1, max: 1 })
          .default(0.9)
          .describe(
            "Share of the memory limit, or of the node's memory if there is no limit, above which new connections are rejected. 1 disables the check.",
          ),
        fds: fraction('gateway.protection.fds', { min: 0.1, max: 1 })
          .default(0.98)
          .describe(
            'Share of the file descriptors of a shard above which new connections are rejected. With 1, only a small reserve is kept.',
          ),
        loopLag: duration('gateway.protection.loopLag', { min: '0s', max: '1m' })
          .default('500ms')
          .describe(
            'Delay of the event loop, over the last few seconds, above which new connections are rejected. `0s` disables the check.',
          ),
        handshakes: z
          .number()
          .int()
          .min(10)
          .max(1_000_000)
          .default(10_000)
          .describe(
            'Number of handshakes that a shard processes at a time. Beyond twice the number, TCP connections are closed before their request is read.',
          ),
      })
      .prefault({})
      .describe(
        'Overload protection: limits above which a gateway rejects new connections with status 503, before a resource is exhausted. Established connections are kept.',
      ),
    autoscaling: GatewayAutoscaling.exactOptional().describe(
      'If set, the operator creates a HorizontalPodAutoscaler that sets `gateway.replicas`. With several targets, the highest result counts.',
    ),
    service: GatewayService.prefault({}).describe('Service through which clients connect to the gateways.'),
    disruptionBudget: disruptionBudget('gateway.disruptionBudget', 'gateways'),
    resources: resources('256Mi'),
    placement,
    podTemplate: z
      .object({
        labels: podLabels('gateway.podTemplate.labels')
          .default({})
          .describe('Labels added to the gateway pods. Those of `metadata.labels` take precedence.'),
        annotations: podAnnotations('gateway.podTemplate.annotations')
          .default({})
          .describe('Annotations added to the gateway pods. Those of `metadata.annotations` take precedence.'),
        ...podTemplateFields(GATEWAY_TEMPLATE),
      })
      .prefault({})
      .describe('Template that is merged over the gateway pods of the operator. Changing it rolls out the gateways.'),
    serviceAccount: serviceAccount('gateway.serviceAccount'),
    sysctls: ruled(extended(z.record(z.string(), z.string()), { maxProperties: SAFE_SYSCTLS.length }), {
      rule: `self.all(k, k in [${SAFE_SYSCTLS.map((name) => `'${name}'`).join(', ')}])`,
      message: `gateway.sysctls may be ${SAFE_SYSCTLS.join(', ')}: kubelets reject others, or they belong to the node`,
    })
      .default({})
      .describe(
        "Sysctls of the pods' network namespace, by name. Only sysctls that Kubernetes considers safe are allowed. Changing it rolls out the gateways.",
      ),
    console: z
      .boolean()
      .default(false)
      .describe(
        'Whether gateways serve the test console at `/`. Anybody who reaches the gateways can open it. Changing it rolls out the gateways.',
      ),
    consolePushUrl: z
      .string()
      .max(2_048)
      .default('')
      .describe(
        'URL of the push API that the console uses, as the browser reaches it. `logic.allowedOrigins` must allow the page. Changing it rolls out the gateways.',
      ),
    consoleRoom: z
      .string()
      .max(128)
      .default('')
      .describe('Room that the console joins when it is opened. Changing it rolls out the gateways.'),
    echo: z
      .boolean()
      .default(false)
      .describe('Whether gateways serve the diagnostic echo at `/ws`. Changing it rolls out the gateways.'),
    hostNetwork: z
      .boolean()
      .default(false)
      .describe(
        'Whether the pods use the network of their node. Ports 7777 and 9090 of the node must be free, so each node runs at most one gateway, and a rollout needs a spare node. Changing it rolls out the gateways.',
      ),
  }),
  {
    // The API server evaluates the rules on the default {} before it sets the defaults below it: hence has().
    rule: `!has(self.slowConsumer) || !has(self.batching) || ${twice('self.batching.maxBytes')}.compareTo(${bytesIn('self.slowConsumer.maxBuffer')}) <= 0`,
    message: 'gateway.slowConsumer.maxBuffer must hold two full frames: at least twice gateway.batching.maxBytes',
    fieldPath: '.slowConsumer.maxBuffer',
  },
  {
    rule: '!has(self.autoscaling) || !has(self.autoscaling.targetConnections) || !has(self.connections) || self.connections.max == 0 || self.autoscaling.targetConnections <= self.connections.max',
    message:
      'gateway.autoscaling.targetConnections must not exceed gateway.connections.max: no gateway would ever reach it',
    fieldPath: '.autoscaling.targetConnections',
  },
  {
    rule: `!has(self.autoscaling) || !has(self.autoscaling.targetCPUUtilization) || ${ASKS_FOR_CPU}`,
    message:
      'gateway.autoscaling.targetCPUUtilization is a percentage of gateway.resources.requests.cpu, which is not set or 0',
    fieldPath: '.autoscaling.targetCPUUtilization',
  },
  {
    rule: '!has(self.hostNetwork) || !self.hostNetwork || size(self.sysctls) == 0',
    message: 'gateway.sysctls must be empty with gateway.hostNetwork: they would change the node',
    fieldPath: '.sysctls',
  },
);
