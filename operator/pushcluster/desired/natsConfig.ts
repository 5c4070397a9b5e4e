import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { z } from 'zod';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { ManagedNats } from '../../api/spec/nats.ts';
import { busPrefix } from './bus.ts';
import { NATS_MONITOR_PORT, NATS_PORT, NATS_ROUTES_PORT, names } from './names.ts';

/** Folder in which a server stores its streams. */
export const NATS_DATA_FOLDER = '/data';

type Passwords = { gateway: string; logic: string; routes: string };

/**
 * Configuration of managed servers. Each role has only the permissions that it needs: a gateway cannot publish pushes.
 * Passwords are trimmed, as they are when pods read them from files.
 */
export function natsConfig(cluster: PushCluster, nats: z.infer<typeof ManagedNats>, passwords: Passwords): string {
  const { gateway, logic } = new Subjects(busPrefix(cluster)).permissions;
  const lines = [
    `port: ${NATS_PORT}`,
    `http: ${NATS_MONITOR_PORT}`,
    'server_name: $POD_NAME',
    'authorization {',
    '  timeout: 5',
    '  users: [',
    ...[
      { user: 'gateway', password: passwords.gateway, permissions: gateway },
      { user: 'logic', password: passwords.logic, permissions: logic },
    ].map((user) => `    ${JSON.stringify({ ...user, password: user.password.trim() })}`),
    '  ]',
    '}',
  ];
  if (nats.replicas > 1)
    lines.push(
      'cluster {',
      `  name: ${JSON.stringify(`${cluster.metadata.namespace}.${cluster.metadata.name}`)}`,
      `  port: ${NATS_ROUTES_PORT}`,
      `  authorization { user: routes, password: ${JSON.stringify(passwords.routes.trim())}, timeout: 5 }`,
      '  routes: [',
      ...Array.from({ length: nats.replicas }, (_, i) => `    ${JSON.stringify(route(cluster, i, passwords.routes))}`),
      '  ]',
      '}',
    );
  if (nats.storage !== undefined) lines.push(`jetstream { store_dir: ${NATS_DATA_FOLDER} }`);
  return `${lines.join('\n')}\n`;
}

function route(cluster: PushCluster, index: number, password: string): string {
  const { nats, natsPeers } = names(cluster);
  const host = `${nats}-${index}.${natsPeers}.${cluster.metadata.namespace}.svc`;
  return `nats://routes:${encodeURIComponent(password.trim())}@${host}:${NATS_ROUTES_PORT}`;
}
