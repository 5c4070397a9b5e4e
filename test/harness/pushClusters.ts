import type { Spec } from '@pushcluster/operator/api/pushCluster.ts';
import { SAFE_SYSCTLS } from '@pushcluster/operator/api/spec/gateway.ts';
import { parseSize } from '@pushcluster/protocol/units.ts';
import fc from 'fast-check';
import type { z } from 'zod';
import { anyPodTemplate } from './podTemplates.ts';

type SpecInput = z.input<typeof Spec>;

/** Any PushCluster spec that the API server accepts. */
export function anySpec(): fc.Arbitrary<SpecInput> {
  return fc
    .record(
      {
        ...{ image, imagePullSecrets, gateway, logic, rooms, history, auth, nats, monitoring, log },
        inheritedMetadata: fc.record({ labels: fc.dictionary(name, name, { maxKeys: 3 }), annotations }),
        paused: fc.boolean(),
      },
      { requiredKeys: [] },
    )
    .map(withRoomForFrames)
    .map(withHistoriesThatAreStored);
}

/** Removes the frame size of a room if two frames of this size do not fit into a connection's buffer. */
function withRoomForFrames<T extends { gateway?: { slowConsumer: { maxBuffer: string } }; rooms?: Room[] }>(
  spec: T,
): T {
  const buffer = parseSize(spec.gateway?.slowConsumer.maxBuffer ?? '1MiB') ?? 0;
  for (const { batching } of spec.rooms ?? [])
    if ((parseSize(batching?.maxBytes ?? '0') ?? 0) * 2 > buffer) delete batching?.maxBytes;
  return spec;
}

/** Removes the histories that the NATS of the cluster does not store, or not in so many copies. */
function withHistoriesThatAreStored<T extends { nats?: AnyNats; rooms?: Room[]; history?: { storage?: string } }>(
  spec: T,
): T {
  const { url, managed } = spec.nats ?? {};
  const isStored = url !== undefined || managed?.jetstream !== undefined;
  const copies = url !== undefined || (managed?.replicas ?? 1) >= 3 ? 3 : 1;
  for (const room of spec.rooms ?? [])
    if (!isStored || room.overload !== undefined || (room.history?.replicas ?? 1) > copies) delete room.history;
  if (url === undefined) delete spec.history?.storage;
  return spec;
}

type AnyNats = { url?: string; managed?: { replicas?: number; jetstream?: object } };
type Room = { history?: { replicas?: number }; overload?: object; batching?: { maxBytes?: string } };

const name = fc.stringMatching(/^[a-z]([-a-z0-9]{0,20}[a-z0-9])?$/);
const reference = fc.stringMatching(/^[a-z]{1,10}(\.example\.com)?\/[a-z]{1,10}(:[0-9]{1,3})?$/);
const secretRef = fc.record({ name, key: name }, { requiredKeys: ['name'] });
const pattern = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }).filter((text) => text.isWellFormed());
const count = fc.integer({ min: 0, max: 2_147_483_647 });
const annotations = fc.dictionary(name, fc.string({ maxLength: 40 }), { maxKeys: 3 });
const amount = fc.oneof(
  fc.integer({ min: 1, max: 64 }),
  fc.integer({ min: 1, max: 9_999 }).map((n) => `${n}m`),
);
const memory = fc
  .tuple(fc.integer({ min: 1, max: 512 }), fc.constantFrom('Mi', 'Gi', 'M'))
  .map(([n, unit]) => n + unit);

function duration(min: number, max: number): fc.Arbitrary<string> {
  return fc.oneof(
    fc.integer({ min, max }).map((ms) => `${ms}ms`),
    fc.integer({ min: Math.ceil(min / 1_000), max: Math.floor(max / 1_000) }).map((seconds) => `${seconds}s`),
  );
}

function size(min: number, max: number): fc.Arbitrary<string> {
  return fc.oneof(
    fc.integer({ min, max }).map(String),
    fc.integer({ min: Math.ceil(min / 1_024), max: Math.floor(max / 1_024) }).map((kib) => `${kib}KiB`),
  );
}

const image = fc.record(
  { gateway: reference, logic: reference, pullPolicy: fc.constantFrom('Always', 'IfNotPresent', 'Never') },
  { requiredKeys: [] },
);
const imagePullSecrets = fc.uniqueArray(fc.record({ name }), { maxLength: 3, selector: (secret) => secret.name });

