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
import { natsTlsAnnotation } from './natsTls.ts';
import { containerPort, podTemplate, probes } from './pods.ts';
import { staticSettingsHash } from './staticSettingsHash.ts';
import { shutdownTime } from './validSettings.ts';

/** Seconds of the grace period in addition to the drain: to close the last connections and to exit. */
const GRACE_MARGIN = 10;
/** maxSurge of a rollout: percentage of the desired gateways, rounded up. */
export const SURGE_PERCENT = 25;
/**
 * Seconds that a new gateway is ready before an old one is terminated. Meanwhile, the operator removes old gateways
 * from the Service, and then allows termination earlier (`releasesOld`). More than it waits for other new gateways (10
 * s) plus the time that another operator process needs to take over (20 s).
 */
export const HOLD_SECONDS = 40;

/**
 * Seconds that a new gateway is ready before an old one is terminated, once that is allowed and the number of those that
 * are terminating is limited. In this time, the operator holds the next old gateways, also if another operator process
 * has to take over (20 s): new ones are ready sooner than the last ones that terminate are gone.
 */
export const RELEASE_SECONDS = 20;
/** Seconds without progress after which Kubernetes gives up a rollout, by default. */
const PROGRESS_SECONDS = 600;

/** How many gateways a rollout adds at a time, and then terminates at a time. */
export function surgeOf(replicas: number, maxTerminating = Number.POSITIVE_INFINITY): number {
  return Math.max(1, Math.min(Math.ceil((replicas * SURGE_PERCENT) / 100), maxTerminating));
}

/**
 * The Deployment of the gateways.
 * @throws InvalidSettings
 */
export function gatewayDeployment(cluster: PushCluster, context: Context): V1Deployment & DesiredObject {
  const { gateway, image } = cluster.spec;
  const gracePeriod = Math.ceil(shutdownTime(cluster, 'gateway') / 1_000) + GRACE_MARGIN;
  // Old gateways are held for as long as others may take to terminate, also if no operator runs meanwhile.
  const holdSeconds = HOLD_SECONDS + (context.holdsOld ? gracePeriod : 0);
  const { maxTerminating } = gateway.rollout;
  const releaseSeconds = maxTerminating === undefined ? 0 : RELEASE_SECONDS;
  const maxSurge =
    maxTerminating === undefined ? `${SURGE_PERCENT}%` : surgeOf(context.gatewayReplicas, maxTerminating);
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadataOf(cluster, names(cluster).gateway, 'gateway', { annotations: natsTlsAnnotation(cluster) }),
    spec: {
      replicas: context.gatewayReplicas,
      selector: { matchLabels: selectorLabels(cluster, 'gateway') },
      // Capacity never decreases: an old gateway is terminated once a new one is ready.
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge, maxUnavailable: 0 } },
      minReadySeconds: context.releasesOld ? releaseSeconds : holdSeconds,
      ...(maxTerminating === undefined
        ? {}
        : { progressDeadlineSeconds: PROGRESS_SECONDS + HOLD_SECONDS + gracePeriod }),
      revisionHistoryLimit: 3,
      template: podTemplate(cluster, context.podDefaults, {
        role: 'gateway',
        container: {
          image: image.gateway ?? context.images.gateway,
          imagePullPolicy: image.pullPolicy,
          args: ['--config', SETTINGS_FILE],
          // Gateways compare their templates: during a rollout, there is more than one and rebalancing is paused.
          env: [
            { name: 'POD_TEMPLATE', valueFrom: { fieldRef: { fieldPath: "metadata.labels['pod-template-hash']" } } },
          ],
          ports: [containerPort('websocket', GATEWAY_PORT), containerPort('admin', ADMIN_PORT)],
          ...probes(ADMIN_PORT, '/healthz', '/readyz'),
        },
        mounts: gatewayMounts(cluster),
        placement: gateway.placement,
        resources: gateway.resources,
        serviceAccount: names(cluster).gateway,
        gracePeriod,
        labels: { ...gateway.podTemplate.labels, [SERVING_LABEL]: 'true' },
        annotations: {
          ...gateway.podTemplate.annotations,
          ...natsTlsAnnotation(cluster),
          [STATIC_SETTINGS_ANNOTATION]: staticSettingsHash(cluster, 'gateway'),
        },
        hostNetwork: gateway.hostNetwork,
        sysctls: gateway.sysctls,
        template: gateway.podTemplate,
      }),
    },
  };
}
