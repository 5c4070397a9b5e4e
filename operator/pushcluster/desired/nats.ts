import type { V1PersistentVolumeClaim, V1StatefulSet, V1StatefulSetSpec, V1Volume } from '@kubernetes/client-node';
import type { z } from 'zod';
import { GROUP, type PushCluster } from '../../api/pushCluster.ts';
import type { ManagedNats } from '../../api/spec/nats.ts';
import type { Context, DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import {
  JETSTREAM_FOLDER,
  labels,
  NATS_EXPORTER,
  NATS_EXPORTER_PORT,
  NATS_FOLDER,
  NATS_MONITOR_PORT,
  NATS_PORT,
  NATS_ROUTES_PORT,
  NATS_STORAGE_ANNOTATION,
  NATS_TLS_ANNOTATION,
  names,
  selectorLabels,
  TLS_FOLDER,
} from './names.ts';
import { jetstreamSize, LAME_DUCK_SECONDS, natsConfigHash } from './natsConfig.ts';
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
const JETSTREAM_VOLUME = 'jetstream';

const SERVING = '/healthz?js-server-only=true';
const PROBES = probes(NATS_MONITOR_PORT, SERVING, '/healthz');
/**
 * A server of several that store has started once it has caught up with the others, so that the next one is restarted only
 * then. Later, it also serves rooms without a history while too few servers are left to store. A single server serves them
 * also if it cannot read what it stored.
 */
function storingProbes(replicas: number): ReturnType<typeof probes> {
  const made = probes(NATS_MONITOR_PORT, SERVING, SERVING);
  if (replicas === 1) return made;
  return { ...made, startupProbe: { ...PROBES.readinessProbe, periodSeconds: 1, failureThreshold: 900 } };
}

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
  const { jetstream } = nats;
  const config = natsConfigHash(cluster, nats, values, tls);
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: metadataOf(cluster, name.nats, 'nats', {
      annotations: {
        [NATS_CONFIG_ANNOTATION]: config,
        ...(tls ? { [NATS_TLS_ANNOTATION]: serversTlsText(tls) } : {}),
        ...(jetstream ? { [NATS_STORAGE_ANNOTATION]: jetstream.storage } : {}),
      },
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
          ...(jetstream ? storingProbes(nats.replicas) : PROBES),
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
            ...(jetstream?.storage === 'memory' ? [{ name: JETSTREAM_VOLUME, emptyDir: {} }] : []),
          ],
          volumeMounts: [
            { name: 'config', mountPath: NATS_FOLDER, readOnly: true },
            ...(tls ? [{ name: 'tls', mountPath: TLS_FOLDER, readOnly: true }] : []),
            ...(jetstream ? [{ name: JETSTREAM_VOLUME, mountPath: JETSTREAM_FOLDER }] : []),
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
      ...(jetstream?.storage === 'file' ? volumes(cluster, jetstream) : {}),
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

/** A volume for each server. */
function volumes(
  cluster: PushCluster,
  jetstream: NonNullable<z.infer<typeof ManagedNats>['jetstream']>,
): Pick<V1StatefulSetSpec, 'volumeClaimTemplates' | 'persistentVolumeClaimRetentionPolicy'> {
  const { storageClassName, whenDeleted } = jetstream;
  const claim: V1PersistentVolumeClaim = {
    metadata: { name: JETSTREAM_VOLUME, labels: labels(cluster, 'nats') },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: jetstreamSize(jetstream).replace('B', '') } },
      ...(storageClassName === undefined ? {} : { storageClassName }),
    },
  };
  return {
    volumeClaimTemplates: [claim],
    persistentVolumeClaimRetentionPolicy: { whenDeleted, whenScaled: 'Retain' },
  };
}

/**
 * Whether a StatefulSet has to be replaced, with all its servers at once, because it stores elsewhere than wanted. Its
 * claims cannot be changed; and servers that store in a cluster are ready only once a majority of them stores, so that a
 * rolling restart would wait for the first one forever.
 */
export function storesElsewhere(
  desired: { kind: string; metadata: { annotations?: Readonly<Record<string, string>> | undefined } },
  observed: { metadata: { annotations?: Readonly<Record<string, string>> | undefined } },
): boolean {
  const storage = (of: typeof observed) => of.metadata.annotations?.[NATS_STORAGE_ANNOTATION];
  return desired.kind === 'StatefulSet' && storage(desired) !== storage(observed);
}
