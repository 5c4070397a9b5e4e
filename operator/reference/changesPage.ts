import type { z } from 'zod';
import { PushCluster, type Spec } from '../api/pushCluster.ts';
import type { Context } from '../pushcluster/desired/context.ts';
import { desired } from '../pushcluster/desired/desired.ts';
import { logicReplicas } from '../pushcluster/desired/logicReplicas.ts';
import { POD_DEFAULTS } from '../pushcluster/desired/pods.ts';
import { wantedGateways } from '../pushcluster/wantedGateways.ts';
import { type Effect, effects } from './changeEffects.ts';

/** Path of the page about effects of changes, from the root of the project. */
export const CHANGES_FILE = 'docs/reference/changes.md';

type SpecInput = z.input<typeof Spec>;

/** A change of one field. `before` is the rest of the spec that the change needs. */
export type Change = { field: string; before?: SpecInput; after: SpecInput };

const url = { url: 'nats://nats:4222', prefix: 'live' };
const jwt = { jwksUrl: 'https://id.example.com/jwks.json' };
const secretRef = { name: 'other' };
const reached = { type: 'LoadBalancer' } as const;
const autoscaling = { maxReplicas: 9, targetConnections: 20_000 };

const gateway = (field: string, after: SpecInput['gateway'], before?: SpecInput['gateway']): Change => ({
  field: `gateway.${field}`,
  after: { gateway: after },
  ...(before === undefined ? {} : { before: { gateway: before } }),
});
const logic = (field: string, after: SpecInput['logic'], before?: SpecInput['logic']): Change => ({
  field: `logic.${field}`,
  after: { logic: after },
  ...(before === undefined ? {} : { before: { logic: before } }),
});
const apiKey = (field: string, change: object) =>
  logic(
    `apiKeys[].${field}`,
    { apiKeys: [{ name: 'backend', secretRef: { name: 'keys' }, ...change }] },
    { apiKeys: [{ name: 'backend', secretRef: { name: 'keys' } }] },
  );
const room = (field: string, policy: object): Change => ({
  field: `rooms[].${field}`,
  before: { rooms: [{ match: 'live-*' }] },
  after: { rooms: [{ match: 'live-*', ...policy }] },
});
const stored = (field: string, policy: object): Change => ({
  field,
  before: { nats: url, rooms: [{ match: 'live-*' }] },
  after: { nats: url, rooms: [{ match: 'live-*', ...policy }] },
});
const jetstream = (field: string, change: object, before: object = { storage: 'file' }): Change => ({
  field: `nats.managed.jetstream.${field}`,
  before: { nats: { managed: { jetstream: before } } } as SpecInput,
  after: { nats: { managed: { jetstream: { ...before, ...change } } } } as SpecInput,
});
const placement = [
  { field: 'nodeSelector', to: { nodeSelector: { pool: 'live' } } },
  { field: 'tolerations', to: { tolerations: [{ operator: 'Exists' }] } },
  { field: 'affinity', to: { affinity: { podAntiAffinity: {} } } },
  { field: 'topologySpreadConstraints', to: { topologySpreadConstraints: [] } },
  { field: 'priorityClassName', to: { priorityClassName: 'live' } },
];
const template = (field: string, of: (podTemplate: object) => SpecInput): Change[] => [
  { field: `${field}.metadata.labels`, after: of({ metadata: { labels: { a: 'b' } } }) },
  { field: `${field}.metadata.annotations`, after: of({ metadata: { annotations: { a: 'b' } } }) },
  { field: `${field}.spec`, after: of({ spec: { runtimeClassName: 'kata' } }) },
];
const budget = (field: string, of: (budget: object) => SpecInput): Change[] =>
  [{ enabled: false }, { maxUnavailable: 2 }, { minAvailable: '50%' }].map((change) => ({
    field: `${field}.disruptionBudget.${Object.keys(change)[0]}`,
    after: of(change),
  }));
