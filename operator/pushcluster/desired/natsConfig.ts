import { createHash } from 'node:crypto';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { parseSize } from '@pushcluster/protocol/units.ts';
import type { z } from 'zod';
import type { PushCluster } from '../../api/pushCluster.ts';
import { JETSTREAM_SIZES } from '../../api/spec/jetstream.ts';
import type { ManagedNats } from '../../api/spec/nats.ts';
import { busPrefix } from './bus.ts';
import type { ServersTls } from './context.ts';
import { JETSTREAM_FOLDER, NATS_MONITOR_PORT, NATS_PORT, NATS_ROUTES_PORT, names, TLS_FOLDER } from './names.ts';
import type { ServerPasswords } from './natsPasswords.ts';

/** Seconds that the lame duck mode of a server takes at most: the shortest that nats-server allows. */
export const LAME_DUCK_SECONDS = 30;
/**
 * Seconds in which the clients of such a server may leave by themselves. Ours need about two. Then it exits, or
 * disconnects those that are left, over the rest of LAME_DUCK_SECONDS.
 */
const LAME_DUCK_GRACE_SECONDS = 10;

/**
 * Share of a volume that messages may take: the rest is for its file system, the indexes, and the logs by which servers
 * agree. A server whose disk is full stops to store at all; above this limit it only refuses messages.
 */
const USED_OF_VOLUME = 0.8;

type JetStream = NonNullable<z.infer<typeof ManagedNats>['jetstream']>;

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
  const { gateway, logic } = permissions(cluster, nats);
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
    ...(nats.jetstream ? jetstream(nats.jetstream, nats.replicas) : []),
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

/**
 * Streams are not named one by one: servers would restart with each policy that is added, and no others use them.
 */
function permissions(cluster: PushCluster, nats: z.infer<typeof ManagedNats>) {
  const { permissions, historyPermissions } = new Subjects(busPrefix(cluster));
  if (nats.jetstream === undefined) return permissions;
  const both = (role: 'gateway' | 'logic') => ({
    publish: [...permissions[role].publish, ...historyPermissions[role].publish],
    subscribe: [...permissions[role].subscribe, ...historyPermissions[role].subscribe],
  });
  return { gateway: both('gateway'), logic: both('logic') };
}

/** The size of each server's storage, such as `1GiB`. */
export function jetstreamSize({ storage, size }: Pick<JetStream, 'storage' | 'size'>): string {
  return size ?? JETSTREAM_SIZES[storage];
}

/** Bytes of messages that each server stores at most. */
export function storableBytes(options: Pick<JetStream, 'storage' | 'size'>): number {
  const bytes = parseSize(jetstreamSize(options)) ?? 0;
  return options.storage === 'file' ? Math.floor(bytes * USED_OF_VOLUME) : bytes;
}

/**
 * Servers that store in memory keep only what they know of each other in the folder. Volumes that were retained may be of
 * another number of servers, whose streams these cannot use: each number has a folder of its own.
 */
function jetstream(options: JetStream, replicas: number): string[] {
  const bytes = storableBytes(options);
  const isFile = options.storage === 'file';
  return [
    'jetstream {',
    `  store_dir: "${JETSTREAM_FOLDER}/${replicas}"`,
    `  max_memory_store: ${isFile ? 0 : bytes}`,
    `  max_file_store: ${isFile ? bytes : 0}`,
    ...(isFile ? [`  sync_interval: "${options.sync === 'always' ? 'always' : '2m'}"`] : []),
    '}',
  ];
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
