import { ORIGIN_FORM, ORIGIN_PATTERN } from '@pushcluster/protocol/origins.ts';
import { MAX_HOPS } from '@pushcluster/protocol/settings.ts';
import { z } from 'zod';
import { bytesIn, duration, extended, fraction, mapOf, ruled, size } from './fields.ts';
import { LocalReference, Placement, Resources, ScalingBehavior } from './kubernetes.ts';

/**
 * `spec` of a PushCluster: the one source of the CRD, of its reference page and of the operator's types. Names and
 * defaults are those of the settings file where both have a key.
 */

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

/** Labels and annotations that the operator lives by, not to be set by others. */
const RESERVED = "k.startsWith('app.kubernetes.io/') || k.startsWith('pushcluster.dev/') || k == 'pod-template-hash'";
const QUALIFIED_NAME = '!format.qualifiedName().validate(k).hasValue()';

const count = z.number().int().min(0).max(2_147_483_647);
const secretKey = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[-._a-zA-Z0-9]+$/);
const pattern = z.string().min(1).max(128);

const labelValue = z
  .string()
  .max(63)
  .regex(/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/);

function secretRef(key: string) {
  return z.object({
    name: z.string().min(1).max(253).describe('Name of a Secret in this namespace.'),
    key: secretKey.default(key).describe('Its key.'),
  });
}

const resources = (memory: string) =>
  Resources.default({ requests: { cpu: '100m', memory } }).describe(
    'Of each pod; what is given replaces the default whole. With limits alone, or equal to the requests, pods are of the guaranteed QoS class.',
  );

const placement = Placement.prefault({}).describe('Where pods run.');

const annotations = extended(z.record(z.string(), z.string()), { maxProperties: 64 });

/** Labels or annotations for an object that the operator makes. @param name what messages call the field */
function marks<T extends z.ZodString>(name: string, value: T) {
  return ruled(
    extended(z.record(z.string(), value), { maxProperties: 16 }),
    {
      rule: `self.all(k, !(${RESERVED}))`,
      message: `${name} must leave app.kubernetes.io/, pushcluster.dev/ and pod-template-hash to the operator`,
    },
    {
      rule: `self.all(k, ${QUALIFIED_NAME})`,
      message: `${name} must have names of up to 63 letters, digits, "-", "_" and "."`,
    },
  ).default({});
}

const batching = (field: string) => ({
  maxDelay: duration(`${field}.maxDelay`, { min: '0s', max: '10s' }).describe(
    'Longest wait of an item for its frame. `0s`: a frame at once for every push.',
  ),
  maxItems: z.number().int().min(1).max(10_000).describe('Items in a frame at most.'),
  maxBytes: size(`${field}.maxBytes`, { min: '1KiB', max: '1MiB' }).describe(
    'Bytes of items in a frame at most; one larger item goes alone.',
  ),
});

/** CEL for pods that ask for CPU: limits count as requests. The default does. */
const ASKS_FOR_CPU =
  "(!has(self.resources) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits))";

/** CEL for twice a size. */
function twice(field: string): string {
  return `${bytesIn(field)}.add(${bytesIn(field)})`;
}

const Image = z.object({
  gateway: z
    .string()
    .min(1)
    .max(500)
    .exactOptional()
    .describe("Image of the gateways. Absent: the operator's own version."),
  logic: z.string().min(1).max(500).exactOptional().describe("Image of logic. Absent: the operator's own version."),
  pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent').describe('As in a pod.'),
});

