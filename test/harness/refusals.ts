import { crd, type Schema } from '@pushcluster/operator/api/crd.ts';
import { TEMPLATES } from '@pushcluster/operator/api/spec/podTemplate.ts';

/** A PushCluster that the API server refuses, and a pattern of the error message. */
export type Refusal = { what: string; object: ReturnType<typeof pushCluster>; says: RegExp };

/** All PushClusters that are refused without regard to an earlier state of the object. */
export function refusals(): Refusal[] {
  return [
    ...[...SPECS, ...templates()].map(([what, spec, says]) => ({ what, object: pushCluster(spec), says })),
    ...NAMES.map(([what, name, says]) => ({ what, object: pushCluster({}, name), says })),
  ];
}

/**
 * For each CEL rule that needs no earlier state: one PushCluster, and the rule's message. The names differ, so that all
 * objects fit into one list. Throws if a rule has no such PushCluster.
 */
export function exactRefusals(): { object: ReturnType<typeof pushCluster>; message: string }[] {
  return [...ruleMessages()]
    .filter((message) => !message.includes('cannot be changed'))
    .map((message, index) => {
      // Several patterns may match; the most specific one belongs to this rule and not to another rule of the field.
      const [best] = refusals()
        .filter(({ says }) => says.test(message))
        .sort((a, b) => b.says.source.length - a.says.source.length);
      if (best === undefined) throw new Error(`nothing here is refused by the rule "${message}"`);
      const { name } = best.object.metadata;
      return { object: pushCluster(best.object.spec, name === 'live' ? `refused-${index}` : name), message };
    });
}

export function pushCluster(spec: object, name = 'live') {
  return {
    apiVersion: 'pushcluster.dev/v1alpha1',
    kind: 'PushCluster',
    metadata: { name, namespace: 'default' },
    spec,
  };
}

/** The messages of all CEL rules of the CRD. */
export function ruleMessages(): Set<string> {
  const all = new Set<string>();
  const look = (schema: Schema) => {
    for (const { message } of schema['x-kubernetes-validations'] ?? []) all.add(message);
    const { properties = {}, items, additionalProperties } = schema;
    for (const below of [...Object.values(properties), items, additionalProperties]) if (below) look(below);
  };
  look(crd().spec.versions[0]!.schema.openAPIV3Schema);
  return all;
}

