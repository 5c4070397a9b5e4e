import type { V1Service, V1ServiceSpec } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import {
  ADMIN_PORT,
  NATS_PORT,
  NATS_ROUTES_PORT,
  names,
  type Role,
  SERVING_LABEL,
  scrapedLabels,
  selectorLabels,
} from './names.ts';

type Service = V1Service & DesiredObject;

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
  const { type, port, annotations, externalTrafficPolicy, tls } = cluster.spec.gateway.service;
  return service(cluster, names(cluster).gateway, 'gateway', annotations, {
    type,
    // The API server rejects it for ClusterIP.
    ...(type === 'ClusterIP' ? {} : { externalTrafficPolicy }),
    selector: { ...selectorLabels(cluster, 'gateway'), [SERVING_LABEL]: 'true' },
    ports: [
      { ...servicePort('websocket', port, 'websocket'), appProtocol: tls ? 'kubernetes.io/wss' : 'kubernetes.io/ws' },
    ],
  });
}

/** Service for publishers. */
function logicService(cluster: PushCluster): Service {
  const { type, port, annotations } = cluster.spec.logic.service;
  return service(cluster, names(cluster).logic, 'logic', annotations, {
    type,
    selector: selectorLabels(cluster, 'logic'),
    ports: [{ ...servicePort('http', port, 'http'), appProtocol: 'http' }],
  });
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
      ports: [servicePort('admin', ADMIN_PORT, 'admin')],
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
      ports: [servicePort('client', NATS_PORT, 'client')],
    },
  );
}

/** Headless Service through which NATS servers find each other, even before they are ready. */
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
      ports: [servicePort('routes', NATS_ROUTES_PORT, 'routes')],
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

function servicePort(name: string, port: number, targetPort: string) {
  return { name, port, targetPort, protocol: 'TCP' };
}