const GatewayAutoscaling = ruled(
  z.object({
    minReplicas: z.number().int().min(1).max(1_000).default(2).describe('Gateways at least.'),
    maxReplicas: z.number().int().min(1).max(1_000).describe('Gateways at most.'),
    targetConnections: count.min(1).exactOptional().describe('Connections of a gateway, on average.'),
    targetBytesPerSecond: count.min(1).exactOptional().describe('Bytes a second that a gateway sends, on average.'),
    targetCPUUtilization: z
      .number()
      .int()
      .min(1)
      .max(1_000)
      .exactOptional()
      .describe('Per cent of the CPU request, on average.'),
    behavior: ScalingBehavior.exactOptional().describe(
      'As in a HorizontalPodAutoscaler. Absent: up fast; down in small steps, no sooner than a drain takes.',
    ),
    keda: z
      .object({
        prometheus: ruled(z.string().max(2_048), {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'gateway.autoscaling.keda.prometheus must be a URL such as http://prometheus.monitoring.svc:9090',
        }).describe('URL of the Prometheus that scrapes the gateways.'),
      })
      .exactOptional()
      .describe('Makes a ScaledObject of KEDA in place of the HorizontalPodAutoscaler: KEDA must be installed.'),
  }),
  {
    rule: 'self.minReplicas <= self.maxReplicas',
    message: 'gateway.autoscaling.minReplicas must not be above maxReplicas',
    fieldPath: '.minReplicas',
  },
  {
    rule: 'has(self.targetConnections) || has(self.targetBytesPerSecond) || has(self.targetCPUUtilization)',
    message:
      'gateway.autoscaling needs a target: targetConnections, targetBytesPerSecond or targetCPUUtilization (several: the one that asks for most counts)',
  },
);

const GatewayService = ruled(
  z.object({
    type: z
      .enum(['LoadBalancer', 'NodePort', 'ClusterIP'])
      .default('LoadBalancer')
      .describe('Without a load balancer in the cluster, `LoadBalancer` works as `NodePort` and waits for it.'),
    port: z.number().int().min(1).max(65_535).default(7_777).describe('Port of the Service; the pods listen on 7777.'),
    annotations: annotations.default({}).describe('For the load balancer.'),
    externalTrafficPolicy: z
      .enum(['Local', 'Cluster'])
      .default('Local')
      .describe("`Local` keeps clients' addresses and saves a hop. Without meaning for `ClusterIP`."),
    proxyProtocol: z
      .boolean()
      .default(false)
      .describe(
        "Take clients' addresses from the PROXY protocol. Only behind a balancer that always sends it; costs CPU and descriptors.",
      ),
    forwardedHeaders: z
      .boolean()
      .default(false)
      .describe(
        "Take clients' addresses from X-Forwarded-For. Only behind proxies that always add the address that they see.",
      ),
    forwardedHops: z
      .number()
      .int()
      .min(1)
      .max(MAX_HOPS)
      .default(1)
      .describe('How many such proxies there are in a row: so many of the last entries are trusted.'),
    tls: z
      .object({
        secretName: z.string().min(1).max(253).describe('A Secret of type kubernetes.io/tls, in this namespace.'),
      })
      .exactOptional()
      .describe('Gateways speak TLS with this certificate. A renewed one is taken up live.'),
  }),
  {
    rule: '!has(self.forwardedHops) || self.forwardedHops == 1 || (has(self.forwardedHeaders) && self.forwardedHeaders)',
    message: 'gateway.service.forwardedHops is of forwardedHeaders, which is not set',
    fieldPath: '.forwardedHops',
  },
);

const Gateway = ruled(
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

const ApiKey = z.object({
  name: z
    .string()
    .min(1)
    .max(63)
    .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/)
    .describe('Shown in logs; never the key itself.'),
  secretRef: secretRef('key').describe('Where the key is, one a line: two lines are two valid keys, for rotation.'),
  scope: z
    .object({
      all: z.boolean().default(false).describe('Push to all.'),
      rooms: z.array(pattern).max(100).default([]).describe('Push to rooms that match.'),
      users: z.array(pattern).max(100).default([]).describe('Push to users that match.'),
      disconnect: z.boolean().default(false).describe('Disconnect users and rooms that match.'),
      read: z.boolean().default(false).describe('Read rooms, users and stats.'),
    })
    .exactOptional()
    .describe('What it may do. Absent: everything.'),
});