const gateway = (gateway: object) => ({ gateway });
const drain = (drain: object) => ({ gateway: { drain } });
const rebalance = (rebalance: object) => ({ gateway: { rebalance } });
const protection = (protection: object) => ({ gateway: { protection } });
const batching = (batching: object) => ({ gateway: { batching } });
const labels = (labels: object) => ({ gateway: { podTemplate: { labels } } });
const annotations = (annotations: object) => ({ gateway: { podTemplate: { annotations } } });
const alerts = (rules: object) => ({ monitoring: { rules } });
const dashboards = (dashboards: object) => ({ monitoring: { dashboards } });
const nats = (nats: object) => ({ nats });
const jetstream = (jetstream: object) => nats({ managed: { jetstream } });
const url = { url: 'nats://n:4222', prefix: 'p' };
const secretRef = { name: 's' };
const zones = { topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway' };
const room = (room: object) => ({ rooms: [{ match: 'a', ...room }] });

type Row = [what: string, spec: object, says: RegExp];
const SPECS: readonly Row[] = [
  ['fewer gateways than none', gateway({ replicas: -1 }), /gateway\.replicas.*greater than or equal to 0/],
  ['half a gateway', gateway({ replicas: 1.5 }), /gateway\.replicas/],
  ['no shards', gateway({ shards: 0 }), /gateway\.shards must be from 1 to 256, or auto/],
  ['shards in words', gateway({ shards: 'many' }), /gateway\.shards must be from 1 to 256, or auto/],
  ['a time without a unit', batching({ maxDelay: '500' }), /gateway\.batching\.maxDelay.*should match/],
  ['a time that is a number', batching({ maxDelay: 500 }), /gateway\.batching\.maxDelay.*must be of type string/],
  [
    'a shortest window that is too long',
    batching({ minDelay: '11s' }),
    /gateway\.batching\.minDelay must be from 0s to 10s/,
  ],
  ['a window that is too long', batching({ maxDelay: '11s' }), /gateway\.batching\.maxDelay must be from 0s to 10s/],
  [
    'more connections than a gateway may hold as its target',
    gateway({ connections: { max: 100 }, autoscaling: { maxReplicas: 3, targetConnections: 101 } }),
    /gateway\.autoscaling\.targetConnections must not exceed gateway\.connections\.max/,
  ],
  [
    'a share of no CPU',
    gateway({ resources: { requests: { memory: '1Gi' } }, autoscaling: { maxReplicas: 3, targetCPUUtilization: 50 } }),
    /gateway\.autoscaling\.targetCPUUtilization is a percentage of gateway\.resources\.requests\.cpu/,
  ],
  ...[
    { requests: { cpu: 0 } },
    { requests: { cpu: '0m' }, limits: { cpu: 1 } },
    { requests: { cpu: '0.0' } },
    { limits: { cpu: '0' } },
  ].map(
    (resources): Row => [
      `a share of no CPU: ${JSON.stringify(resources)}`,
      gateway({ resources, autoscaling: { maxReplicas: 3, targetCPUUtilization: 50 } }),
      /gateway\.resources\.requests\.cpu, which is not set or 0/,
    ],
  ),
  [
    'a share of no CPU for logic',
    { logic: { resources: {}, autoscaling: { maxReplicas: 3 } } },
    /logic\.autoscaling needs logic\.resources\.requests\.cpu/,
  ],
  [
    'hops without the header',
    gateway({ service: { forwardedHops: 2 } }),
    /gateway\.service\.forwardedHops requires forwardedHeaders/,
  ],
  ...[{ 'a b': 'c' }, { a: 'b,c' }, { a: 'b=c' }, { a: '' }, { a: 'b\nc' }].map(
    (headers): Row => [
      `a header that KEDA can not be told: ${JSON.stringify(headers)}`,
      gateway({
        autoscaling: { maxReplicas: 3, targetConnections: 1, keda: { prometheus: 'http://p:9090', headers } },
      }),
      /gateway\.autoscaling\.keda\.headers must have names of letters/,
    ],
  ),
  [
    'a Prometheus at no URL',
    gateway({ autoscaling: { maxReplicas: 3, targetConnections: 1, keda: { prometheus: 'prometheus:9090' } } }),
    /gateway\.autoscaling\.keda\.prometheus must be a URL/,
  ],
  [
    'frames that are too small',
    batching({ maxBytes: '1000' }),
    /gateway\.batching\.maxBytes must be from 1KiB to 1MiB/,
  ],
  [
    'a buffer that is too large',
    gateway({ slowConsumer: { maxBuffer: '65Mi' } }),
    /gateway\.slowConsumer\.maxBuffer must be from 16KiB to 64MiB/,
  ],
  [
    'a buffer that does not hold two frames',
    gateway({ slowConsumer: { maxBuffer: '511KiB' } }),
    /gateway\.slowConsumer\.maxBuffer must hold two full frames/,
  ],
  [
    'a policy that there is not',
    gateway({ slowConsumer: { policy: 'wait' } }),
    /slowConsumer\.policy.*supported values/,
  ],
  ['a long settling', drain({ settle: '6m' }), /gateway\.drain\.settle must be from 0s to 5m/],
  ['a short drain', drain({ timeout: '999ms' }), /gateway\.drain\.timeout must be from 1s to 1h/],
  ['a drain of nobody', drain({ rate: 0 }), /gateway\.drain\.rate/],
  ['a rollout that ends no gateway', gateway({ rollout: { maxTerminating: 0 } }), /gateway\.rollout\.maxTerminating/],
  ['a loop that may lag long', protection({ loopLag: '61s' }), /gateway\.protection\.loopLag must be from 0s to 1m/],
  ['memory beyond its limit', protection({ memory: 1.1 }), /gateway\.protection\.memory/],
  ['no memory', protection({ memory: 0 }), /gateway\.protection\.memory must be from 0\.1 to 1/],
  ['no descriptors', protection({ fds: 0 }), /gateway\.protection\.fds must be from 0\.1 to 1/],
  ['more even than even', rebalance({ threshold: 1 }), /gateway\.rebalance\.threshold must be from 1\.05 to 100/],
  ['hardly any handshakes', protection({ handshakes: 9 }), /gateway\.protection\.handshakes/],
  [
    'less at most than at least',
    gateway({ autoscaling: { minReplicas: 3, maxReplicas: 2, targetConnections: 9 } }),
    /gateway\.autoscaling\.minReplicas must not exceed maxReplicas/,
  ],
  [
    'an autoscaler without a target',
    gateway({ autoscaling: { maxReplicas: 9 } }),
    /gateway\.autoscaling needs at least one target/,
  ],
  ['an autoscaler without a bound', gateway({ autoscaling: { targetConnections: 9 } }), /maxReplicas: Required value/],
  ...(['gateway', 'logic'] as const).flatMap((role): Row[] => {
    const of = (service: object) => ({ [role]: { service } });
    const says = (text: string) => new RegExp(`${role}\\.service\\.${text}`);
    return [
      [
        `${role}: a node port of a Service without`,
        of({ type: 'ClusterIP', nodePort: 30_000 }),
        says('nodePort requires type'),
      ],
      [`${role}: a node port of the default Service`, of({ nodePort: 30_000 }), says('nodePort requires type')],
      ...Object.entries({
        loadBalancerClass: 'a',
        loadBalancerIP: '198.51.100.7',
        loadBalancerSourceRanges: ['10.0.0.0/8'],
        allocateLoadBalancerNodePorts: true,
      }).flatMap(([field, value]): Row[] => [
        [`${role}: ${field} of a node port`, of({ type: 'NodePort', [field]: value }), says(`${field} requires`)],
        [
          `${role}: ${field} of the default Service`,
          of({ [field]: value }),
          says(`${field} requires type LoadBalancer`),
        ],
      ]),
      [
        `${role}: a load balancer at no address`,
        of({ type: 'LoadBalancer', loadBalancerIP: 'live.example.com' }),
        says('loadBalancerIP must be an IP address'),
      ],
      [
        `${role}: source ranges that are none`,
        of({ type: 'LoadBalancer', loadBalancerSourceRanges: ['10.0.0.0'] }),
        says('loadBalancerSourceRanges must be networks'),
      ],
      [
        `${role}: external addresses that are none`,
        of({ externalIPs: ['live.example.com'] }),
        says('externalIPs must be IP addresses'),
      ],
      [
        `${role}: the same family twice`,
        of({ ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv4', 'IPv4'] }),
        says('ipFamilies must differ'),
      ],
      [
        `${role}: two families of a single stack`,
        of({ ipFamilies: ['IPv4', 'IPv6'] }),
        says('ipFamilies can be two only'),
      ],
      [
        `${role}: labels of the operator on the Service`,
        of({ labels: { 'pushcluster.dev/cluster': 'a' } }),
        says('labels must leave'),
      ],
      [`${role}: a label of the Service without a name`, of({ labels: { '/': 'a' } }), says('labels must have names')],
      [
        `${role}: near in no known way`,
        of({ trafficDistribution: 'Near' }),
        says('trafficDistribution.*supported values'),
      ],
    ];
  }),
  ...[{}, { type: 'NodePort' }, { type: 'LoadBalancer', externalTrafficPolicy: 'Cluster' }].map(
    (service): Row => [
      `a port for health checks that are not there: ${JSON.stringify(service)}`,
      gateway({ service: { ...service, healthCheckNodePort: 30_000 } }),
      /gateway\.service\.healthCheckNodePort requires type LoadBalancer and externalTrafficPolicy Local/,
    ],
  ),
  ['a Service of no type', gateway({ service: { type: 'ExternalName' } }), /gateway\.service\.type/],
  ['a port out of range', gateway({ service: { port: 65_536 } }), /gateway\.service\.port/],
  ['TLS without a certificate', gateway({ service: { tls: {} } }), /gateway\.service\.tls\.secretName: Required/],
  ...(['gateway', 'logic', 'nats.managed'] as const).flatMap((role): Row[] => {
    const of = (disruptionBudget: object) =>
      role.split('.').reduceRight((below: object, key) => ({ [key]: below }), { disruptionBudget });
    const field = `${role}.disruptionBudget`.replaceAll('.', '\\.');
    const says = (text: string) => new RegExp(field + text);
    return [
      [`${role}: a budget of both kinds`, of({ maxUnavailable: 1, minAvailable: 1 }), says(' must not have both')],
      ...[0, 1_001, '0%', '101%', '1', 'all'].map(
        (maxUnavailable): Row => [
          `${role}: a budget of at most ${maxUnavailable}`,
          of({ maxUnavailable }),
          says('\\.maxUnavailable must be from 1 to 1000, or from 1% to 100%'),
        ],
      ),
      [
        `${role}: a budget that lets none go`,
        of({ minAvailable: '100%' }),
        says('\\.minAvailable must be from 1 to 1000, or from 1% to 99%'),
      ],
    ];
  }),
  ...(['gateway', 'logic', 'nats.managed'] as const).flatMap((role): Row[] => {
    const of = (annotations: object) =>
      role.split('.').reduceRight((below: object, key) => ({ [key]: below }), { serviceAccount: { annotations } });
    const field = `${role}.serviceAccount.annotations`.replaceAll('.', '\\.');
    return [
      [
        `${role}: an account with annotations of the operator`,
        of({ 'pushcluster.dev/a': '' }),
        new RegExp(`${field} must leave`),
      ],
      [`${role}: an account with an annotation that is none`, of({ '/': '' }), new RegExp(`${field} must have names`)],
    ];
  }),
  ['an amount that is none', gateway({ resources: { limits: { cpu: 'much' } } }), /gateway\.resources\.limits/],
  ['labels of the operator', labels({ 'pushcluster.dev/serving': 'true' }), /gateway\.podTemplate\.labels must leave/],
  ['labels of Kubernetes', labels({ 'app.kubernetes.io/name': 'x' }), /gateway\.podTemplate\.labels must leave/],
  ['a label that is none', labels({ 'a b': 'c' }), /gateway\.podTemplate\.labels must have names/],
  ["a label's value that is none", labels({ a: 'b c' }), /gateway\.podTemplate\.labels/],
  [
    'annotations of the operator',
    annotations({ 'pushcluster.dev/drain': 'now' }),
    /gateway\.podTemplate\.annotations must leave/,
  ],
  ['an annotation that is none', annotations({ '/': '' }), /gateway\.podTemplate\.annotations must have names/],
  [
    'rules that are chosen as the operator chooses',
    alerts({ labels: { 'pushcluster.dev/cluster': 'other' } }),
    /monitoring\.rules\.labels must leave/,
  ],
  ['rules with a label that is none', alerts({ labels: { 'a b': 'c' } }), /monitoring\.rules\.labels must have names/],
  ['a card without a rate', alerts({ lineRate: 0 }), /monitoring\.rules\.lineRate must be from 0\.1 to 1000/],
  ['a runbook at no URL', alerts({ runbook: 'runbook.md' }), /monitoring\.rules\.runbook must be a URL/],
  ['a runbook that is a template', alerts({ runbook: 'https://a/{{query}}' }), /monitoring\.rules\.runbook/],
  ...(['labels', 'annotations'] as const).flatMap((field): Row[] => [
    [
      `inherited ${field} of the operator`,
      { inheritedMetadata: { [field]: { 'app.kubernetes.io/name': 'x' } } },
      new RegExp(`inheritedMetadata\\.${field} must leave`),
    ],
    [
      `inherited ${field} that are none`,
      { inheritedMetadata: { [field]: { '/': '' } } },
      new RegExp(`inheritedMetadata\\.${field} must have names`),
    ],
  ]),
  [
    'dashboards with labels of the operator',
    dashboards({ labels: { 'app.kubernetes.io/name': 'x' } }),
    /monitoring\.dashboards\.labels must leave/,
  ],
  [
    'dashboards with a label that is none',
    dashboards({ labels: { '/': '' } }),
    /monitoring\.dashboards\.labels must have names/,
  ],
  [
    'dashboards with annotations of the operator',
    dashboards({ annotations: { 'pushcluster.dev/a': '' } }),
    /monitoring\.dashboards\.annotations must leave/,
  ],
  [
    'dashboards with an annotation that is none',
    dashboards({ annotations: { '/': '' } }),
    /monitoring\.dashboards\.annotations must have names/,
  ],
  ['a sysctl that is unsafe', gateway({ sysctls: { 'net.core.somaxconn': '9' } }), /gateway\.sysctls may be net\.ipv4/],
  [
    "sysctls of the node's network",
    gateway({ hostNetwork: true, sysctls: { 'net.ipv4.tcp_wmem': '1 2 3' } }),
    /gateway\.sysctls must be empty with gateway\.hostNetwork/,
  ],
  [
    'a misspelt key of Kubernetes',
    gateway({ placement: { tolerations: [{ efect: 'NoSchedule' }] } }),
    /unknown field "spec\.gateway\.placement\.tolerations\[0\]\.efect"/,
  ],
  ['a misspelt key', gateway({ replica: 3 }), /unknown field "spec\.gateway\.replica"/],
  [
    'two API keys of one name',
    { logic: { apiKeys: [1, 2].map(() => ({ name: 'k', secretRef })) } },
    /logic\.apiKeys\[1\]: Duplicate value/,
  ],
  ['a pull secret twice', { imagePullSecrets: [secretRef, secretRef] }, /imagePullSecrets\[1\]: Duplicate value/],
  [
    'pods spread twice the same way',
    gateway({ placement: { topologySpreadConstraints: [1, 2].map((maxSkew) => ({ ...zones, maxSkew })) } }),
    /gateway\.placement\.topologySpreadConstraints\[1\]: Duplicate value/,
  ],
  ['an API key without a Secret', { logic: { apiKeys: [{ name: 'k' }] } }, /logic\.apiKeys\[0\]\.secretRef: Required/],
  ['an API key named like a path', { logic: { apiKeys: [{ name: '../k', secretRef }] } }, /logic\.apiKeys\[0\]\.name/],
  [
    'less logic at most than at least',
    { logic: { autoscaling: { minReplicas: 3, maxReplicas: 2 } } },
    /logic\.autoscaling\.minReplicas must not exceed maxReplicas/,
  ],
  ['rooms that match nothing', room({ match: '' }), /rooms\[0\]\.match/],
  ['a long window of a room', room({ batching: { maxDelay: '1m' } }), /rooms\[\]\.batching\.maxDelay must be from/],
  ['a long least wait of a room', room({ batching: { minDelay: '1m' } }), /rooms\[\]\.batching\.minDelay must be from/],
  ['large frames of a room', room({ batching: { maxBytes: '2Mi' } }), /rooms\[\]\.batching\.maxBytes must be from/],
  [
    'frames of a room that do not fit twice',
    {
      rooms: [{ match: 'a', batching: { maxBytes: '32KiB' } }],
      gateway: { slowConsumer: { maxBuffer: '63KiB' }, batching: { maxBytes: '1KiB' } },
    },
    /spec\.rooms\[\]\.batching\.maxBytes must be at most half of/,
  ],
  [
    'a history from which items are dropped',
    { ...room({ history: {}, overload: { maxRate: 1 } }), nats: url },
    /rooms\[\] must not have both overload and history/,
  ],
  ['a history of nothing', { ...room({ history: { messages: 0 } }), nats: url }, /rooms\[0\]\.history\.messages/],
  [
    'a history that ends before retries do',
    { ...room({ history: { maxAge: '119s' } }), nats: url },
    /rooms\[\]\.history\.maxAge must be from 2m to 720h/,
  ],
  [
    'two copies of a history',
    { ...room({ history: { replicas: 2 } }), nats: url },
    /history\.replicas.*supported values/,
  ],
  [
    'a history that is tried for long',
    { nats: url, history: { publishTimeout: '61s' } },
    /history\.publishTimeout must be from 100ms to 1m/,
  ],
  [
    'a history that nothing stores',
    room({ history: {} }),
    /spec\.rooms\[\]\.history requires spec\.nats\.managed\.jetstream, or spec\.nats\.url with JetStream/,
  ],
  [
    'a history on servers that store nothing',
    { ...room({ history: {} }), nats: { managed: { replicas: 3 } } },
    /spec\.rooms\[\]\.history requires spec\.nats\.managed\.jetstream, or spec\.nats\.url with JetStream/,
  ],
  [
    'three copies on one server',
    { ...room({ history: { replicas: 3 } }), nats: { managed: { jetstream: { storage: 'memory' } } } },
    /spec\.rooms\[\]\.history\.replicas 3 requires spec\.nats\.managed\.replicas of 3 or 5/,
  ],
  [
    'histories stored elsewhere than managed servers store',
    { history: { storage: 'memory' } },
    /spec\.history\.storage requires spec\.nats\.url/,
  ],
  ['a rate of nothing', room({ overload: { maxRate: 0 } }), /rooms\[0\]\.overload\.maxRate/],
  [
    'tokens that nothing checks',
    { auth: { jwt: {} } },
    /auth\.jwt needs exactly one of secretRef, jwksUrl and jwksFrom/,
  ],
  [
    'keys from two places',
    { auth: { jwt: { jwksFrom: { secretRef, configMapRef: secretRef } } } },
    /auth\.jwt\.jwksFrom needs exactly one of/,
  ],
  [
    'an authority from two places',
    { auth: { jwt: { jwksUrl: 'https://a/b', jwksCaFrom: {} } } },
    /auth\.jwt\.jwksCaFrom needs exactly one of/,
  ],
  [
    'an authority for nothing that is fetched',
    { auth: { jwt: { secretRef, jwksCaFrom: { secretRef } } } },
    /auth\.jwt\.jwksCaFrom requires jwksUrl/,
  ],
  ['large frames of clients', gateway({ inbound: { maxFrame: '65KiB' } }), /gateway\.inbound\.maxFrame must be from/],
  ['a short silence', gateway({ idleTimeout: '7s' }), /gateway\.idleTimeout must be from 8s to 16m/],
  ['a small body', { logic: { limits: { body: '1' } } }, /logic\.limits\.body must be from 1KiB to 64MiB/],
  ['a large item', { logic: { limits: { item: '2MiB' } } }, /logic\.limits\.item must be from 1B to 1MiB/],
  ['no time to publish', { logic: { publishTimeout: '0s' } }, /logic\.publishTimeout must be from 100ms to 30s/],
  ['no time to answer', { logic: { askTimeout: '0s' } }, /logic\.askTimeout must be from 50ms to 10s/],
  [
    'pages of a path that push',
    { logic: { allowedOrigins: ['https://example.com/app'] } },
    /logic\.allowedOrigins must be an origin such as https:\/\/example\.com/,
  ],
  [
    'pages of a WebSocket that push',
    { logic: { allowedOrigins: ['wss://example.com'] } },
    /logic\.allowedOrigins must be origins of web pages, which never begin with ws or wss/,
  ],
  [
    'a client certificate for managed servers',
    nats({ certificates: { logic: { secretName: 's' } } }),
    /nats\.certificates requires nats\.url/,
  ],
  [
    'tokens that two things check',
    { auth: { jwt: { secretRef, jwksUrl: 'https://a/b' } } },
    /auth\.jwt needs exactly one of secretRef, jwksUrl and jwksFrom/,
  ],
  ['a JWKS at no URL', { auth: { jwt: { jwksUrl: 'keys' } } }, /auth\.jwt\.jwksUrl must be a URL/],
  [
    'pages of a path',
    { auth: { allowedOrigins: ['https://*.example.com', 'https://example.com/app'] } },
    /auth\.allowedOrigins must be an origin such as https:\/\/example\.com/,
  ],
  [
    'pages of a WebSocket',
    { auth: { allowedOrigins: ['wss://example.com'] } },
    /auth\.allowedOrigins must be origins of web pages, which never begin with ws or wss/,
  ],
  ['nobody at all', { auth: { anonymous: false } }, /auth\.anonymous is false but auth\.jwt is not set/],
  ['an even number of servers', nats({ managed: { replicas: 2 } }), /nats\.managed\.replicas.*supported values/],
  [
    'volumes, which nothing uses',
    nats({ managed: { storage: { size: '1Gi' } } }),
    /unknown field "spec\.nats\.managed\.storage"/,
  ],
  [
    'a toleration that is misspelt, of NATS servers',
    nats({ managed: { placement: { tolerations: [{ efect: 'NoSchedule' }] } } }),
    /unknown field "spec\.nats\.managed\.placement\.tolerations\[0\]\.efect"/,
  ],
  ['JetStream that stores nowhere', jetstream({}), /nats\.managed\.jetstream\.storage.*Required/],
  [
    'hardly any storage',
    jetstream({ storage: 'file', size: '15MiB' }),
    /nats\.managed\.jetstream\.size must be from 16MiB to 16384GiB/,
  ],
  [
    'a class of memory',
    jetstream({ storage: 'memory', storageClassName: 'fast' }),
    /nats\.managed\.jetstream\.storageClassName requires storage file/,
  ],
  ...([{}, { size: '32Mi' }] as const).map(
    (size): Row => [
      `more in memory than there is: ${JSON.stringify(size)}`,
      nats({ managed: { jetstream: { storage: 'memory', ...size }, resources: { limits: { memory: '127Mi' } } } }),
      /nats\.managed\.resources\.limits\.memory must be at least four times nats\.managed\.jetstream\.size/,
    ],
  ),
  [
    'more in memory than there is, in bytes',
    nats({
      managed: { jetstream: { storage: 'memory' }, resources: { limits: { memory: 4 * 32 * 1_048_576 - 1 } } },
    }),
    /nats\.managed\.resources\.limits\.memory must be at least four times nats\.managed\.jetstream\.size/,
  ],
  ['NATS of both kinds', nats({ ...url, managed: {} }), /nats must not have both url and managed/],
  ['a shared NATS without a prefix', nats({ url: 'nats://n' }), /nats\.prefix is required with nats\.url/],
  ['a prefix that is no subject', nats({ prefix: 'a.*' }), /nats\.prefix/],
  ['NATS at a web address', nats({ ...url, url: 'http://n' }), /nats\.url/],
  ['a password in an address', nats({ ...url, url: 'nats://u:p@n' }), /nats\.url/],
  [
    'credentials for managed servers',
    nats({ credentials: { logic: { secretRef } } }),
    /nats\.credentials requires nats\.url/,
  ],
  ['an authority for managed servers', nats({ caSecretRef: secretRef }), /nats\.caSecretRef requires nats\.url/],
  ...['gateway', 'logic'].map((role): (typeof SPECS)[number] => [
    `a password of nobody (${role})`,
    nats({ ...url, credentials: { [role]: { type: 'password', secretRef } } }),
    new RegExp(`nats\\.credentials\\.${role}\\.user is required with type password`),
  ]),
];

/** For each role, what a pod template must leave to the operator. */
function templates(): [what: string, spec: object, says: RegExp][] {
  return TEMPLATES.flatMap((of) => {
    const { field, container, env, folders, volumes } = of;
    const says = (text: string) => new RegExp(`${field}.${text}`.replace(/[.[\]]/g, '\\$&'));
    const refused = (what: string, template: object, text: string): [string, object, RegExp] => [
      `${what} in ${field}`,
      field.split('.').reduceRight((below: object, key) => ({ [key]: below }), template),
      says(text),
    ];
    const pod = (spec: object, text: string) => refused(Object.keys(spec)[0] ?? '', { spec }, text);
    const own = (given: object, name = container) => ({ spec: { containers: [{ name, ...given }] } });
    const process = { image: 'a', command: ['a'], args: ['a'], workingDir: '/', restartPolicy: 'Never', lifecycle: {} };
    const others = { ports: [{ containerPort: 1 }], livenessProbe: {}, readinessProbe: {}, startupProbe: {} };
    return [
      pod({ restartPolicy: 'Never' }, 'spec.restartPolicy must be left'),
      pod({ terminationGracePeriodSeconds: 1 }, 'spec.terminationGracePeriodSeconds must be left'),
      pod({ hostNetwork: true }, 'spec.hostNetwork must be left'),
      pod({ serviceAccount: 'mine' }, 'spec.serviceAccount is deprecated'),
      ...(container === 'nats' ? ['shareProcessNamespace', 'hostPID'] : []).map((own) =>
        pod({ [own]: true }, `spec.${own} must not be true`),
      ),
      ...volumes.map((name) => pod({ volumes: [{ name, emptyDir: {} }] }, 'spec.volumes must leave the names')),
      ...Object.entries({ ...process, ...others }).map(([key, value]) =>
        refused(key, own({ [key]: value }), `spec.containers: ${key} of the container ${container} must be left`),
      ),
      ...env.map((name) =>
        refused(
          `env ${name}`,
          own({ env: [{ name }] }),
          `spec.containers: env of the container ${container} must leave`,
        ),
      ),
      ...folders.flatMap((folder) =>
        [folder, `${folder}/settings`].map((mountPath) =>
          refused(
            `a mount at ${mountPath}`,
            own({ volumeMounts: [{ name: 'a', mountPath }] }),
            `spec.containers: volumeMounts of the container ${container} must leave`,
          ),
        ),
      ),
      refused(
        'a label of the operator',
        { metadata: { labels: { 'pushcluster.dev/serving': 'true' } } },
        'metadata.labels must leave app.kubernetes.io/',
      ),
      refused('a label that is none', { metadata: { labels: { 'a b': '' } } }, 'metadata.labels must have names'),
      refused(
        'an annotation of the operator',
        { metadata: { annotations: { 'pushcluster.dev/drain': '' } } },
        'metadata.annotations must leave pushcluster.dev/',
      ),
      refused(
        'an annotation that is none',
        { metadata: { annotations: { '/': '' } } },
        'metadata.annotations must have',
      ),
      refused('a container twice', { spec: { containers: [{ name: 'a' }, { name: 'a' }] } }, 'spec.containers[1]'),
    ];
  });
}

const NAMES: readonly [what: string, name: string, says: RegExp][] = [
  ['a name that is too long for what is made of it', 'a'.repeat(37), /metadata\.name must have at most 36 characters/],
  ['a name with a dot', 'a.b', /metadata\.name must not contain a dot/],
  ['a name that begins with a digit', '1a', /metadata\.name must begin with a letter/],
];
