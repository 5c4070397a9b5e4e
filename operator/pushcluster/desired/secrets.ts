import type { V1Secret } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { Context, DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names, type Role } from './names.ts';
import { natsConfig } from './natsConfig.ts';

/** Bytes of a generated password or key: 192 bits, 32 characters in base64url. */
const RANDOM_BYTES = 24;

/** Values that are generated once and then kept. */
export type Generated = { apiKey: string; gateway: string; logic: string; routes: string };

/** Keys and passwords: those in the Secrets of the cluster, otherwise new random ones. */
export function generated(cluster: PushCluster, { secrets, random }: Pick<Context, 'secrets' | 'random'>): Generated {
  const { apiKey, natsGateway, natsLogic, natsServer } = names(cluster);
  const kept = (secret: string, key: string) => {
    const text = Buffer.from(secrets.get(secret)?.[key] ?? '', 'base64').toString('utf8');
    return text.trim() === '' ? Buffer.from(random(RANDOM_BYTES)).toString('base64url') : text;
  };
  return {
    apiKey: kept(apiKey, 'key'),
    gateway: kept(natsGateway, 'password'),
    logic: kept(natsLogic, 'password'),
    routes: kept(natsServer, 'routes-password'),
  };
}

/** Secrets with generated values, each for one role: the API key, and the passwords of managed NATS. */
export function secrets(cluster: PushCluster, values: Generated): (V1Secret & DesiredObject)[] {
  const name = names(cluster);
  const made: (V1Secret & DesiredObject)[] = [];
  if (cluster.spec.logic.apiKeys.length === 0) made.push(secret(cluster, name.apiKey, 'logic', { key: values.apiKey }));
  const nats = managedNats(cluster);
  if (nats !== undefined)
    made.push(
      secret(cluster, name.natsGateway, 'gateway', { user: 'gateway', password: values.gateway }),
      secret(cluster, name.natsLogic, 'logic', { user: 'logic', password: values.logic }),
      secret(cluster, name.natsServer, 'nats', {
        'nats.conf': natsConfig(cluster, nats, values),
        'routes-password': values.routes,
      }),
    );
  return made;
}

function secret(cluster: PushCluster, name: string, role: Role, texts: Record<string, string>) {
  const data = Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString('base64')]);
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: metadataOf(cluster, name, role),
    type: 'Opaque',
    data: Object.fromEntries(data),
  };
}
