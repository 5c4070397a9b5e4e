import { readFile, writeFile } from 'node:fs/promises';
import type { Certificate } from '../certificates.ts';

export type KubeconfigOptions = {
  server: string;
  caFile: string;
  client: Certificate;
  /** Namespace of commands that name none. */
  namespace?: string;
};

/** Writes a kubeconfig that needs no other file. */
export async function writeKubeconfig(file: string, options: KubeconfigOptions): Promise<string> {
  const { server, caFile, client, namespace = 'default' } = options;
  const data = async (path: string) => (await readFile(path)).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'pushcluster',
    contexts: [{ name: 'pushcluster', context: { cluster: 'pushcluster', user: 'pushcluster', namespace } }],
    clusters: [{ name: 'pushcluster', cluster: { server, 'certificate-authority-data': await data(caFile) } }],
    users: [
      {
        name: 'pushcluster',
        user: {
          'client-certificate-data': await data(client.certFile),
          'client-key-data': await data(client.keyFile),
        },
      },
    ],
  };
  await writeFile(file, JSON.stringify(config, undefined, 2), { mode: 0o600 });
  return file;
}