const LogicAutoscaling = ruled(
  z.object({
    minReplicas: z.number().int().min(1).max(1_000).default(2).describe('Logic pods at least.'),
    maxReplicas: z.number().int().min(1).max(1_000).describe('Logic pods at most.'),
    targetCPUUtilization: z
      .number()
      .int()
      .min(1)
      .max(1_000)
      .default(80)
      .describe('Per cent of the CPU request, on average.'),
    behavior: ScalingBehavior.exactOptional().describe('As in a HorizontalPodAutoscaler.'),
  }),
  {
    rule: 'self.minReplicas <= self.maxReplicas',
    message: 'logic.autoscaling.minReplicas must not be above maxReplicas',
    fieldPath: '.minReplicas',
  },
);

const Logic = ruled(
  z.object({
    replicas: z
      .number()
      .int()
      .min(0)
      .max(1_000)
      .default(2)
      .describe('Logic pods. Without meaning beside `autoscaling`.'),
    autoscaling: LogicAutoscaling.exactOptional().describe('Makes a HorizontalPodAutoscaler for the logic Deployment.'),
    apiKeys: mapOf(z.array(ApiKey).max(64), 'name')
      .default([])
      .describe('Who may push. None: one key is generated, in the Secret that status.endpoints names.'),
    service: z
      .object({
        type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']).default('ClusterIP').describe('Of the Service.'),
        port: z
          .number()
          .int()
          .min(1)
          .max(65_535)
          .default(7_799)
          .describe('Port of the Service; the pods listen on 7799.'),
        annotations: annotations.default({}).describe('Of the Service.'),
      })
      .prefault({})
      .describe('How backends reach the push API.'),
    resources: resources('192Mi'),
    placement,
  }),
  {
    rule: `!has(self.autoscaling) || ${ASKS_FOR_CPU}`,
    message: 'logic.autoscaling is by per cent of logic.resources.requests.cpu, which is not set',
    fieldPath: '.autoscaling',
  },
);

const RoomPolicy = z.object({
  match: pattern.describe('Names of rooms, with `*` for any run of characters.'),
  batching: z
    .object({
      maxDelay: batching('rooms[].batching').maxDelay.exactOptional(),
      maxItems: batching('rooms[].batching').maxItems.exactOptional(),
      maxBytes: batching('rooms[].batching').maxBytes.exactOptional(),
    })
    .exactOptional()
    .describe('In place of `gateway.batching`.'),
  overload: z
    .object({
      maxRate: z.number().positive().max(1_000_000).describe('Items a second.'),
      policy: z
        .enum(['sample', 'dropOldest', 'dropNewest'])
        .default('sample')
        .describe('Which items stay: a random sample, the newest, or the oldest.'),
    })
    .exactOptional()
    .describe('What the room does with more items than people can read.'),
});

const Auth = ruled(
  z.object({
    jwt: ruled(
      z.object({
        secretRef: secretRef('secret')
          .exactOptional()
          .describe('HS256: where the secrets are, one a line: two lines are two valid secrets, for rotation.'),
        jwksUrl: ruled(z.string().max(2_048), {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'auth.jwt.jwksUrl must be a URL such as https://id.example.com/.well-known/jwks.json',
        })
          .exactOptional()
          .describe('RS256 and ES256: where the JWKS is.'),
        audience: z.string().min(1).max(512).exactOptional().describe('Tokens must be for it.'),
        issuer: z.string().min(1).max(512).exactOptional().describe('Tokens must be by it.'),
      }),
      {
        rule: 'has(self.secretRef) != has(self.jwksUrl)',
        message: 'auth.jwt needs exactly one of secretRef and jwksUrl',
      },
    )
      .exactOptional()
      .describe('Tokens of connections: `sub` is the user, `rooms` the room patterns that it may join.'),
    anonymous: z
      .boolean()
      .exactOptional()
      .describe('Whether connections without a token are allowed. Absent: only where no `jwt` is set.'),
    allowedOrigins: z
      .array(
        ruled(
          z.string().min(1).max(512),
          { rule: `self.matches(r'${ORIGIN_PATTERN}')`, message: `auth.allowedOrigins ${ORIGIN_FORM}` },
          {
            rule: "!self.matches('^[Ww][Ss][Ss]?://')",
            message: 'auth.allowedOrigins must be origins of pages, which are never ws or wss: write https://',
          },
        ),
      )
      .max(256)
      .default([])
      .describe('Origins whose pages may connect, with `*` for any run of characters. Empty: any.'),
  }),
  {
    rule: 'has(self.jwt) || !has(self.anonymous) || self.anonymous',
    message: 'auth.anonymous is false but there is no auth.jwt: nobody could connect',
    fieldPath: '.anonymous',
  },
);

