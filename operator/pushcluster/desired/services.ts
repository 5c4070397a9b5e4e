import type { V1Service, V1ServiceSpec } from '@kubernetes/client-node';
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
  const { type, port, nodePort, annotations, labels, externalTrafficPolicy } = cluster.spec.gateway.service;
  const made = service(cluster, names(cluster).gateway, 'gateway', annotations, {
    type,
    // The API server rejects it for ClusterIP.
    ...(type === 'ClusterIP' ? {} : { externalTrafficPolicy }),
    ...chosen(cluster.spec.gateway.service),
    selector: { ...selectorLabels(cluster, 'gateway'), [SERVING_LABEL]: 'true' },
    ports: [
      {
        ...servicePort('websocket', port, 'websocket', webSocketProtocol(cluster)),
        ...(nodePort === undefined ? {} : { nodePort }),
      },
    ],
  });
  return { ...made, metadata: { ...made.metadata, labels: { ...labels, ...made.metadata.labels } } };
}

/** The protocol of the gateways' port, as Kubernetes names it. */
export function webSocketProtocol({ spec }: PushCluster): string {
  return spec.gateway.service.tls ? 'kubernetes.io/wss' : 'kubernetes.io/ws';
}

/**
 * Fields of the gateway Service for which the API server, or nobody, chooses a value unless the cluster does: applied only
 * if they are set.
 */
function chosen(wanted: PushCluster['spec']['gateway']['service']): V1ServiceSpec {
  const { loadBalancerClass, loadBalancerSourceRanges, externalIPs, ipFamilies, ipFamilyPolicy } = wanted;
  const { sessionAffinity, internalTrafficPolicy } = wanted;
  return {
    ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
    ...(loadBalancerSourceRanges === undefined ? {} : { loadBalancerSourceRanges }),
    ...(externalIPs === undefined ? {} : { externalIPs }),
    ...(ipFamilies === undefined ? {} : { ipFamilies }),
    ...(ipFamilyPolicy === undefined ? {} : { ipFamilyPolicy }),
    ...(internalTrafficPolicy === undefined ? {} : { internalTrafficPolicy }),
    ...(sessionAffinity === undefined ? {} : { sessionAffinity }),
    // Owned together with `ClientIP`: the API server would not remove its own default with it, and refuse the result.
    ...(sessionAffinity === 'ClientIP'
      ? { sessionAffinityConfig: { clientIP: { timeoutSeconds: AFFINITY_SECONDS } } }
      : {}),
  };
}

/** Service for publishers. */
function logicService(cluster: PushCluster): Service {
  const { type, port, annotations } = cluster.spec.logic.service;
  const scheme = pushScheme(cluster);
  return service(cluster, names(cluster).logic, 'logic', annotations, {
    type,
    selector: selectorLabels(cluster, 'logic'),
    ports: [servicePort(scheme, port, 'http', scheme)],
  });
}

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
  annotations: Record<string, string>,
  spec: V1ServiceSpec,
): Service {
  return { apiVersion: 'v1', kind: 'Service', metadata: metadataOf(cluster, name, role, annotations), spec };
}

/**
 * @param appProtocol what a service mesh or Gateway takes the connections for. Without it, they wait for the first bytes of
 * the client, and those of NATS wait for the server's.
 */
function servicePort(name: string, port: number, targetPort: string, appProtocol: string) {
  return { name, port, targetPort, protocol: 'TCP', appProtocol };
}