const serviceFields = (role: 'gateway' | 'logic', of: (service: object) => SpecInput): Change[] => [
  ...[
    { annotations: { a: 'b' } },
    { labels: { a: 'b' } },
    { externalIPs: ['198.51.100.7'] },
    { ipFamilies: ['IPv4'] },
    { ipFamilyPolicy: 'PreferDualStack' },
    { internalTrafficPolicy: 'Local' },
    { trafficDistribution: 'PreferClose' },
  ].map((change) => ({ field: `${role}.service.${Object.keys(change)[0]}`, after: of(change) })),
  ...[
    { nodePort: 30_007 },
    { loadBalancerClass: 'service.k8s.aws/nlb' },
    { loadBalancerIP: '198.51.100.7' },
    { loadBalancerSourceRanges: ['203.0.113.0/24'] },
    { allocateLoadBalancerNodePorts: false },
  ].map((change) => ({
    field: `${role}.service.${Object.keys(change)[0]}`,
    before: of(reached),
    after: of({ ...reached, ...change }),
  })),
];
const credential = (role: 'gateway' | 'logic', field: string, change: object): Change => {
  const given = { secretRef: { name: 'nats' } };
  return {
    field: `nats.credentials.${role}.${field}`,
    before: { nats: { ...url, credentials: { [role]: given } } },
    after: { nats: { ...url, credentials: { [role]: { ...given, ...change } } } },
  };
};
const exporter = (field: string, change: object): Change => ({
  field: `nats.managed.exporter.${field}`,
  before: { nats: { managed: { exporter: { enabled: true } } } },
  after: { nats: { managed: { exporter: { enabled: true, ...change } } } },
});
const certificate = (role: 'gateway' | 'logic'): Change => ({
  field: `nats.certificates.${role}.secretName`,
  before: { nats: { ...url, certificates: { [role]: { secretName: 'certificate' } } } },
  after: { nats: { ...url, certificates: { [role]: { secretName: 'other' } } } },
});
const file = (field: string, of: (ref: object) => SpecInput): Change[] =>
  (['secretRef', 'configMapRef'] as const).flatMap((kind) => [
    {
      field: `${field}.${kind}.name`,
      before: of({ [kind]: { name: 'keys' } }),
      after: of({ [kind]: { name: 'other' } }),
    },
    {
      field: `${field}.${kind}.key`,
      before: of({ [kind]: { name: 'keys' } }),
      after: of({ [kind]: { name: 'keys', key: 'other' } }),
    },
  ]);
const watched = (by: 'rules' | 'dashboards', field: string, change: object): Change => ({
  field: `monitoring.${by}.${field}`,
  before: { monitoring: { [by]: { enabled: true } } },
  after: { monitoring: { [by]: { enabled: true, ...change } } },
});

type Keda = NonNullable<NonNullable<NonNullable<SpecInput['gateway']>['autoscaling']>['keda']>;
const keda: Keda = { prometheus: 'http://prometheus:9090' };

