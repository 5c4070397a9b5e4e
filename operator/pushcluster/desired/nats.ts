import type { V1StatefulSet, V1Volume } from '@kubernetes/client-node';
import type { z } from 'zod';
import { GROUP, type PushCluster } from '../../api/pushCluster.ts';
import type { ManagedNats } from '../../api/spec/nats.ts';
import type { Context, DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import {
  NATS_EXPORTER,
  NATS_EXPORTER_PORT,
  NATS_FOLDER,
  NATS_MONITOR_PORT,
  NATS_PORT,
  NATS_ROUTES_PORT,
  NATS_TLS_ANNOTATION,
  names,
  selectorLabels,
  TLS_FOLDER,
} from './names.ts';
import { LAME_DUCK_SECONDS, natsConfigHash } from './natsConfig.ts';
import { serversTls, serversTlsText } from './natsTls.ts';
import { containerPort, podTemplate, probes, type Sidecar } from './pods.ts';
import type { Generated } from './secrets.ts';

/** Annotation of the StatefulSet and its pods: hash of the configuration of the servers, which they read only at their start. */
export const NATS_CONFIG_ANNOTATION = `${GROUP}/nats-config`;

/** Seconds of the grace period in addition to the lame duck mode: to close the last connections and to exit. */
const GRACE_MARGIN = 15;
/**
 * Begins the lame duck mode of the server, which is the first process of its container. After it, the server ignores
 * SIGTERM, and exits once its clients have left. The official images have the program in their PATH, but no shell.
 */
const BEGIN_LAME_DUCK = ['nats-server', '--signal', 'ldm=1'];

const POD_NAME = { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } };

/**
 * Arguments of the exporter: what it reads, and the server, with its pod as `server_id` of all series. It reads the
 * monitoring port, which has no TLS, inside the pod. Without JetStream, `-jsz` exports only that there is none.
 */
export const EXPORTER_ARGS = [
  ...['-varz', '-connz', '-routez', '-subz', '-healthz', '-jsz=streams'],
  ...['-port', String(NATS_EXPORTER_PORT)],
  `$(POD_NAME),http://localhost:${NATS_MONITOR_PORT}`,
];

/**
 * Managed NATS. Servers are restarted one by one, each once the previous one is ready and clients have reconnected. With
 * several servers, the clients of one leave it for another before it stops. A single one stops at once: it would take no
 * new clients meanwhile.
 */
export function natsStatefulSet(
  cluster: PushCluster,
  nats: z.infer<typeof ManagedNats>,
  values: Generated,
  context: Context,
): V1StatefulSet & DesiredObject {
  const name = names(cluster);
  const tls = serversTls(cluster, context);
  const config = natsConfigHash(cluster, nats, values, tls);
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: metadataOf(cluster, name.nats, 'nats', {
      [NATS_CONFIG_ANNOTATION]: config,
      ...(tls ? { [NATS_TLS_ANNOTATION]: serversTlsText(tls) } : {}),
    }),
    spec: {
      replicas: nats.replicas,
      serviceName: name.natsPeers,
      // Start all servers at once: each waits for its peers.
      podManagementPolicy: 'Parallel',
      updateStrategy: { type: 'RollingUpdate' },
      minReadySeconds: 5,
      revisionHistoryLimit: 3,
      selector: { matchLabels: selectorLabels(cluster, 'nats') },
      template: podTemplate(cluster, context.podDefaults, {
        role: 'nats',
        container: {
          image: nats.image ?? context.images.nats,
          imagePullPolicy: cluster.spec.image.pullPolicy,
          args: ['--config', `${NATS_FOLDER}/nats.conf`],
          env: [POD_NAME],
          ports: [
            containerPort('client', NATS_PORT),
            containerPort('routes', NATS_ROUTES_PORT),
            containerPort('monitor', NATS_MONITOR_PORT),
          ],
          ...(nats.replicas > 1 ? { lifecycle: { preStop: { exec: { command: BEGIN_LAME_DUCK } } } } : {}),
          ...probes(NATS_MONITOR_PORT, '/healthz?js-server-only=true', '/healthz'),
        },
        mounts: {
          volumes: [
            {
              name: 'config',
              secret: {
                secretName: name.natsServer,
                items: [{ key: 'nats.conf', path: 'nats.conf' }],
                defaultMode: 0o440,
              },
            },
            ...(tls ? [tlsVolume(tls.secretName)] : []),
          ],
          volumeMounts: [
            { name: 'config', mountPath: NATS_FOLDER, readOnly: true },
            ...(tls ? [{ name: 'tls', mountPath: TLS_FOLDER, readOnly: true }] : []),
          ],
        },
        placement: nats.placement,
        resources: nats.resources,
        serviceAccount: name.nats,
        gracePeriod: LAME_DUCK_SECONDS + GRACE_MARGIN,
        annotations: { [NATS_CONFIG_ANNOTATION]: config },
        template: nats.podTemplate,
        sidecars: exporters(cluster, nats, context),
      }),
    },
  };
}

function exporters(cluster: PushCluster, nats: z.infer<typeof ManagedNats>, { images }: Context): Sidecar[] {
  const { exporter } = nats;
  if (!exporter?.enabled) return [];
  return [
    {
      name: NATS_EXPORTER,
      image: exporter.image ?? images.natsExporter,
      imagePullPolicy: cluster.spec.image.pullPolicy,
      args: EXPORTER_ARGS,
      env: [POD_NAME],
      ports: [containerPort(NATS_EXPORTER, NATS_EXPORTER_PORT)],
      resources: exporter.resources,
    },
  ];
}

function tlsVolume(secretName: string): V1Volume {
  const items = ['tls.crt', 'tls.key', 'ca.crt'].map((key) => ({ key, path: key }));
  return { name: 'tls', secret: { secretName, items, defaultMode: 0o440 } };
}