const resources = fc.oneof(
  fc.record({ limits: fc.record({ cpu: amount, memory }) }),
  fc.record({ requests: fc.record({ cpu: amount, memory }) }),
  fc.constant({}),
);

const some = fc.oneof(
  fc.integer({ min: 1, max: 1_000 }),
  fc.integer({ min: 1, max: 99 }).map((percent) => `${percent}%`),
);
const disruptionBudget = fc.oneof(
  fc.record({ enabled: fc.boolean(), maxUnavailable: some }, { requiredKeys: [] }),
  fc.record({ minAvailable: some }),
);

const spread = fc.record(
  {
    maxSkew: fc.integer({ min: 1, max: 5 }),
    topologyKey: name,
    whenUnsatisfiable: fc.constantFrom('DoNotSchedule', 'ScheduleAnyway'),
    nodeTaintsPolicy: fc.constantFrom('Honor', 'Ignore'),
  },
  { requiredKeys: ['maxSkew', 'topologyKey', 'whenUnsatisfiable'] },
);

const placement = fc.record(
  {
    nodeSelector: fc.dictionary(name, name, { maxKeys: 2 }),
    tolerations: fc.array(
      fc.record({ key: name, operator: fc.constant('Exists'), effect: fc.constantFrom('NoSchedule', 'NoExecute') }),
      { maxLength: 2 },
    ),
    affinity: fc.record({
      podAntiAffinity: fc.record({
        preferredDuringSchedulingIgnoredDuringExecution: fc.array(
          fc.record({
            weight: fc.integer({ min: 1, max: 100 }),
            podAffinityTerm: fc.record({
              topologyKey: name,
              labelSelector: fc.record({ matchLabels: fc.dictionary(name, name, { maxKeys: 2 }) }),
            }),
          }),
          { maxLength: 2 },
        ),
      }),
    }),
    topologySpreadConstraints: fc.uniqueArray(spread, { maxLength: 2, selector: ({ topologyKey }) => topologyKey }),
    priorityClassName: name,
  },
  { requiredKeys: [] },
);

/** Minimum and maximum of an autoscaler, in this order. */
const bounds = fc
  .tuple(fc.integer({ min: 1, max: 1_000 }), fc.integer({ min: 1, max: 1_000 }))
  .map(([a, b]) => ({ minReplicas: Math.min(a, b), maxReplicas: Math.max(a, b) }));

const behavior = fc.record({
  scaleDown: fc.record({
    stabilizationWindowSeconds: fc.integer({ min: 0, max: 3_600 }),
    policies: fc.array(
      fc.record({
        type: fc.constantFrom('Pods', 'Percent'),
        value: fc.integer({ min: 1, max: 100 }),
        periodSeconds: fc.integer({ min: 1, max: 1_800 }),
      }),
      { minLength: 1, maxLength: 2 },
    ),
  }),
});

const percent = fc.integer({ min: 1, max: 1_000 });
const gatewayAutoscaling = fc
  .tuple(
    bounds,
    fc.integer({ min: 1, max: 1_000_000 }),
    fc.record(
      { targetBytesPerSecond: fc.integer({ min: 1 }), targetCPUUtilization: percent, behavior },
      { requiredKeys: [] },
    ),
  )
  .map(([range, targetConnections, rest]) => ({ ...range, targetConnections, ...rest }));
const logicAutoscaling = fc
  .tuple(bounds, fc.record({ targetCPUUtilization: percent, behavior }, { requiredKeys: [] }))
  .map(([range, rest]) => ({ ...range, ...rest }));

const roomBatching = fc.record(
  {
    minDelay: duration(0, 10_000),
    maxDelay: duration(0, 10_000),
    adaptive: fc.boolean(),
    maxItems: fc.integer({ min: 1, max: 10_000 }),
    maxBytes: size(1_024, 1_048_576),
  },
  { requiredKeys: [] },
);

/** A maximal frame size, and a buffer that holds two such frames. */
const frames = fc.integer({ min: 1_024, max: 1_048_576 }).chain((maxBytes) =>
  fc.record({
    batching: fc.record({
      maxBytes: fc.constant(String(maxBytes)),
      minDelay: duration(0, 10_000),
      maxDelay: duration(0, 10_000),
      adaptive: fc.boolean(),
      compression: fc.boolean(),
      urgentRate: count,
    }),
    slowConsumer: fc.record({
      maxBuffer: size(Math.max(16_384, 2 * maxBytes), 67_108_864),
      policy: fc.constantFrom('skip', 'close'),
    }),
  }),
);

