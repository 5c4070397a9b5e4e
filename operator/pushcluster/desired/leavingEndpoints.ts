import type { V1Endpoint, V1EndpointSlice } from '@kubernetes/client-node';
import { z } from 'zod';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { LeavingGateway } from '../gatewayPod.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { GATEWAY_PORT, names } from './names.ts';
import { webSocketProtocol } from './services.ts';

/** Label of an EndpointSlice: the endpoint slice controller leaves slices of others alone. */
export const SLICE_MANAGER_LABEL = 'endpointslice.kubernetes.io/managed-by';
export const SLICE_MANAGER = 'pushcluster.dev';
const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

type EndpointSlice = V1EndpointSlice & DesiredObject;

/**
 * Endpoints of gateways that have left the Service, for a load balancer that checks the health of nodes. Under the policy
 * Local, a node without an endpoint drops new connections, while the load balancer sends them there until it has noticed.
 * These endpoints are told as terminating, as those of pods that shut down: kube-proxy uses them only on a node that has
 * no other, and its health check reports the node as unhealthy.
 */
export function leavingEndpoints(cluster: PushCluster, gateways: readonly LeavingGateway[]): EndpointSlice[] {
  if (!checksNodes(cluster)) return [];
  return (['IPv4', 'IPv6'] as const).flatMap((addressType) => {
    const endpoints = gateways
      .flatMap(({ name, uid, node, addresses }) => {
        const address = addresses.find((each) => each.includes(':') === (addressType === 'IPv6'));
        return address === undefined ? [] : [endpoint(cluster, { name, uid, node, address })];
      })
      .sort((a, b) => (a.targetRef.name < b.targetRef.name ? -1 : 1));
    return endpoints.length === 0 ? [] : [slice(cluster, addressType, endpoints)];
  });
}

/** What an EndpointSlice is looked at for. */
const Slice = z.object({
  endpoints: z
    .array(
      z.looseObject({
        targetRef: z.looseObject({ name: z.string().optional(), uid: z.string().optional() }).optional(),
      }),
    )
    .nullish(),
});

/**
 * The endpoints of a slice without those of gateways that are no longer used; undefined if that changes nothing.
 * @param gateways those that are still used
 */
export function remainingEndpoints(slice: object, gateways: readonly LeavingGateway[]) {
  const { endpoints } = Slice.parse(slice);
  const all = endpoints ?? [];
  const remaining = all.filter(({ targetRef }) => gateways.some(({ uid }) => uid === targetRef?.uid));
  return all.length > 0 && remaining.length === all.length ? undefined : remaining;
}

/** Whether a load balancer learns from a node's health check which nodes have gateways. */
export function checksNodes({ spec }: PushCluster): boolean {
  const { type, externalTrafficPolicy } = spec.gateway.service;
  return type === 'LoadBalancer' && externalTrafficPolicy === 'Local';
}

function slice(cluster: PushCluster, addressType: 'IPv4' | 'IPv6', endpoints: V1Endpoint[]): EndpointSlice {
  const { gateway } = names(cluster);
  const metadata = metadataOf(cluster, `${gateway}-leaving-${addressType.toLowerCase()}`, 'gateway');
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      ...metadata,
      labels: { ...metadata.labels, [SERVICE_NAME_LABEL]: gateway, [SLICE_MANAGER_LABEL]: SLICE_MANAGER },
    },
    addressType,
    endpoints,
    // Name and protocol are those of the Service's port.
    ports: [{ name: 'websocket', port: GATEWAY_PORT, protocol: 'TCP', appProtocol: webSocketProtocol(cluster) }],
  };
}

function endpoint(
  { metadata: { namespace } }: PushCluster,
  { name, uid, node, address }: { name: string; uid: string; node: string; address: string },
) {
  return {
    addresses: [address],
    conditions: { ready: false, serving: true, terminating: true },
    nodeName: node,
    targetRef: { kind: 'Pod', name, namespace, uid },
  };
}
