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

/** Services of a cluster: for clients, for backends, for Prometheus, and those of managed NATS. */
export function services(cluster: PushCluster): Service[] {
  return [
    gatewayService(cluster),
    logicService(cluster),
    metricsService(cluster),
    ...(managedNats(cluster) ? [natsService(cluster), natsPeersService(cluster)] : []),
  ];
}

/** Where clients connect: gateways that serve. A drain takes the label off a pod, and nothing new comes to it. */
function gatewayService(cluster: PushCluster): Service {
  const { type, port, annotations, externalTrafficPolicy, tls } = cluster.spec.gateway.service;
  return service(cluster, names(cluster).gateway, 'gateway', annotations, {
    type,
    // The API server refuses it where nothing comes from outside.
    ...(type === 'ClusterIP' ? {} : { externalTrafficPolicy }),
    selector: { ...selectorLabels(cluster, 'gateway'), [SERVING_LABEL]: 'true' },
    ports: [
      { ...servicePort('websocket', port, 'websocket'), appProtocol: tls ? 'kubernetes.io/wss' : 'kubernetes.io/ws' },
    ],
  });
}

/** Where backends push. */
function logicService(cluster: PushCluster): Service {
  const { type, port, annotations } = cluster.spec.logic.service;
  return service(cluster, names(cluster).logic, 'logic', annotations, {
    type,
    selector: selectorLabels(cluster, 'logic'),
    ports: [{ ...servicePort('http', port, 'http'), appProtocol: 'http' }],
  });
}

/** Every gateway and logic pod, those that drain or are not ready too: for Prometheus, which wants to see just them. */
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

/** Where pods find a server of NATS that is ready: by an address that outlives servers, and that no DNS cache outdates. */
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

/** Where servers of NATS find each other, before they are ready. */
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
