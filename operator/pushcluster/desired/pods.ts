import type { V1Container, V1PodSpec, V1PodTemplateSpec, V1Volume } from '@kubernetes/client-node';
import type { PushCluster, Spec } from '../../api/pushCluster.ts';
import type { PodDefaults } from './context.ts';
import { mergePodTemplate } from './mergePodTemplate.ts';
import type { Mounts } from './mounts.ts';
import { labels, type Role, selectorLabels } from './names.ts';

/** User and group of all processes, as in the images. The image of NATS names no user. */
const USER = 65_532;

/** What pods have if the operator is not told otherwise. */
export const POD_DEFAULTS: PodDefaults = {
  securityContext: { runAsUser: USER, runAsGroup: USER, fsGroup: USER, fsGroupChangePolicy: 'OnRootMismatch' },
  imagePullSecrets: [],
};

export type PodOptions = {
  role: Role;
  container: Pick<V1Container, 'image' | 'imagePullPolicy' | 'args' | 'env' | 'ports' | 'lifecycle'> & Probes;
  mounts: Mounts;
  placement: Spec['gateway']['placement'];
  resources: Spec['gateway']['resources'];
  serviceAccount: string;
  /** Seconds from SIGTERM to SIGKILL. */
  gracePeriod: number;
  labels?: Record<string, string>;
  annotations: Record<string, string>;
  hostNetwork?: boolean;
  sysctls?: Record<string, string>;
  /** What the PushCluster has the pods be in addition. Takes precedence over all of the above that it may set. */
  template: PodTemplate;
  /** Further containers of the operator. */
  sidecars?: readonly Sidecar[];
};

export type Sidecar = Pick<V1Container, 'name' | 'image' | 'imagePullPolicy' | 'args' | 'env' | 'ports'> & {
  resources: PodOptions['resources'];
};

/** Metadata and spec of `podTemplate` of a role. The API server validates it together with the rest. */
export type PodTemplate = Spec['logic']['podTemplate'];

type Probes = Required<Pick<V1Container, 'startupProbe' | 'readinessProbe' | 'livenessProbe'>>;

/**
 * A pod template that meets the Pod Security Standard `restricted` unless the PushCluster has it otherwise, with a
 * read-only root and no API server token.
 */
export function podTemplate(cluster: PushCluster, defaults: PodDefaults, options: PodOptions): V1PodTemplateSpec {
  const { metadata, spec } = options.template;
  const made = madeTemplate(cluster, defaults, options);
  return withReadableFiles(mergePodTemplate(made, { metadata, spec }), options.mounts);
}

function madeTemplate(cluster: PushCluster, defaults: PodDefaults, options: PodOptions) {
  const { role, container, mounts, placement, resources, hostNetwork = false, sidecars = [] } = options;
  const sysctls = Object.entries(options.sysctls ?? {}).map(([name, value]) => ({ name, value }));
  const imagePullSecrets = pullSecrets(cluster, defaults);
  return {
    metadata: { labels: { ...options.labels, ...labels(cluster, role) }, annotations: options.annotations },
    spec: {
      serviceAccountName: options.serviceAccount,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: options.gracePeriod,
      securityContext: {
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
        ...defaults.securityContext,
        ...(sysctls.length > 0 ? { sysctls } : {}),
      },
      ...(hostNetwork ? { hostNetwork, dnsPolicy: 'ClusterFirstWithHostNet' } : {}),
      ...(imagePullSecrets.length > 0 ? { imagePullSecrets } : {}),
      ...placementOf(cluster, role, placement),
      containers: [
        {
          name: role,
          ...container,
          ...restricted(resources),
          volumeMounts: mounts.volumeMounts,
        },
        ...sidecars.map((sidecar) => ({ ...sidecar, ...restricted(sidecar.resources) })),
      ],
      volumes: mounts.volumes,
    },
  } satisfies V1PodTemplateSpec;
}

/** What all containers of the operator have. */
function restricted(resources: PodOptions['resources']) {
  return {
    resources: resourcesOf(resources),
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    terminationMessagePolicy: 'FallbackToLogsOnError',
  } satisfies Partial<V1Container>;
}

