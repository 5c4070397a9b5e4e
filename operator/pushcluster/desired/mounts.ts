import type { V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import type { PushCluster, Spec } from '../../api/pushCluster.ts';
import { CA_FILE, CERTIFICATE_FILES, CREDENTIAL_FILE, natsCredential, natsTlsSecret } from './bus.ts';
import {
  DRAIN_ANNOTATION,
  DRAIN_FILE,
  JWT_FOLDER,
  KEYS_FOLDER,
  NATS_FOLDER,
  names,
  POD_FOLDER,
  SETTINGS_FILE,
  SETTINGS_FOLDER,
  TLS_FOLDER,
} from './names.ts';

/** Volumes of a pod, each mounted as a folder. The kubelet does not update files that are mounted with subPath. */
export type Mounts = { volumes: V1Volume[]; volumeMounts: V1VolumeMount[] };

export const JWT_SECRET_FILE = `${JWT_FOLDER}/secret`;
export const JWKS_CA_FILE = `${JWT_FOLDER}/ca.crt`;
export const JWKS_FILE = `${JWT_FOLDER}/jwks.json`;
export const TLS_FILES = { certFile: `${TLS_FOLDER}/tls.crt`, keyFile: `${TLS_FOLDER}/tls.key` };

/** Readable by the user and the group of the pod only. */
const SECRET_MODE = 0o440;

type SecretRef = { name: string; key: string };
type FileRef = { secretRef?: SecretRef; configMapRef?: SecretRef };
/** A file of a pod, and the key of a Secret or ConfigMap that it is from. */
type MountedFile = { from: SecretRef; path: string; kind: 'secret' | 'configMap' };

/** Volumes of a gateway: settings, annotations from the operator, and secrets. */
export function gatewayMounts(cluster: PushCluster): Mounts {
  const { gateway, auth } = cluster.spec;
  const files: [string, string, V1Volume | undefined][] = [
    ['settings', SETTINGS_FOLDER, settings(cluster, 'gateway.yaml')],
    ['pod', POD_FOLDER, podFiles()],
    ['nats', NATS_FOLDER, natsFiles(cluster, 'gateway')],
    ['tls', TLS_FOLDER, tlsFiles(gateway.service)],
    ['jwt', JWT_FOLDER, secretFiles('jwt', jwtFiles(auth))],
  ];
  return mounts(files);
}

/** Volumes of a logic pod: settings and secrets. */
export function logicMounts(cluster: PushCluster): Mounts {
  const keys = apiKeys(cluster).map(({ name, secretRef }) => fileOf(secretRef, `${KEYS_FOLDER}/${name}`));
  return mounts([
    ['settings', SETTINGS_FOLDER, settings(cluster, 'logic.yaml')],
    ['nats', NATS_FOLDER, natsFiles(cluster, 'logic')],
    ['tls', TLS_FOLDER, tlsFiles(cluster.spec.logic.service)],
    ['keys', KEYS_FOLDER, secretFiles('keys', keys)],
  ]);
}

function tlsFiles({ tls }: { tls?: { secretName: string } }): V1Volume | undefined {
  return tls && { name: 'tls', secret: { secretName: tls.secretName, defaultMode: SECRET_MODE } };
}

function jwtFiles({ jwt }: Spec['auth']): MountedFile[] {
  return [
    ...(jwt?.secretRef ? [fileOf(jwt.secretRef, JWT_SECRET_FILE)] : []),
    ...(jwt?.jwksCaFrom ? fileFrom(jwt.jwksCaFrom, JWKS_CA_FILE) : []),
    ...(jwt?.jwksFrom ? fileFrom(jwt.jwksFrom, JWKS_FILE) : []),
  ];
}

/** API keys of the cluster: `logic.apiKeys`, or the generated one. */
export function apiKeys(cluster: PushCluster): { name: string; secretRef: SecretRef }[] {
  const given = cluster.spec.logic.apiKeys;
  if (given.length > 0) return given.map(({ name, secretRef }) => ({ name, secretRef }));
  return [{ name: 'generated', secretRef: { name: names(cluster).apiKey, key: 'key' } }];
}

function mounts(files: readonly [name: string, folder: string, volume: V1Volume | undefined][]): Mounts {
  const used = files.filter(([, , volume]) => volume !== undefined);
  return {
    volumes: used.map(([, , volume]) => volume!),
    volumeMounts: used.map(([name, mountPath]) => ({ name, mountPath, readOnly: true })),
  };
}

function settings(cluster: PushCluster, key: string): V1Volume {
  const path = basename(SETTINGS_FILE);
  return { name: 'settings', configMap: { name: names(cluster).settings, items: [{ key, path }] } };
}

function podFiles(): V1Volume {
  const fieldRef = { fieldPath: `metadata.annotations['${DRAIN_ANNOTATION}']` };
  return { name: 'pod', downwardAPI: { items: [{ path: basename(DRAIN_FILE), fieldRef }] } };
}

function natsFiles(cluster: PushCluster, role: 'gateway' | 'logic'): V1Volume | undefined {
  const credential = natsCredential(cluster, role);
  const { caSecretRef, certificates } = cluster.spec.nats;
  const certificate = certificates?.[role];
  const own = natsTlsSecret(cluster);
  const authority = caSecretRef ?? (own === undefined ? undefined : { name: own, key: 'ca.crt' });
  return secretFiles('nats', [
    ...(credential ? [fileOf(credential.secretRef, CREDENTIAL_FILE)] : []),
    ...(authority ? [fileOf(authority, CA_FILE)] : []),
    ...(certificate
      ? [
          fileOf({ name: certificate.secretName, key: 'tls.crt' }, CERTIFICATE_FILES.certFile),
          fileOf({ name: certificate.secretName, key: 'tls.key' }, CERTIFICATE_FILES.keyFile),
        ]
      : []),
  ]);
}

function secretFiles(name: string, files: readonly MountedFile[]): V1Volume | undefined {
  if (files.length === 0) return undefined;
  const sources = files.map(({ from, path, kind }) => ({
    [kind]: { name: from.name, items: [{ key: from.key, path }] },
  }));
  return { name, projected: { sources, defaultMode: SECRET_MODE } };
}

function fileOf(from: SecretRef, path: string, kind: MountedFile['kind'] = 'secret'): MountedFile {
  return { from: { name: from.name, key: from.key }, path: basename(path), kind };
}

function fileFrom({ secretRef, configMapRef }: FileRef, path: string): MountedFile[] {
  if (secretRef) return [fileOf(secretRef, path)];
  return configMapRef ? [fileOf(configMapRef, path, 'configMap')] : [];
}

function basename(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