/** One change for every field of the spec. */
export const CHANGES: readonly Change[] = [
  { field: 'image.gateway', after: { image: { gateway: 'gateway:2' } } },
  { field: 'image.logic', after: { image: { logic: 'logic:2' } } },
  { field: 'image.pullPolicy', after: { image: { pullPolicy: 'Always' } } },
  { field: 'imagePullSecrets[].name', after: { imagePullSecrets: [{ name: 'registry' }] } },
  gateway('replicas', { replicas: 5 }),
  gateway('shards', { shards: 3 }),
  gateway('connections.max', { connections: { max: 9 } }),
  gateway('connections.acceptRate', { connections: { acceptRate: 9 } }),
  gateway('connections.perIp', { connections: { perIp: 9 } }),
  gateway('connections.onePerUser', { connections: { onePerUser: true } }),
  gateway('rooms.maxPerConnection', { rooms: { maxPerConnection: 9 } }),
  gateway('rooms.max', { rooms: { max: 9 } }),
  gateway('inbound.maxFrame', { inbound: { maxFrame: '1KiB' } }),
  gateway('inbound.frameRate', { inbound: { frameRate: 9 } }),
  gateway('idleTimeout', { idleTimeout: '1m' }),
  gateway('batching.minDelay', { batching: { minDelay: '20ms' } }),
  gateway('batching.maxDelay', { batching: { maxDelay: '2s' } }),
  gateway('batching.adaptive', { batching: { adaptive: false } }),
  gateway('batching.maxItems', { batching: { maxItems: 9 } }),
  gateway('batching.maxBytes', { batching: { maxBytes: '64KiB' } }),
  gateway('batching.compression', { batching: { compression: false } }),
  gateway('batching.urgentRate', { batching: { urgentRate: 9 } }),
  gateway('slowConsumer.maxBuffer', { slowConsumer: { maxBuffer: '2MiB' } }),
  gateway('slowConsumer.policy', { slowConsumer: { policy: 'close' } }),
  gateway('drain.rate', { drain: { rate: 9 } }),
  gateway('drain.settle', { drain: { settle: '9s' } }),
  gateway('drain.timeout', { drain: { timeout: '9m' } }),
  gateway('rollout.maxTerminating', { rollout: { maxTerminating: 3 } }),
  gateway('rebalance.threshold', { rebalance: { threshold: 2 } }),
  gateway('rebalance.rate', { rebalance: { rate: 9 } }),
  gateway('rebalance.minimum', { rebalance: { minimum: 9 } }),
  gateway('rebalance.moveOthers', { rebalance: { moveOthers: true } }),
  gateway('protection.memory', { protection: { memory: 0.5 } }),
  gateway('protection.fds', { protection: { fds: 0.5 } }),
  gateway('protection.loopLag', { protection: { loopLag: '9s' } }),
  gateway('protection.handshakes', { protection: { handshakes: 99 } }),
  gateway('autoscaling.minReplicas', { autoscaling: { ...autoscaling, minReplicas: 3 } }, { autoscaling }),
  gateway('autoscaling.maxReplicas', { autoscaling: { ...autoscaling, maxReplicas: 8 } }, { autoscaling }),
  gateway('autoscaling.targetConnections', { autoscaling: { ...autoscaling, targetConnections: 9 } }, { autoscaling }),
  gateway(
    'autoscaling.targetBytesPerSecond',
    { autoscaling: { ...autoscaling, targetBytesPerSecond: 9 } },
    { autoscaling },
  ),
  gateway(
    'autoscaling.targetCPUUtilization',
    { autoscaling: { ...autoscaling, targetCPUUtilization: 9 } },
    { autoscaling },
  ),
  gateway(
    'autoscaling.keda.prometheus',
    { autoscaling: { ...autoscaling, keda: { prometheus: 'http://other:9090' } } },
    { autoscaling: { ...autoscaling, keda } },
  ),
  ...(
    [
      ['authenticationRef.name', { authenticationRef: { name: 'prometheus' } }],
      ['authenticationRef.kind', { authenticationRef: { name: 'other', kind: 'ClusterTriggerAuthentication' } }],
      ['authModes', { authModes: ['bearer'] }],
      ['headers', { headers: { 'X-Scope-OrgID': 'shop' } }],
    ] as [string, Partial<Keda>][]
  ).map(([field, change]) =>
    gateway(
      `autoscaling.keda.${field}`,
      { autoscaling: { ...autoscaling, keda: { ...keda, authenticationRef: { name: 'other' }, ...change } } },
      { autoscaling: { ...autoscaling, keda: { ...keda, authenticationRef: { name: 'other' } } } },
    ),
  ),
  gateway(
    'autoscaling.behavior',
    { autoscaling: { ...autoscaling, behavior: { scaleUp: { selectPolicy: 'Disabled' } } } },
    { autoscaling },
  ),
  gateway('service.type', { service: { type: 'LoadBalancer' } }),
  gateway('service.port', { service: { port: 443 } }),
  ...serviceFields('gateway', (service) => ({ gateway: { service } })),
  gateway('service.sessionAffinity', { service: { sessionAffinity: 'ClientIP' } }),
  gateway(
    'service.externalTrafficPolicy',
    { service: { ...reached, externalTrafficPolicy: 'Cluster' } },
    { service: reached },
  ),
  gateway(
    'service.healthCheckNodePort',
    { service: { ...reached, healthCheckNodePort: 30_008 } },
    { service: reached },
  ),
  gateway('service.proxyProtocol', { service: { proxyProtocol: true } }),
  gateway('service.forwardedHeaders', { service: { forwardedHeaders: true } }),
  gateway(
    'service.forwardedHops',
    { service: { forwardedHeaders: true, forwardedHops: 2 } },
    { service: { forwardedHeaders: true } },
  ),
  gateway('service.tls.secretName', { service: { tls: { secretName: 'tls' } } }),
  ...budget('gateway', (disruptionBudget) => ({ gateway: { disruptionBudget } })),
  gateway('resources', { resources: { requests: { cpu: '200m' } } }),
  ...placement.map(({ field, to }) => gateway(`placement.${field}`, { placement: to })),
  gateway('podTemplate.labels', { podTemplate: { labels: { a: 'b' } } }),
  gateway('podTemplate.annotations', { podTemplate: { annotations: { a: 'b' } } }),
  ...template('gateway.podTemplate', (podTemplate) => ({ gateway: { podTemplate } })),
  gateway('serviceAccount.annotations', { serviceAccount: { annotations: { a: 'b' } } }),
  gateway('sysctls', { sysctls: { 'net.ipv4.tcp_wmem': '4096 16384 65536' } }),
  gateway('console', { console: true }),
  gateway('consolePushUrl', { consolePushUrl: 'https://push.example.com' }),
  gateway('consoleRoom', { consoleRoom: 'demo' }),
  gateway('echo', { echo: true }),
  gateway('hostNetwork', { hostNetwork: true }),
  logic('replicas', { replicas: 5 }),
  logic(
    'autoscaling.minReplicas',
    { autoscaling: { maxReplicas: 9, minReplicas: 3 } },
    { autoscaling: { maxReplicas: 9, minReplicas: 4 } },
  ),
  logic('autoscaling.maxReplicas', { autoscaling: { maxReplicas: 8 } }, { autoscaling: { maxReplicas: 9 } }),
  logic(
    'autoscaling.targetCPUUtilization',
    { autoscaling: { maxReplicas: 9, targetCPUUtilization: 9 } },
    { autoscaling: { maxReplicas: 9 } },
  ),
  logic('autoscaling.behavior', { autoscaling: { maxReplicas: 9, behavior: {} } }, { autoscaling: { maxReplicas: 9 } }),
  apiKey('name', { name: 'other' }),
  apiKey('secretRef.name', { secretRef }),
  apiKey('secretRef.key', { secretRef: { name: 'keys', key: 'other' } }),
  apiKey('scope.all', { scope: { all: true } }),
  apiKey('scope.rooms', { scope: { rooms: ['a'] } }),
  apiKey('scope.users', { scope: { users: ['a'] } }),
  apiKey('scope.disconnect', { scope: { disconnect: true } }),
  apiKey('scope.read', { scope: { read: true } }),
  apiKey('scope.history', { scope: { history: ['a'] } }),
  logic('service.type', { service: { type: 'NodePort' } }),
  logic('service.port', { service: { port: 80 } }),
  ...serviceFields('logic', (service) => ({ logic: { service } })),
  logic(
    'service.externalTrafficPolicy',
    { service: { ...reached, externalTrafficPolicy: 'Local' } },
    { service: reached },
  ),
  logic('service.tls.secretName', { service: { tls: { secretName: 'tls' } } }),
  logic('allowedOrigins', { allowedOrigins: ['https://example.com'] }),
  logic('limits.body', { limits: { body: '2MiB' } }),
  logic('limits.items', { limits: { items: 9 } }),
  logic('limits.item', { limits: { item: '1KiB' } }),
  logic('urgentRate', { urgentRate: 9 }),
  logic('publishTimeout', { publishTimeout: '1s' }),
  logic('askTimeout', { askTimeout: '1s' }),
  ...budget('logic', (disruptionBudget) => ({ logic: { disruptionBudget } })),
  logic('resources', { resources: { requests: { cpu: '200m' } } }),
  ...placement.map(({ field, to }) => logic(`placement.${field}`, { placement: to })),
  ...template('logic.podTemplate', (podTemplate) => ({ logic: { podTemplate } })),
  logic('serviceAccount.annotations', { serviceAccount: { annotations: { a: 'b' } } }),
  room('match', { match: 'other' }),
  room('batching.minDelay', { batching: { minDelay: '20ms' } }),
  room('batching.maxDelay', { batching: { maxDelay: '2s' } }),
  room('batching.adaptive', { batching: { adaptive: false } }),
  room('batching.maxItems', { batching: { maxItems: 9 } }),
  room('batching.maxBytes', { batching: { maxBytes: '64KiB' } }),
  room('overload.maxRate', { overload: { maxRate: 9 } }),
  room('overload.policy', { overload: { maxRate: 9, policy: 'dropOldest' } }),
  stored('rooms[].history.messages', { history: { messages: 9 } }),
  stored('rooms[].history.maxAge', { history: { maxAge: '9h' } }),
  stored('rooms[].history.replicas', { history: { replicas: 3 } }),
  {
    field: 'history.storage',
    before: { nats: url, rooms: [{ match: 'live-*', history: {} }] },
    after: { nats: url, rooms: [{ match: 'live-*', history: {} }], history: { storage: 'memory' } },
  },
  {
    field: 'history.publishTimeout',
    before: { nats: url, rooms: [{ match: 'live-*', history: {} }] },
    after: { nats: url, rooms: [{ match: 'live-*', history: {} }], history: { publishTimeout: '9s' } },
  },
  {
    field: 'auth.jwt.secretRef.name',
    before: { auth: { jwt: { secretRef: { name: 'jwt' } } } },
    after: { auth: { jwt: { secretRef } } },
  },
  {
    field: 'auth.jwt.secretRef.key',
    before: { auth: { jwt: { secretRef: { name: 'jwt' } } } },
    after: { auth: { jwt: { secretRef: { name: 'jwt', key: 'other' } } } },
  },
  {
    field: 'auth.jwt.jwksUrl',
    before: { auth: { jwt } },
    after: { auth: { jwt: { jwksUrl: 'https://id.example.com/other.json' } } },
  },
  ...file('auth.jwt.jwksCaFrom', (jwksCaFrom) => ({ auth: { jwt: { ...jwt, jwksCaFrom } } })),
  ...file('auth.jwt.jwksFrom', (jwksFrom) => ({ auth: { jwt: { jwksFrom } } })),
  { field: 'auth.jwt.audience', before: { auth: { jwt } }, after: { auth: { jwt: { ...jwt, audience: 'a' } } } },
  { field: 'auth.jwt.issuer', before: { auth: { jwt } }, after: { auth: { jwt: { ...jwt, issuer: 'a' } } } },
  { field: 'auth.anonymous', before: { auth: { jwt } }, after: { auth: { jwt, anonymous: true } } },
  { field: 'auth.allowedOrigins', after: { auth: { allowedOrigins: ['https://example.com'] } } },
  { field: 'nats.prefix', after: { nats: { prefix: 'other' } } },
  {
    field: 'nats.managed.serviceAccount.annotations',
    after: { nats: { managed: { serviceAccount: { annotations: { a: 'b' } } } } },
  },
  { field: 'nats.managed.replicas', after: { nats: { managed: { replicas: 3 } } } },
  {
    field: 'nats.managed.image',
    after: { nats: { managed: { image: 'nats:2' } } },
  },
  {
    field: 'nats.managed.tls.enabled',
    after: { nats: { managed: { tls: { enabled: true } } } },
  },
  {
    field: 'nats.managed.tls.routes',
    before: { nats: { managed: { replicas: 3, tls: { enabled: true } } } },
    after: { nats: { managed: { replicas: 3, tls: { enabled: true, routes: false } } } },
  },
  {
    field: 'nats.managed.tls.secretName',
    before: { nats: { managed: { tls: { enabled: true } } } },
    after: { nats: { managed: { tls: { enabled: true, secretName: 'nats-certificate' } } } },
  },
  { field: 'nats.managed.exporter.enabled', after: { nats: { managed: { exporter: { enabled: true } } } } },
  exporter('image', { image: 'exporter:2' }),
  exporter('resources', { resources: { requests: { cpu: '20m' } } }),
  jetstream('storage', { storage: 'memory' }),
  jetstream('size', { size: '128MiB' }, { storage: 'memory' }),
  jetstream('sync', { sync: 'interval' }),
  jetstream('storageClassName', { storageClassName: 'fast' }),
  jetstream('whenDeleted', { whenDeleted: 'Delete' }),
  ...budget('nats.managed', (disruptionBudget) => ({ nats: { managed: { disruptionBudget } } })),
  { field: 'nats.managed.resources', after: { nats: { managed: { resources: { requests: { cpu: '200m' } } } } } },
  ...placement.map(({ field, to }) => ({
    field: `nats.managed.placement.${field}`,
    after: { nats: { managed: { placement: to } } },
  })),
  ...template('nats.managed.podTemplate', (podTemplate) => ({ nats: { managed: { podTemplate } } })),
  { field: 'nats.url', after: { nats: url } },
  credential('gateway', 'type', { type: 'token' }),
  credential('gateway', 'user', { type: 'password', user: 'g' }),
  credential('gateway', 'secretRef.name', { secretRef }),
  credential('gateway', 'secretRef.key', { secretRef: { name: 'nats', key: 'other' } }),
  credential('logic', 'type', { type: 'token' }),
  credential('logic', 'user', { type: 'password', user: 'l' }),
  credential('logic', 'secretRef.name', { secretRef }),
  credential('logic', 'secretRef.key', { secretRef: { name: 'nats', key: 'other' } }),
  certificate('gateway'),
  certificate('logic'),
  {
    field: 'nats.caSecretRef.name',
    before: { nats: url },
    after: { nats: { ...url, caSecretRef: { name: 'ca' } } },
  },
  {
    field: 'nats.caSecretRef.key',
    before: { nats: { ...url, caSecretRef: { name: 'ca' } } },
    after: { nats: { ...url, caSecretRef: { name: 'ca', key: 'other' } } },
  },
  { field: 'monitoring.serviceMonitor', after: { monitoring: { serviceMonitor: false } } },
  { field: 'monitoring.rules.enabled', after: { monitoring: { rules: { enabled: true } } } },
  watched('rules', 'labels', { labels: { release: 'prometheus' } }),
  watched('rules', 'lineRate', { lineRate: 25 }),
  watched('rules', 'runbook', { runbook: 'https://runbooks.example.com' }),
  { field: 'monitoring.dashboards.enabled', after: { monitoring: { dashboards: { enabled: true } } } },
  watched('dashboards', 'labels', { labels: { team: 'live' } }),
  watched('dashboards', 'annotations', { annotations: { grafana_folder: 'Live' } }),
  { field: 'log.level', after: { log: { level: 'debug' } } },
  { field: 'inheritedMetadata.labels', after: { inheritedMetadata: { labels: { team: 'live' } } } },
  { field: 'inheritedMetadata.annotations', after: { inheritedMetadata: { annotations: { contact: 'live' } } } },
  { field: 'paused', after: { paused: true } },
];