export const NATS_CREDENTIALS = ['password', 'token', 'nkey', 'creds'] as const;

const credential = (role: string) =>
  ruled(
    z.object({
      type: z
        .enum(NATS_CREDENTIALS)
        .default('creds')
        .describe('What the Secret holds: a password, a token, an NKey seed, or a .creds file.'),
      user: z.string().min(1).max(253).exactOptional().describe('Whose password it is.'),
      secretRef: secretRef('creds').describe('Where it is.'),
    }),
    {
      rule: "(self.type == 'password') == has(self.user)",
      message: `nats.credentials.${role}.user must be set with type password, and only there`,
      fieldPath: '.user',
    },
  );

/** CEL for the volumes of managed servers, as one text: comparing objects costs more than the API server allows. */
function volumesOf(nats: string): string {
  const { storage, className } = {
    storage: `${nats}.managed.storage`,
    className: `${nats}.managed.storage.storageClassName`,
  };
  return `(has(${nats}.managed) && has(${storage}) ? ${storage}.size + ' ' + (has(${className}) ? ${className} : '') : '')`;
}

export const ManagedNats = z.object({
  replicas: extended(z.literal([1, 3, 5]), { type: 'integer' })
    .default(1)
    .describe('Servers: 1, 3 or 5. One that fails is replaced; with 3, nobody waits for that.'),
  storage: z
    .object({
      size: size('nats.managed.storage.size', { min: '64MiB', max: '16384GiB' })
        .default('1Gi')
        .describe('Of each server.'),
      storageClassName: z.string().min(1).max(253).exactOptional().describe("Absent: the cluster's default class."),
    })
    .exactOptional()
    .describe('Turns JetStream on, on volumes of their own. Pushes need none: without it nothing is stored.'),
  image: z
    .string()
    .min(1)
    .max(500)
    .exactOptional()
    .describe("Image of the servers. Absent: what this operator's version was tested with."),
  resources: resources('128Mi'),
});

const Nats = ruled(
  z.object({
    prefix: z
      .string()
      .max(64)
      .regex(/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/)
      .exactOptional()
      .describe('First tokens of all subjects. Needed beside `url`; otherwise `pushcluster`.'),
    managed: ManagedNats.exactOptional().describe(
      "NATS servers of this cluster's own: the default, where there is no `url`.",
    ),
    url: z
      .string()
      .max(2_048)
      .regex(/^(nats|tls):\/\/[^\s,@/]+(,(nats|tls):\/\/[^\s,@/]+)*$/)
      .exactOptional()
      .describe('Servers that are there already: `nats://` or `tls://`, several with commas between.'),
    credentials: z
      .object({
        gateway: credential('gateway')
          .exactOptional()
          .describe('Of gateways: they must not be able to publish pushes.'),
        logic: credential('logic').exactOptional().describe('Of logic.'),
      })
      .exactOptional()
      .describe('How the pods show themselves to the servers of `url`.'),
    caSecretRef: secretRef('ca.crt')
      .exactOptional()
      .describe('Authority that signed the certificates of `url`. Absent: public ones.'),
  }),
  { rule: '!(has(self.url) && has(self.managed))', message: 'nats must have url or managed, not both' },
  {
    rule: '!has(self.url) || has(self.prefix)',
    message: 'nats.prefix is needed with nats.url: clusters that share a NATS differ in it',
    fieldPath: '.prefix',
  },
  {
    rule: 'has(self.url) || !has(self.credentials)',
    message: 'nats.credentials belong to nats.url: those of managed servers are generated',
    fieldPath: '.credentials',
  },
  {
    rule: 'has(self.url) || !has(self.caSecretRef)',
    message: 'nats.caSecretRef belongs to nats.url',
    fieldPath: '.caSecretRef',
  },
  {
    rule: `has(self.url) || has(oldSelf.url) || ${volumesOf('self')} == ${volumesOf('oldSelf')}`,
    message: "nats.managed.storage can't be changed: volumes of a StatefulSet stay as they were made",
    fieldPath: '.managed',
  },
);

