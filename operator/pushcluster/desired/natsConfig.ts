import { createHash } from 'node:crypto';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { z } from 'zod';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { ManagedNats } from '../../api/spec/nats.ts';
import { busPrefix } from './bus.ts';
import type { ServersTls } from './context.ts';
import { NATS_MONITOR_PORT, NATS_PORT, NATS_ROUTES_PORT, names, TLS_FOLDER } from './names.ts';
import type { ServerPasswords } from './natsPasswords.ts';

/** Seconds that the lame duck mode of a server takes at most: the shortest that nats-server allows. */
export const LAME_DUCK_SECONDS = 30;
/**
 * Seconds in which the clients of such a server may leave by themselves. Ours need about two. Then it exits, or
 * disconnects those that are left, over the rest of LAME_DUCK_SECONDS.
 */
const LAME_DUCK_GRACE_SECONDS = 10;

/** Of the servers' own pods. */
const NATS_TLS_FILES = {
  certFile: `${TLS_FOLDER}/tls.crt`,
  keyFile: `${TLS_FOLDER}/tls.key`,
  caFile: `${TLS_FOLDER}/ca.crt`,
};
const FILES = `cert_file: "${NATS_TLS_FILES.certFile}", key_file: "${NATS_TLS_FILES.keyFile}"`;

/**
 * Configuration of managed servers. Each role has only the permissions that it needs: a gateway cannot publish pushes.
 * Passwords are trimmed, as they are when pods read them from files.
 */
export function natsConfig(
  cluster: PushCluster,
  nats: z.infer<typeof ManagedNats>,
  passwords: ServerPasswords,
  tls?: ServersTls,
): string {
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
    ...(tls ? clientTls(tls) : []),
  ];
  const { routes, formerRoutes } = passwords;
  const routePasswords = formerRoutes === undefined ? [routes] : [routes, formerRoutes];
  if (nats.replicas > 1)
    lines.push(
      `lame_duck_duration: "${LAME_DUCK_SECONDS}s"`,
      `lame_duck_grace_period: "${LAME_DUCK_GRACE_SECONDS}s"`,
      'cluster {',
      `  name: ${JSON.stringify(`${cluster.metadata.namespace}.${cluster.metadata.name}`)}`,
      `  port: ${NATS_ROUTES_PORT}`,
      `  authorization { user: routes, password: ${JSON.stringify(passwords.routes.trim())}, timeout: 5 }`,
      ...(tls?.routes ? [`  tls { ${FILES}, ca_file: "${NATS_TLS_FILES.caFile}", verify: true, timeout: 5 }`] : []),
      '  routes: [',
      ...routePasswords.flatMap((password) =>
        Array.from({ length: nats.replicas }, (_, i) => `    ${JSON.stringify(route(cluster, i, password))}`),
      ),
      '  ]',
      '}',
    );
  return `${lines.join('\n')}\n`;
}

/** The fingerprint makes servers restart with another certificate. */
function clientTls({ isOptional, fingerprint }: ServersTls): string[] {
  return [
    `# Certificate ${fingerprint}`,
    `tls { ${FILES}, timeout: 5 }`,
    ...(isOptional ? ['allow_non_tls: true'] : []),
  ];
}

/** Changes whenever servers have to be restarted because of their configuration. */
export function natsConfigHash(...of: Parameters<typeof natsConfig>): string {
  return createHash('sha256')
    .update(natsConfig(...of))
    .digest('hex')
    .slice(0, 16);
}

function route(cluster: PushCluster, index: number, password: string): string {
  const { nats, natsPeers } = names(cluster);
  const host = `${nats}-${index}.${natsPeers}.${cluster.metadata.namespace}.svc`;
  return `nats://routes:${encodeURIComponent(password.trim())}@${host}:${NATS_ROUTES_PORT}`;
}
