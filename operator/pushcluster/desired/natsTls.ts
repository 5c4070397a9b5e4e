import { createHash } from 'node:crypto';
import type { V1Secret } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { type Certificates, secretData } from '../../certificates/certificates.ts';
import { managedNats, natsTlsSecret } from './bus.ts';
import type { Context, DesiredObject, ServersTls } from './context.ts';
import { metadataOf } from './metadata.ts';
import { NATS_TLS_ANNOTATION, names } from './names.ts';

/** The highest number of managed servers. The certificate is for all, so that more servers need no other. */
const MAX_SERVERS = 5;

/** TLS of the servers: what the context says, otherwise what the cluster asks for. Undefined if there is none. */
export function serversTls(cluster: PushCluster, { natsTls }: Pick<Context, 'natsTls'>): ServersTls | undefined {
  if (natsTls !== undefined) return natsTls.servers;
  const secretName = natsTlsSecret(cluster);
  if (secretName === undefined) return undefined;
  return { isOptional: false, routes: managedNats(cluster)?.tls?.routes ?? true, secretName, fingerprint: '' };
}

/** Names of the servers for which their certificate is valid. */
export function natsDnsNames(cluster: PushCluster): string[] {
  const { nats, natsPeers } = names(cluster);
  const domain = `${cluster.metadata.namespace}.svc`;
  return [
    nats,
    `${nats}.${domain}`,
    `${natsPeers}.${domain}`,
    ...Array.from({ length: MAX_SERVERS }, (_, i) => `${nats}-${i}.${natsPeers}.${domain}`),
  ];
}

/** A fingerprint of the certificate and its CA. */
export function fingerprintOf(data: Readonly<Record<string, string>>): string {
  return createHash('sha256')
    .update(JSON.stringify([data['ca.crt'], data['tls.crt'], data['tls.key']]))
    .digest('hex')
    .slice(0, 16);
}

/** The same of certificates that the operator makes. */
export function fingerprintOfOwn(certificates: Certificates): string {
  return fingerprintOf(secretData(certificates));
}

/** Annotation of a Deployment and its pods that says how they connect to NATS. */
export function natsTlsAnnotation(cluster: PushCluster): Record<string, string> {
  const secretName = natsTlsSecret(cluster);
  return secretName === undefined ? {} : { [NATS_TLS_ANNOTATION]: secretName };
}

/** Annotation of the StatefulSet of NATS. */
export function serversTlsText({ isOptional, secretName, fingerprint }: ServersTls): string {
  return [isOptional ? 'optional' : 'required', secretName, fingerprint].join(' ');
}

/** The Secret with the certificates that the operator makes. */
export function certificatesSecret(cluster: PushCluster, certificates: Certificates): V1Secret & DesiredObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: metadataOf(cluster, names(cluster).natsTls, 'nats'),
    type: 'Opaque',
    data: secretData(certificates),
  };
}
