import { z } from 'zod';
import { bytesIn, count, duration, extended, fraction, ruled, size } from '../fields.ts';
import { batching, twice } from './batching.ts';
import { GatewayAutoscaling } from './gatewayAutoscaling.ts';
import { GatewayService } from './gatewayService.ts';
import { annotations, labelValue, QUALIFIED_NAME, RESERVED } from './metadata.ts';
import { ASKS_FOR_CPU, placement, resources } from './pods.ts';

/** Sysctls of a pod's own network that every kubelet allows (tcp_rmem and tcp_wmem: from Kubernetes 1.32 on). */
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
    replicas: z
      .number()
      .int()
      .min(0)
      .max(1_000)
      .default(2)
      .describe('Gateways. Fewer: the emptiest are drained first. Set by the autoscaler where there is one.'),
    shards: extended(
      ruled(z.union([z.literal('auto'), z.number().int().min(1).max(256)]), {
        rule: "type(self) == int ? self >= 1 && self <= 256 : self == 'auto'",
        message: 'gateway.shards must be from 1 to 256, or auto',
      }),
      { 'x-kubernetes-int-or-string': true },
    )
      .default('auto')
      .describe(
        'Processes with sockets in a gateway. `auto`: one less than its CPUs (limit, else request), at least one.',
      ),
    connections: z
      .object({
        max: count.default(0).describe('Of a gateway at most. 0: as many as its file descriptors allow.'),
        acceptRate: count.default(0).describe('Handshakes a second and gateway; over it 429. 0: no limit.'),
        perIp: count
          .default(0)
          .describe('Of one address (IPv6: one /64) and gateway. 0: no limit, since many people share an address.'),
        onePerUser: z.boolean().default(false).describe("A user's older session is closed with 4004."),
      })
      .prefault({})
      .describe('Limits of connections.'),
    rooms: z
      .object({
        maxPerConnection: z
          .number()
          .int()
          .min(1)
          .max(10_000)
          .default(100)
          .describe('Rooms that a connection may join.'),
      })
      .prefault({})
      .describe('Limits of rooms.'),
    batching: z
      .object({
        maxDelay: batching('gateway.batching').maxDelay.default('1s'),
        maxItems: batching('gateway.batching').maxItems.default(1_000),
        maxBytes: batching('gateway.batching').maxBytes.default('256KiB'),
        compression: z.boolean().default(true).describe('Whether `pushcluster.v1.deflate` is offered.'),
        urgentRate: count
          .default(10)
          .describe('Urgent pushes a second and room that flush its window; more are merged as usual.'),
      })
      .prefault({})
      .describe("How a room's items are merged to frames."),
    slowConsumer: z
      .object({
        maxBuffer: size('gateway.slowConsumer.maxBuffer', { min: '16KiB', max: '64MiB' })
          .default('1MiB')
          .describe("Bytes queued for one connection beyond the kernel's buffer; two full frames at least."),
        policy: z
          .enum(['skip', 'close'])
          .default('skip')
          .describe('`skip`: leave it out until it has caught up, and tell it. `close`: close it with 4003.'),
      })
      .prefault({})
      .describe('What happens to a connection that reads too slowly.'),
    drain: z
      .object({
        rate: z
          .number()
          .int()
          .min(1)
          .max(1_000_000)
          .default(200)
          .describe('Connections moved a second; rises as needed to be done in time.'),
        settle: duration('gateway.drain.settle', { min: '0s', max: '5m' })
          .default('5s')
          .describe('How long a leaving gateway still accepts, until balancers know.'),
        timeout: duration('gateway.drain.timeout', { min: '1s', max: '1h' })
          .default('5m')
          .describe('From the end of `settle` to the end of the gateway. cluster-autoscaler waits 10 minutes at most.'),
      })
      .prefault({})
      .describe('How a gateway leaves.'),
    rebalance: z
      .object({
        threshold: fraction('gateway.rebalance.threshold', { min: 1.05, max: 100 })
          .default(1.2)
          .describe('Times the average of all gateways from where on one gives away what it has too much.'),
        rate: count
          .default(100)
          .describe('Connections moved a second, by all gateways together. 0: never; new gateways fill slowly then.'),
        minimum: count.default(500).describe('Connections that a gateway keeps at least.'),
        moveOthers: z
          .boolean()
          .default(false)
          .describe('Also those that do not speak `pushcluster.v1`, by closing them with 1012.'),
      })
      .prefault({})
      .describe('How gateways become evenly full after more have come. Never during a drain or a rollout.'),
    protection: z
      .object({
        memory: fraction('gateway.protection.memory', { min: 0.1, max: 1 })
          .default(0.9)
          .describe("Share of the memory limit (the node's memory where there is none). 1: never refuse for it."),
        fds: fraction('gateway.protection.fds', { min: 0.1, max: 1 })
          .default(0.98)
          .describe('Share of the descriptors that a shard may open. 1: only the last few are kept free.'),
        loopLag: duration('gateway.protection.loopLag', { min: '0s', max: '1m' })
          .default('500ms')
          .describe('How late an event loop may serve over the last seconds. `0s`: never refuse for it.'),
        handshakes: z
          .number()
          .int()
          .min(10)
          .max(1_000_000)
          .default(3_000)
          .describe('Handshakes under way in one shard. Over it 503; over twice of it they are cut unread.'),
      })
      .prefault({})
      .describe(
        'From where on a gateway refuses newcomers with 503, before a resource gives out. Who is connected stays.',
      ),
    autoscaling: GatewayAutoscaling.exactOptional().describe('Makes a HorizontalPodAutoscaler for `replicas`.'),
    service: GatewayService.prefault({}).describe('How clients reach the gateways.'),
    resources: resources('256Mi'),
    placement,
    podTemplate: z
      .object({
        labels: ruled(
          extended(z.record(z.string(), labelValue), { maxProperties: 64 }),
          {
            rule: `self.all(k, !(${RESERVED}))`,
            message:
              'gateway.podTemplate.labels must leave app.kubernetes.io/, pushcluster.dev/ and pod-template-hash to the operator',
          },
          {
            rule: `self.all(k, ${QUALIFIED_NAME})`,
            message: 'gateway.podTemplate.labels must have names of up to 63 letters, digits, "-", "_" and "."',
          },
        )
          .default({})
          .describe('Labels for the pods.'),
        annotations: ruled(
          annotations,
          {
            rule: "self.all(k, !k.startsWith('pushcluster.dev/'))",
            message: 'gateway.podTemplate.annotations must leave pushcluster.dev/ to the operator',
          },
          {
            rule: `self.all(k, ${QUALIFIED_NAME})`,
            message: 'gateway.podTemplate.annotations must have names of up to 63 letters, digits, "-", "_" and "."',
          },
        )
          .default({})
          .describe('Annotations for the pods.'),
      })
      .prefault({})
      .describe("What the pods carry beside the operator's own."),
    sysctls: ruled(extended(z.record(z.string(), z.string()), { maxProperties: SAFE_SYSCTLS.length }), {
      rule: `self.all(k, k in [${SAFE_SYSCTLS.map((name) => `'${name}'`).join(', ')}])`,
      message: `gateway.sysctls may be ${SAFE_SYSCTLS.join(', ')}: others are refused by kubelets, or are the node's`,
    })
      .default({})
      .describe("Sysctls of the pods' network: those that are safe."),
    hostNetwork: z
      .boolean()
      .default(false)
      .describe(
        'Pods use the network of their node, whose ports 7777 and 9090 must be free: one a node, with a spare node for rollouts.',
      ),
  }),
  {
    // The API server holds the default {} against the rules before it fills in what is below: hence has().
    rule: `!has(self.slowConsumer) || !has(self.batching) || ${twice('self.batching.maxBytes')}.compareTo(${bytesIn('self.slowConsumer.maxBuffer')}) <= 0`,
    message: 'gateway.slowConsumer.maxBuffer must hold two full frames: at least twice gateway.batching.maxBytes',
    fieldPath: '.slowConsumer.maxBuffer',
  },
  {
    rule: '!has(self.autoscaling) || !has(self.autoscaling.targetConnections) || !has(self.connections) || self.connections.max == 0 || self.autoscaling.targetConnections <= self.connections.max',
    message:
      'gateway.autoscaling.targetConnections must not be above gateway.connections.max: no gateway would ever hold so many',
    fieldPath: '.autoscaling.targetConnections',
  },
  {
    rule: `!has(self.autoscaling) || !has(self.autoscaling.targetCPUUtilization) || ${ASKS_FOR_CPU}`,
    message: 'gateway.autoscaling.targetCPUUtilization is per cent of gateway.resources.requests.cpu, which is not set',
    fieldPath: '.autoscaling.targetCPUUtilization',
  },
  {
    rule: '!has(self.hostNetwork) || !self.hostNetwork || size(self.sysctls) == 0',
    message: "gateway.sysctls must be empty with gateway.hostNetwork: they would be the node's",
    fieldPath: '.sysctls',
  },
);