/** Without fsGroup, files of a volume belong to the group of root, and all users of the pod have to be able to read them. */
function withReadableFiles(template: V1PodTemplateSpec, { volumes: own }: Mounts): V1PodTemplateSpec {
  const { spec } = template;
  if (spec === undefined || spec.securityContext?.fsGroup !== undefined) return template;
  const isOwn = (volume: V1Volume) => own.some(({ name }) => name === volume.name);
  const volumes = (spec.volumes ?? []).map((volume) => (isOwn(volume) ? readable(volume) : volume));
  return { ...template, spec: { ...spec, volumes } };
}

/** Those of the PushCluster, then those of the operator that it does not name. */
function pullSecrets({ spec }: PushCluster, defaults: PodDefaults) {
  const own = new Set(spec.imagePullSecrets.map(({ name }) => name));
  return [...spec.imagePullSecrets, ...defaults.imagePullSecrets.filter(({ name }) => !own.has(name ?? ''))];
}

function readable(volume: V1Volume): V1Volume {
  const { secret, projected } = volume;
  return {
    ...volume,
    ...(secret ? { secret: { ...secret, defaultMode: 0o444 } } : {}),
    ...(projected ? { projected: { ...projected, defaultMode: 0o444 } } : {}),
  };
}

/**
 * HTTP probes. A starting pod is probed every second, so that it becomes ready soon. It is restarted only after one
 * minute of failures, so that it can recover by itself.
 */
export function probes(port: number, live: string, ready: string): Probes {
  const get = (path: string) => ({ httpGet: { path, port }, timeoutSeconds: 2 });
  return {
    startupProbe: { ...get(live), periodSeconds: 1, failureThreshold: 120 },
    readinessProbe: { ...get(ready), periodSeconds: 2, failureThreshold: 3 },
    livenessProbe: { ...get(live), periodSeconds: 10, failureThreshold: 6 },
  };
}

export function containerPort(name: string, port: number) {
  return { name, containerPort: port, protocol: 'TCP' };
}

function placementOf(cluster: PushCluster, role: Role, placement: PodOptions['placement']) {
  const { nodeSelector, tolerations, affinity, topologySpreadConstraints, priorityClassName } = placement;
  const labelSelector = { matchLabels: selectorLabels(cluster, role) };
  return {
    // A Kubernetes cluster may have Windows nodes, too.
    nodeSelector: { 'kubernetes.io/os': 'linux', ...nodeSelector },
    ...(tolerations && tolerations.length > 0 ? { tolerations } : {}),
    ...(priorityClassName === undefined ? {} : { priorityClassName }),
    ...(topologySpreadConstraints
      ? { topologySpreadConstraints: topologySpreadConstraints.map((each) => ({ labelSelector, ...each })) }
      : spread(cluster, role)),
    ...(affinity ? { affinity } : {}),
  };
}

/**
 * Spreads pods over nodes, and over zones if nodes have them. Zones are not a second topology spread constraint: the
 * scheduler scores only nodes that have the labels of all constraints, and without zones would use a single node.
 */
function spread(cluster: PushCluster, role: Role): Required<Pick<V1PodSpec, 'topologySpreadConstraints' | 'affinity'>> {
  // Only pods of the same template count, so that old pods do not matter in a rollout. NATS servers are restarted one
  // by one, so that all of them count.
  const among = role === 'nats' ? {} : { matchLabelKeys: ['pod-template-hash'] };
  const others = { labelSelector: { matchLabels: selectorLabels(cluster, role) }, ...among };
  return {
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway', ...others },
    ],
    affinity: {
      podAntiAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 100, podAffinityTerm: { topologyKey: 'topology.kubernetes.io/zone', ...others } },
        ],
      },
    },
  };
}

/** The resources of the container of a role: those of the PushCluster, with those of its pod template over them. */
export function containerResources(
  role: Role,
  { resources, podTemplate }: { resources: PodOptions['resources']; podTemplate: PodTemplate },
): PodOptions['resources'] {
  const own = podTemplate.spec.containers?.find(({ name }) => name === role);
  return mergePodTemplate(resources, own?.resources);
}

/** Quantities as strings, as the API server stores them: 2 becomes "2". */
function resourcesOf({ requests, limits }: PodOptions['resources']) {
  const text = (amounts: Record<string, number | string>) =>
    Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, String(amount)]));
  return { ...(requests ? { requests: text(requests) } : {}), ...(limits ? { limits: text(limits) } : {}) };
}
