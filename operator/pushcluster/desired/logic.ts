import type { V1Deployment } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { Context, DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { logicMounts } from './mounts.ts';
import { ADMIN_PORT, LOGIC_PORT, names, SETTINGS_FILE, STATIC_SETTINGS_ANNOTATION, selectorLabels } from './names.ts';
import { natsTlsAnnotation } from './natsTls.ts';
import { containerPort, podTemplate, probes } from './pods.ts';
import { staticSettingsHash } from './staticSettingsHash.ts';
import { shutdownTime } from './validSettings.ts';

/** Seconds of the grace period in addition to the drain: to flush the bus and to exit. */
const GRACE_MARGIN = 10;

/**
 * The Deployment of the logic pods.
 * @throws InvalidSettings
 */
export function logicDeployment(cluster: PushCluster, context: Context): V1Deployment & DesiredObject {
  const { logic, image } = cluster.spec;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadataOf(cluster, names(cluster).logic, 'logic', { annotations: natsTlsAnnotation(cluster) }),
    spec: {
      ...(context.logicReplicas === undefined ? {} : { replicas: context.logicReplicas }),
      selector: { matchLabels: selectorLabels(cluster, 'logic') },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: '25%', maxUnavailable: 0 } },
      revisionHistoryLimit: 3,
      template: podTemplate(cluster, context.podDefaults, {
        role: 'logic',
        container: {
          image: image.logic ?? context.images.logic,
          imagePullPolicy: image.pullPolicy,
          args: ['--config', SETTINGS_FILE],
          ports: [containerPort('http', LOGIC_PORT), containerPort('admin', ADMIN_PORT)],
          ...probes(ADMIN_PORT, '/healthz', '/readyz'),
        },
        mounts: logicMounts(cluster),
        placement: logic.placement,
        resources: logic.resources,
        serviceAccount: names(cluster).logic,
        gracePeriod: Math.ceil(shutdownTime(cluster, 'logic') / 1_000) + GRACE_MARGIN,
        annotations: {
          ...natsTlsAnnotation(cluster),
          [STATIC_SETTINGS_ANNOTATION]: staticSettingsHash(cluster, 'logic'),
        },
        template: logic.podTemplate,
      }),
    },
  };
}