/** Sysctls of the pods' network namespace, or of the node's. */
const network = fc.oneof(
  fc.record({ hostNetwork: fc.boolean() }),
  fc.record({ sysctls: fc.dictionary(fc.constantFrom(...SAFE_SYSCTLS), fc.constant('1'), { maxKeys: 3 }) }),
);

/** Of the Services of gateways and logic. */
const serviceFields = {
  annotations,
  externalTrafficPolicy: fc.constantFrom('Local', 'Cluster'),
  nodePort: fc.integer({ min: 30_000, max: 32_767 }),
  labels: fc.dictionary(name, name, { maxKeys: 3 }),
  loadBalancerClass: fc.constantFrom('service.k8s.aws/nlb', 'kube-vip.io/kube-vip-class', 'own'),
  loadBalancerIP: fc.constantFrom('198.51.100.7', '2001:db8::7'),
  loadBalancerSourceRanges: fc.array(fc.constantFrom('203.0.113.0/24', '10.0.0.0/8', '2001:db8::/32'), {
    maxLength: 3,
  }),
  allocateLoadBalancerNodePorts: fc.boolean(),
  externalIPs: fc.uniqueArray(fc.constantFrom('198.51.100.7', '203.0.113.9'), { maxLength: 2 }),
  // The API server of the tests has this family only.
  ipFamilies: fc.constantFrom<('IPv4' | 'IPv6')[]>(['IPv4']),
  ipFamilyPolicy: fc.constantFrom('SingleStack', 'PreferDualStack'),
  internalTrafficPolicy: fc.constantFrom('Cluster', 'Local'),
  trafficDistribution: fc.constantFrom('PreferClose', 'PreferSameZone', 'PreferSameNode'),
} as const;