const Monitoring = z.object({
  serviceMonitor: z
    .boolean()
    .default(true)
    .describe('Makes a ServiceMonitor, where the cluster knows that kind (Prometheus operator).'),
  rules: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Makes a PrometheusRule with this cluster's alerts. Only where the chart's `monitoring.rules` is off: both would fire.",
        ),
      labels: marks('monitoring.rules.labels', labelValue).describe('Labels that Prometheus chooses its rules by.'),
      lineRate: fraction('monitoring.rules.lineRate', { min: 0.1, max: 1_000 })
        .default(10)
        .describe("Of the nodes' cards, Gbit/s."),
      // Prometheus takes what is in braces for a template.
      runbook: ruled(
        z
          .string()
          .max(2_048)
          .regex(/^[^\s{}"\\]+$/),
        {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'monitoring.rules.runbook must be a URL such as https://runbooks.example.com/pushcluster',
        },
      )
        .exactOptional()
        .describe('URL of the runbook, where alerts are to name one in place of `docs/how-to/runbook.md`.'),
    })
    .prefault({})
    .describe('Alerts for Prometheus.'),
  dashboards: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Makes a ConfigMap for each of the dashboards, with this cluster chosen. Only where the chart's `monitoring.dashboards` is off.",
        ),
      labels: marks('monitoring.dashboards.labels', labelValue).describe(
        'Labels that Grafana finds dashboards by, beside `grafana_dashboard: "1"`, whose value they may change.',
      ),
      annotations: marks('monitoring.dashboards.annotations', z.string()).describe(
        'Annotations such as `grafana_folder: Live`.',
      ),
    })
    .prefault({})
    .describe('Dashboards for Grafana.'),
});

export const Spec = ruled(
  z.object({
    image: Image.prefault({}).describe('Images of the pods.'),
    imagePullSecrets: mapOf(z.array(LocalReference).max(16), 'name').default([]).describe('For registries that ask.'),
    gateway: Gateway.prefault({}).describe('What holds the connections.'),
    logic: Logic.prefault({}).describe('What takes pushes.'),
    rooms: z
      .array(RoomPolicy)
      .max(256)
      .default([])
      .describe('Settings of rooms by name; the first that matches counts.'),
    auth: Auth.prefault({}).describe('Who may connect.'),
    nats: Nats.prefault({}).describe('What is between logic and gateways.'),
    monitoring: Monitoring.prefault({}).describe(
      'How Prometheus finds the pods; alerts and dashboards of this cluster alone.',
    ),
  }),
  {
    rule: `!has(self.rooms) || !has(self.gateway) || !has(self.gateway.slowConsumer) || self.rooms.all(room, !has(room.batching) || !has(room.batching.maxBytes) || ${twice('room.batching.maxBytes')}.compareTo(${bytesIn('self.gateway.slowConsumer.maxBuffer')}) <= 0)`,
    message:
      'spec.rooms[].batching.maxBytes must be at most half of spec.gateway.slowConsumer.maxBuffer, which holds two full frames',
    fieldPath: '.rooms',
  },
);
export type Spec = z.infer<typeof Spec>;