const MEANING: Record<Effect, string> = {
  live: 'live',
  metadata: 'all objects but pods and volumes updated in place',
  refused: 'refused by the API server',
  hold: 'the operator stops, or starts again, to change anything',
  drain: 'gateways are added, or drained and removed',
  gateways: 'rollout of gateways',
  logic: 'rollout of logic',
  logicScale: 'logic pods are added or removed',
  nats: 'rolling restart of NATS',
  natsScale: 'NATS servers are added or removed',
  natsAnew: 'all NATS servers are replaced at once, and histories begin anew',
  natsVolumes: 'applies to the volumes of NATS later',
  natsMove: 'managed NATS is created, or deleted once no pod uses it',
  service: 'Service updated in place',
  account: 'ServiceAccount updated in place',
  rolloutPace: 'rollouts, also one in progress, follow it',
  budget: 'PodDisruptionBudget created, updated or deleted',
  autoscaler: 'autoscaler updated in place',
  monitor: 'ServiceMonitor created, updated or deleted',
  alerts: 'PrometheusRule created, updated or deleted',
  dashboards: 'dashboard ConfigMaps created, updated or deleted',
};

const HISTORIES = '../how-to/rooms-with-history.md';
/** What changes do to the pushes in histories: nothing of it shows in the desired objects. */
const STORED = [
  [
    '`rooms[].history.messages` or `rooms[].history.maxAge` raised',
    `NATS keeps more from now on. Clients continue, unless the former limits had removed what they missed ([Clients that come back](${HISTORIES}#clients-that-come-back)).`,
  ],
  [
    'the same lowered',
    'NATS removes at once what is over the limits. Clients that missed a part of it are told (`reset` in the SDK).',
  ],
  ['`rooms[].history.replicas`', 'NATS makes or removes copies. Meanwhile, pushes may wait for some seconds.'],
  [
    '`rooms[].history` added',
    'Connected clients go on, and lose nothing. What was pushed before is not in the history.',
  ],
  [
    '`rooms[].history` or the policy removed, `rooms[].match` changed',
    'Connected clients go on, lose nothing, and are told that the history has ended (`reset`). The stream stays in NATS: delete it there. If the policy comes back, its history is another one.',
  ],
  [
    'an earlier policy matches some of the rooms',
    'The same for these rooms, but the stream has the others still. If they come back, the history of all of its rooms is another one.',
  ],
  [
    '`history.storage`',
    'Only streams that are made from now on are stored there. To move one, delete it: logic makes it again, and the history begins anew.',
  ],
  [
    '`nats.prefix`, `nats.url`',
    'Histories begin anew. The streams of the former prefix, or on the former servers, stay: delete them there.',
  ],
  [
    '`nats.managed.jetstream.storage`; `nats.managed.jetstream` set or removed',
    `Histories begin anew ([On Kubernetes](${HISTORIES}#on-kubernetes)).`,
  ],
  [
    '`nats.managed.jetstream.size` and `nats.managed.jetstream.storageClassName` with `storage: file`; `nats.managed.replicas` with `nats.managed.jetstream`',
    'Nothing: the API server refuses the change.',
  ],
  [
    '`nats.managed.jetstream.size` with `storage: memory`, and everything else that restarts NATS',
    'With `storage: file`, nothing. With `memory`, histories with one copy begin anew. Those with three are kept.',
  ],
  [
    '`nats.managed.jetstream.sync`, `nats.managed.jetstream.whenDeleted`',
    'Nothing but what the restart does. Later, they decide what a power failure or a deletion costs.',
  ],
];