const share = fc.integer({ min: 10, max: 100 }).map((percent) => percent / 100);
const gateway = fc
  .tuple(
    frames,
    network,
    fc.record(
      {
        replicas: fc.integer({ min: 0, max: 1_000 }),
        shards: fc.oneof(fc.constant('auto' as const), fc.integer({ min: 1, max: 256 })),
        connections: fc.record(
          { max: count, acceptRate: count, perIp: count, onePerUser: fc.boolean() },
          { requiredKeys: [] },
        ),
        rooms: fc.record({
          maxPerConnection: fc.integer({ min: 1, max: 10_000 }),
          max: fc.integer({ min: 1, max: 9 }),
        }),
        inbound: fc.record(
          { maxFrame: size(256, 65_536), frameRate: fc.integer({ min: 1, max: 10_000 }) },
          { requiredKeys: [] },
        ),
        idleTimeout: duration(8_000, 960_000),
        console: fc.boolean(),
        consolePushUrl: fc.constantFrom('', 'https://push.example.com'),
        consoleRoom: fc.constantFrom('', 'demo'),
        echo: fc.boolean(),
        drain: fc.record(
          {
            rate: fc.integer({ min: 1, max: 1_000_000 }),
            settle: duration(0, 300_000),
            timeout: duration(1_000, 3_600_000),
          },
          { requiredKeys: [] },
        ),
        rollout: fc.record({ maxTerminating: fc.integer({ min: 1, max: 1_000 }) }, { requiredKeys: [] }),
        rebalance: fc.record(
          {
            threshold: fc.integer({ min: 105, max: 10_000 }).map((percent) => percent / 100),
            rate: count,
            minimum: count,
            moveOthers: fc.boolean(),
          },
          { requiredKeys: [] },
        ),
        protection: fc.record(
          {
            memory: share,
            fds: share,
            loopLag: duration(0, 60_000),
            handshakes: fc.integer({ min: 10, max: 1_000_000 }),
          },
          { requiredKeys: [] },
        ),
        autoscaling: gatewayAutoscaling,
        service: fc.record(
          {
            type: fc.constantFrom('LoadBalancer', 'NodePort', 'ClusterIP'),
            port: fc.integer({ min: 1, max: 65_535 }),
            ...serviceFields,
            healthCheckNodePort: fc.integer({ min: 30_000, max: 32_767 }),
            sessionAffinity: fc.constantFrom('None', 'ClientIP'),
            proxyProtocol: fc.boolean(),
            forwardedHeaders: fc.boolean(),
            forwardedHops: fc.integer({ min: 1, max: 16 }),
            tls: fc.record({ secretName: name }),
          },
          { requiredKeys: [] },
        ),
        disruptionBudget,
        resources,
        placement,
        podTemplate: fc
          .tuple(
            fc.record({ labels: fc.dictionary(name, name, { maxKeys: 3 }), annotations }, { requiredKeys: [] }),
            anyPodTemplate('gateway'),
          )
          .map(([marks, template]) => ({ ...marks, ...template })),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([sizes, net, rest]) => {
    const { autoscaling, resources, connections, service } = rest;
    // The API server refuses some combinations: replaces them by valid ones.
    return {
      ...{ ...sizes, ...net, ...rest },
      ...(autoscaling && resources && !asksForCpu(resources) ? { resources: { requests: { cpu: 1 } } } : {}),
      ...(autoscaling && connections ? { connections: { ...connections, max: 0 } } : {}),
      ...(service ? { service: validService(service) } : {}),
    };
  });

type AnyService = {
  type?: 'LoadBalancer' | 'NodePort' | 'ClusterIP';
  nodePort?: number;
  loadBalancerClass?: string;
  loadBalancerIP?: string;
  loadBalancerSourceRanges?: string[];
  allocateLoadBalancerNodePorts?: boolean;
  externalTrafficPolicy?: 'Local' | 'Cluster';
  healthCheckNodePort?: number;
  forwardedHops?: number;
  forwardedHeaders?: boolean;
};

/** Without fields that the type of the Service does not allow. */
function validService<T extends AnyService>(service: T) {
  const { nodePort, healthCheckNodePort, ...rest } = service;
  const { loadBalancerClass, loadBalancerIP, loadBalancerSourceRanges, allocateLoadBalancerNodePorts, ...others } =
    rest;
  const { type = 'ClusterIP', externalTrafficPolicy = 'Local', forwardedHops = 1 } = service;
  const isBalanced = type === 'LoadBalancer';
  const isChecked = isBalanced && externalTrafficPolicy === 'Local' && healthCheckNodePort !== nodePort;
  return {
    ...(isBalanced ? rest : others),
    ...(nodePort === undefined || type === 'ClusterIP' ? {} : { nodePort }),
    ...(healthCheckNodePort === undefined || !isChecked ? {} : { healthCheckNodePort }),
    ...(forwardedHops > 1 ? { forwardedHeaders: true } : {}),
  };
}

const logic = fc
  .record(
    {
      replicas: fc.integer({ min: 0, max: 1_000 }),
      autoscaling: logicAutoscaling,
      apiKeys: fc.uniqueArray(
        fc.record(
          {
            name,
            secretRef,
            scope: fc.record(
              { all: fc.boolean(), rooms: fc.array(pattern, { maxLength: 3 }), read: fc.boolean() },
              { requiredKeys: [] },
            ),
          },
          { requiredKeys: ['name', 'secretRef'] },
        ),
        { maxLength: 4, selector: (key) => key.name },
      ),
      service: fc.record(
        {
          type: fc.constantFrom('LoadBalancer', 'NodePort', 'ClusterIP'),
          port: fc.integer({ min: 1, max: 65_535 }),
          ...serviceFields,
          tls: fc.record({ secretName: name }),
        },
        { requiredKeys: [] },
      ),
      disruptionBudget,
      resources,
      placement,
      podTemplate: anyPodTemplate('logic'),
      serviceAccount: fc.record({ annotations }, { requiredKeys: [] }),
      allowedOrigins: fc.subarray(['https://example.com', 'capacitor://localhost']),
      limits: fc.record(
        { body: size(1_024, 67_108_864), items: fc.integer({ min: 1, max: 100_000 }), item: size(1, 1_048_576) },
        { requiredKeys: [] },
      ),
      urgentRate: count,
      publishTimeout: duration(100, 30_000),
      askTimeout: duration(50, 10_000),
    },
    { requiredKeys: [] },
  )
  .map((rest) => {
    const { autoscaling, resources, service } = rest;
    return {
      ...rest,
      ...(autoscaling && resources && !asksForCpu(resources) ? { resources: { requests: { cpu: 1 } } } : {}),
      ...(service ? { service: validService(service) } : {}),
    };
  });

function asksForCpu({ requests, limits }: { requests?: object; limits?: object }): boolean {
  return requests !== undefined || limits !== undefined;
}

const rooms = fc.array(
  fc.record(
    {
      match: pattern,
      batching: roomBatching,
      overload: fc.record(
        {
          maxRate: fc.integer({ min: 1, max: 1_000_000 }),
          policy: fc.constantFrom('sample', 'dropOldest', 'dropNewest'),
        },
        { requiredKeys: ['maxRate'] },
      ),
      history: fc.record(
        {
          messages: fc.integer({ min: 1, max: 10_000 }),
          maxAge: duration(120_000, 2_592_000_000),
          replicas: fc.constantFrom(1 as const, 3 as const),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: ['match'] },
  ),
  { maxLength: 4 },
);
const history = fc.record(
  { storage: fc.constantFrom('file' as const, 'memory' as const), publishTimeout: duration(100, 60_000) },
  { requiredKeys: [] },
);

const jwt = fc
  .tuple(
    fc.oneof(
      fc.record({ secretRef }),
      fc.constant({ jwksUrl: 'https://id.example.com/jwks.json' }),
      fc.record({ jwksFrom: fc.oneof(fc.record({ secretRef }), fc.record({ configMapRef: secretRef })) }),
    ),
    fc.record({ audience: name, issuer: name }, { requiredKeys: [] }),
  )
  .map(([source, rest]) => ({ ...source, ...rest }));
const auth = fc.oneof(
  fc.record({ jwt, anonymous: fc.boolean() }, { requiredKeys: ['jwt'] }),
  fc.record(
    {
      allowedOrigins: fc.array(
        fc.webUrl().map((url) => new URL(url).origin),
        { maxLength: 3 },
      ),
    },
    { requiredKeys: [] },
  ),
);

const credential = fc.oneof(
  fc.record({ type: fc.constantFrom('creds', 'nkey', 'token'), secretRef }),
  fc.record({ type: fc.constant('password' as const), user: name, secretRef }),
);
const jetstream = fc
  .record(
    {
      storage: fc.constantFrom('memory' as const, 'file' as const),
      size: size(16_777_216, 1_073_741_824),
      sync: fc.constantFrom('always' as const, 'interval' as const),
      storageClassName: name,
      whenDeleted: fc.constantFrom('Retain' as const, 'Delete' as const),
    },
    { requiredKeys: ['storage'] },
  )
  .map(({ storageClassName, ...rest }) =>
    rest.storage === 'file' && storageClassName !== undefined ? { ...rest, storageClassName } : rest,
  );

/** Without resources if the servers store in memory: their limits could be too low for that. */
function withRoomForMessages<T extends { jetstream?: { storage: string }; resources?: object }>(managed: T): T {
  if (managed.jetstream?.storage === 'memory') delete managed.resources;
  return managed;
}

const nats = fc.oneof(
  fc.record(
    {
      managed: fc
        .record(
          {
            replicas: fc.constantFrom(1, 3, 5),
            image: reference,
            tls: fc.record({ enabled: fc.boolean(), routes: fc.boolean(), secretName: name }, { requiredKeys: [] }),
            disruptionBudget,
            jetstream,
            resources,
            placement,
            podTemplate: anyPodTemplate('nats'),
          },
          { requiredKeys: [] },
        )
        .map(withRoomForMessages),
      prefix: fc.stringMatching(/^[a-z]{1,8}(\.[A-Z0-9_-]{1,8})?$/),
    },
    { requiredKeys: [] },
  ),
  fc.record(
    {
      url: fc.constantFrom('nats://n:4222', 'tls://a.example.com,tls://b.example.com:4333'),
      prefix: name,
      credentials: fc.record({ gateway: credential, logic: credential }, { requiredKeys: [] }),
      caSecretRef: secretRef,
      certificates: fc.record(
        { gateway: fc.record({ secretName: name }), logic: fc.record({ secretName: name }) },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: ['url', 'prefix'] },
  ),
);
const log = fc.record({ level: fc.constantFrom('debug', 'info', 'warn', 'error') });
const monitoring = fc.record(
  {
    serviceMonitor: fc.boolean(),
    rules: fc.record(
      {
        enabled: fc.boolean(),
        labels: fc.constantFrom({}, { release: 'prometheus' }),
        lineRate: fc.constantFrom(0.1, 2.5, 100),
        runbook: fc.constantFrom('https://runbooks.example.com/a?b=c#', 'http://runbooks'),
      },
      { requiredKeys: [] },
    ),
    dashboards: fc.record(
      {
        enabled: fc.boolean(),
        labels: fc.constantFrom({}, { grafana_dashboard: 'live' }),
        annotations: fc.constantFrom({}, { grafana_folder: 'Live' }),
      },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);
