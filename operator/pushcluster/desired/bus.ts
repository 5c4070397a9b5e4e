import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { z } from 'zod';
import type { PushCluster, Spec } from '../../api/pushCluster.ts';
import { ManagedNats } from '../../api/spec/nats.ts';
import { NATS_FOLDER, NATS_PORT, names } from './names.ts';

type Credential = NonNullable<NonNullable<Spec['nats']['credentials']>['gateway']>;

export const CREDENTIAL_FILE = `${NATS_FOLDER}/credential`;
export const CA_FILE = `${NATS_FOLDER}/ca.crt`;
/** The client certificate. */
export const CERTIFICATE_FILES = { certFile: `${NATS_FOLDER}/tls.crt`, keyFile: `${NATS_FOLDER}/tls.key` };

/** The managed NATS servers of a cluster; undefined if it uses `nats.url`. */
export function managedNats({ spec: { nats } }: PushCluster): z.infer<typeof ManagedNats> | undefined {
  return nats.url === undefined ? (nats.managed ?? ManagedNats.parse({})) : undefined;
}

/** The Secret with the CA of managed servers; undefined if pods connect to them without TLS. */
export function natsTlsSecret(cluster: PushCluster): string | undefined {
  const tls = managedNats(cluster)?.tls;
  return tls?.enabled ? (tls.secretName ?? names(cluster).natsTls) : undefined;
}

/** Prefix of the cluster's subjects. */
export function busPrefix({ spec: { nats } }: PushCluster): string {
  return nats.prefix ?? 'pushcluster';
}

/** URLs of NATS for the pods. */
export function natsServers(cluster: PushCluster): string[] {
  const { url } = cluster.spec.nats;
  if (url !== undefined) return url.split(',');
  const scheme = natsTlsSecret(cluster) === undefined ? 'nats' : 'tls';
  return [`${scheme}://${names(cluster).nats}.${cluster.metadata.namespace}.svc:${NATS_PORT}`];
}

/** The credential of a role: a generated password for managed servers, otherwise `nats.credentials`. */
export function natsCredential(cluster: PushCluster, role: 'gateway' | 'logic'): Credential | undefined {
  if (cluster.spec.nats.url !== undefined) return cluster.spec.nats.credentials?.[role];
  const { natsGateway, natsLogic } = names(cluster);
  return {
    type: 'password',
    user: role,
    secretRef: { name: role === 'gateway' ? natsGateway : natsLogic, key: 'password' },
  };
}

/** The section `bus` of a role's settings file. */
export function busSettings(cluster: PushCluster, role: 'gateway' | 'logic'): z.input<typeof Settings>['bus'] {
  const credential = natsCredential(cluster, role);
  const { caSecretRef, certificates } = cluster.spec.nats;
  const tls = {
    ...(caSecretRef === undefined && natsTlsSecret(cluster) === undefined ? {} : { caFile: CA_FILE }),
    ...(certificates?.[role] === undefined ? {} : CERTIFICATE_FILES),
  };
  return {
    prefix: busPrefix(cluster),
    nats: {
      servers: natsServers(cluster),
      ...(credential?.user === undefined ? {} : { user: credential.user }),
      ...(credential === undefined ? {} : { [`${credential.type}File`]: CREDENTIAL_FILE }),
      ...(Object.keys(tls).length === 0 ? {} : { tls }),
    },
  };
}
