import type { V1Service, V1ServicePort, V1ServiceSpec } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import {
  ADMIN_PORT,
  NATS_EXPORTER,
  NATS_EXPORTER_PORT,
  NATS_PORT,
  NATS_ROUTES_PORT,
  names,
  type Role,
  SERVING_LABEL,
  scrapedLabels,
  selectorLabels,
} from './names.ts';

type Service = V1Service & DesiredObject;

/** Kubernetes' default. */
const AFFINITY_SECONDS = 10_800;

/** Services of a cluster: for clients, publishers, Prometheus, and managed NATS. */
export function services(cluster: PushCluster): Service[] {
  return [
    gatewayService(cluster),
    logicService(cluster),
    metricsService(cluster),
    ...(managedNats(cluster) ? [natsService(cluster), natsPeersService(cluster)] : []),
  ];
}

/** Service for clients. It selects serving gateways: draining removes the label, so that no new connections arrive. */
function gatewayService(cluster: PushCluster): Service {
  const { port, sessionAffinity, healthCheckNodePort } = cluster.spec.gateway.service;
  return reachedService(cluster, 'gateway', servicePort('websocket', port, 'websocket', webSocketProtocol(cluster)), {
    selector: { ...selectorLabels(cluster, 'gateway'), [SERVING_LABEL]: 'true' },
    ...(healthCheckNodePort === undefined ? {} : { healthCheckNodePort }),
    ...(sessionAffinity === undefined ? {} : { sessionAffinity }),
    // Owned together with `ClientIP`: the API server would not remove its own default with it, and refuse the result.
    ...(sessionAffinity === 'ClientIP'
      ? { sessionAffinityConfig: { clientIP: { timeoutSeconds: AFFINITY_SECONDS } } }
      : {}),
  });
}

/** The protocol of the gateways' port, as Kubernetes names it. */
export function webSocketProtocol({ spec }: PushCluster): string {
  return spec.gateway.service.tls ? 'kubernetes.io/wss' : 'kubernetes.io/ws';
}

/** Service for publishers. */
function logicService(cluster: PushCluster): Service {
  const scheme = pushScheme(cluster);
  return reachedService(cluster, 'logic', servicePort(scheme, cluster.spec.logic.service.port, 'http', scheme), {
    selector: selectorLabels(cluster, 'logic'),
  });
}

/**
 * A Service that the cluster describes: `gateway.service` or `logic.service`. Fields for which the API server, or nobody,
 * chooses a value are applied only if they are set.
 */
function reachedService(
  cluster: PushCluster,
  role: 'gateway' | 'logic',
  port: V1ServicePort,
  spec: V1ServiceSpec,
): Service {
  const wanted = cluster.spec[role].service;
  const { type, nodePort, annotations, labels, externalTrafficPolicy } = wanted;
  return service(
    cluster,
    names(cluster)[role],
    role,
    { labels, annotations },
    {
      type,
      // The API server rejects it for ClusterIP.
      ...(type === 'ClusterIP' || externalTrafficPolicy === undefined ? {} : { externalTrafficPolicy }),
      ...Object.fromEntries(CHOSEN.flatMap((field) => (wanted[field] === undefined ? [] : [[field, wanted[field]]]))),
      ...spec,
      ports: [{ ...port, ...(nodePort === undefined ? {} : { nodePort }) }],
    },
  );
}

/** Fields that are the same in a Service of Kubernetes. */
const CHOSEN = [
  'loadBalancerClass',
  'loadBalancerIP',
  'loadBalancerSourceRanges',
  'allocateLoadBalancerNodePorts',
  'externalIPs',
  'ipFamilies',
  'ipFamilyPolicy',
  'internalTrafficPolicy',
  'trafficDistribution',
] as const satisfies (keyof V1ServiceSpec)[];

/** What the push API speaks. */
export function pushScheme({ spec }: PushCluster): 'http' | 'https' {
  return spec.logic.service.tls ? 'https' : 'http';
}

/** Headless Service for Prometheus: all gateway and logic pods, including draining and unready ones. */
function metricsService(cluster: PushCluster): Service {
  return service(
    cluster,
    names(cluster).metrics,
    'metrics',
    {},
    {
      type: 'ClusterIP',
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: scrapedLabels(cluster),
      ports: [servicePort('admin', ADMIN_PORT, 'admin', 'http')],
    },
  );
}

/** Service of the ready NATS servers. Its address does not change, so that cached DNS records stay valid. */
function natsService(cluster: PushCluster): Service {
  return service(
    cluster,
    names(cluster).nats,
    'nats',
    {},
    {
      type: 'ClusterIP',
      selector: selectorLabels(cluster, 'nats'),
      ports: [servicePort('client', NATS_PORT, 'client', 'tcp')],
    },
  );
}

/** Headless Service through which NATS servers find each other, and Prometheus their exporters, even before they are ready. */
function natsPeersService(cluster: PushCluster): Service {
  return service(
    cluster,
    names(cluster).natsPeers,
    'nats',
    {},
    {
      type: 'ClusterIP',
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: selectorLabels(cluster, 'nats'),
      ports: [
        servicePort('routes', NATS_ROUTES_PORT, 'routes', 'tcp'),
        ...(managedNats(cluster)?.exporter?.enabled
          ? [servicePort(NATS_EXPORTER, NATS_EXPORTER_PORT, NATS_EXPORTER, 'http')]
          : []),
      ],
    },
  );
}

function service(
  cluster: PushCluster,
  name: string,
  role: Role | 'metrics',
  own: Parameters<typeof metadataOf>[3],
  spec: V1ServiceSpec,
): Service {
  return { apiVersion: 'v1', kind: 'Service', metadata: metadataOf(cluster, name, role, own), spec };
}

/**
 * @param appProtocol what a service mesh or Gateway takes the connections for. Without it, they wait for the first bytes of
 * the client, and those of NATS wait for the server's.
 */
function servicePort(name: string, port: number, targetPort: string, appProtocol: string) {
  return { name, port, targetPort, protocol: 'TCP', appProtocol };
}
