import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Certificate } from '../certificates.ts';
import type { Kubectl } from './kubectl.ts';

const Kubeconfig = z.looseObject({ users: z.array(z.object({ name: z.string(), user: z.unknown() })).length(1) });

export type KubeconfigOptions = {
  server: string;
  caFile: string;
  client: Certificate;
  /** Namespace for commands that name none. */
  namespace?: string;
};

/** Writes a kubeconfig that refers to no other file. */
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

/** Writes a copy of kubectl's kubeconfig for a ServiceAccount, with a token that is valid for two hours. */
export async function writeAccountsKubeconfig(
  file: string,
  { kubectl, namespace, account }: { kubectl: Kubectl; namespace: string; account: string },
): Promise<string> {
  const token = await kubectl(['create', 'token', account, '-n', namespace, '--duration=2h']);
  const own = await kubectl(['config', 'view', '--raw', '--minify', '--flatten', '-o', 'json']);
  const { users, ...rest } = Kubeconfig.parse(JSON.parse(own));
  const config = { ...rest, users: users.map(({ name }) => ({ name, user: { token: token.trim() } })) };
  await writeFile(file, JSON.stringify(config, undefined, 2), { mode: 0o600 });
  return file;
}