/** The effects of a change: the difference between the desired objects before and after it. */
export function effectsOf({ before = {}, after }: Change): Effect[] {
  if (after.paused !== undefined) return ['hold'];
  return effects(objects(before), objects(after));
}

/** The page about effects of changes. */
export function changesText(): string {
  const rows = CHANGES.map((change) => {
    const done = effectsOf(change).map((effect) => MEANING[effect]);
    return `| \`${change.field}\` | ${done.join('; ')} |`;
  });
  return [
    '<!-- Made by `npm run crd -w @pushcluster/operator` from the desired objects of the operator. -->',
    '',
    '# Effects of changes',
    '',
    'What happens to running pods when you change a field of the `spec` of a [PushCluster](pushcluster.md).',
    '',
    '| effect | meaning |',
    '| --- | --- |',
    '| live | Pods load the new value within seconds. No pod is replaced and no connection is moved. |',
    '| rollout of gateways | Gateways are replaced, new ones first. Connections are moved at `gateway.drain.rate`. |',
    '| rollout of logic | Logic pods are replaced, new ones first. Publishers are not interrupted. |',
    '| rolling restart of NATS | NATS servers are restarted one by one. |',
    '',
    'The content of Secrets (keys, certificates, tokens) is always live. Only a different name or key of a Secret causes',
    'a rollout. Setting an optional field for the first time has the same effect as changing it. A newer version of the',
    'operator brings newer default images, which roll out every kind of pod whose image is not set in `image`.',
    '',
    '| field | effect of a change |',
    '| --- | --- |',
    ...rows,
    '',
    '## Stored pushes',
    '',
    `What happens to the pushes in [histories](${HISTORIES}) of rooms.`,
    '',
    '| change | effect |',
    '| --- | --- |',
    ...STORED.map(([change, effect]) => `| ${change} | ${effect} |`),
    '',
  ].join('\n');
}

function objects(spec: SpecInput) {
  const cluster = PushCluster.parse({ metadata: { name: 'live', namespace: 'default', uid: 'uid' }, spec });
  const context: Context = {
    images: { gateway: 'gateway:1', logic: 'logic:1', nats: 'nats:1', natsExporter: 'exporter:1' },
    podDefaults: POD_DEFAULTS,
    gatewayReplicas: wantedGateways(cluster, undefined).replicas,
    releasesOld: false,
    holdsOld: false,
    leaving: [],
    logicReplicas: cluster.spec.logic.autoscaling ? undefined : logicReplicas(cluster, undefined),
    serviceMonitors: true,
    secrets: new Map(),
    random: (bytes) => new Uint8Array(bytes),
  };
  return desired(cluster, context);
}
