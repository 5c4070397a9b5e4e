import type { V1Deployment } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { Context, DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { gatewayMounts } from './mounts.ts';
import {
  ADMIN_PORT,
  GATEWAY_PORT,
  names,
  SERVING_LABEL,
  SETTINGS_FILE,
  STATIC_SETTINGS_ANNOTATION,
  selectorLabels,
} from './names.ts';
import { podTemplate, probes } from './pods.ts';
import { staticSettingsHash } from './staticSettingsHash.ts';
import { shutdownTime } from './validSettings.ts';

/** Seconds that a gateway has beyond its drain: to say its last word and to end. */
const GRACE_MARGIN = 10;
/** How many gateways a rollout has beyond those wanted, percent of these. Rounded up. */
export const SURGE_PERCENT = 25;
/**
 * Seconds that a new gateway is ready before an old one is told to end for it, unless the operator says that it may be
 * earlier: it takes the old ones out of the Service before. More than it waits for others that come (10) and another operator takes over (20).
 */
export const HOLD_SECONDS = 40;

/**
 * The Deployment of the gateways.
 * @throws InvalidSettings
 */
export function gatewayDeployment(cluster: PushCluster, context: Context): V1Deployment & DesiredObject {
  const { gateway, image } = cluster.spec;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadataOf(cluster, names(cluster).gateway, 'gateway'),
    spec: {
      replicas: context.gatewayReplicas,
      selector: { matchLabels: selectorLabels(cluster, 'gateway') },
      // Never less capacity than before: an old gateway goes once a new one is ready.
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: `${SURGE_PERCENT}%`, maxUnavailable: 0 } },
      minReadySeconds: context.releasesOld ? 0 : HOLD_SECONDS,
      revisionHistoryLimit: 3,
      template: podTemplate(cluster, {
        role: 'gateway',
        container: {
          image: image.gateway ?? context.images.gateway,
          imagePullPolicy: image.pullPolicy,
          args: ['--config', SETTINGS_FILE],
          // Gateways of different templates are in a rollout: none moves connections to even out the load meanwhile.
          env: [
            { name: 'POD_TEMPLATE', valueFrom: { fieldRef: { fieldPath: "metadata.labels['pod-template-hash']" } } },
          ],
          ports: [port('websocket', GATEWAY_PORT), port('admin', ADMIN_PORT)],
          ...probes(ADMIN_PORT, '/healthz', '/readyz'),
        },
        mounts: gatewayMounts(cluster),
        placement: gateway.placement,
        resources: gateway.resources,
        serviceAccount: names(cluster).gateway,
        gracePeriod: Math.ceil(shutdownTime(cluster, 'gateway') / 1_000) + GRACE_MARGIN,
        labels: { ...gateway.podTemplate.labels, [SERVING_LABEL]: 'true' },
        annotations: {
          ...gateway.podTemplate.annotations,
          [STATIC_SETTINGS_ANNOTATION]: staticSettingsHash(cluster, 'gateway'),
        },
        hostNetwork: gateway.hostNetwork,
        sysctls: gateway.sysctls,
      }),
    },
  };
}

function port(name: string, containerPort: number) {
  return { name, containerPort, protocol: 'TCP' };
}
