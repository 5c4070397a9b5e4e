import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Authority, type Certificate, createAuthority } from '../certificates.ts';
import { writeKubeconfig } from './kubeconfig.ts';

/** Certificates, keys and kubeconfigs of the parts of a cluster. */
export type Credentials = {
  authority: Authority;
  /** Signs the certificate with which the API server identifies itself to aggregated APIs. */
  frontProxyAuthority: Authority;
  serving: Certificate;
  admin: Certificate;
  frontProxy: Certificate;
  /** Path of the key that signs the tokens of service accounts. */
  serviceAccountKey: string;
  kubeconfigs: { admin: string; controllerManager: string; scheduler: string };
};

export type CredentialsOptions = {
  folder: string;
  /** URL of the API server for the control plane's own parts and the administrator. */
  server: string;
  /** IP addresses in the API server's certificate. */
  addresses: readonly string[];
  /** Days for which the certificates are valid. */
  days: number;
};

/** Creates all certificates, keys and kubeconfigs of a cluster. */
export async function createCredentials({ folder, server, addresses, days }: CredentialsOptions): Promise<Credentials> {
  const [authority, frontProxyAuthority] = await Promise.all([
    createAuthority('cluster authority', { folder: join(folder, 'authority'), days }),
    createAuthority('front proxy authority', { folder: join(folder, 'front-proxy'), days }),
  ]);
  const names = [...addresses.map((address) => `IP:${address}`), ...NAMES.map((name) => `DNS:${name}`)];
  const [serving, admin, controllerManager, scheduler, frontProxy] = await Promise.all([
    authority.issue(names.join(','), '/CN=kube-apiserver'),
    authority.issue('', '/O=system:masters/CN=admin'),
    // One user with the rights of all controllers: creating a service account for each controller would take seconds.
    authority.issue('', '/O=system:masters/CN=system:kube-controller-manager'),
    authority.issue('', '/CN=system:kube-scheduler'),
    frontProxyAuthority.issue('', '/CN=front-proxy'),
  ]);
  const serviceAccountKey = join(folder, 'service-accounts.key');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  await writeFile(serviceAccountKey, privateKey.export({ type: 'sec1', format: 'pem' }), { mode: 0o600 });
  const kubeconfig = (name: string, client: Certificate) =>
    writeKubeconfig(join(folder, name), { server, caFile: authority.caFile, client });
  return {
    ...{ authority, frontProxyAuthority, serving, admin, frontProxy, serviceAccountKey },
    kubeconfigs: {
      admin: await kubeconfig('kubeconfig', admin),
      controllerManager: await kubeconfig('controller-manager.kubeconfig', controllerManager),
      scheduler: await kubeconfig('scheduler.kubeconfig', scheduler),
    },
  };
}

const NAMES = ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'];
