import type { V1Secret } from '@kubernetes/client-node';
import type { PushCluster } from '../../api/pushCluster.ts';
import { managedNats } from './bus.ts';
import type { Context, DesiredObject, ServersTls } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names, type Role } from './names.ts';
import { natsConfig, natsConfigHash } from './natsConfig.ts';
import {
  nextRotation,
  type Passwords,
  type Rotated,
  type Rotation,
  rotatedBy,
  rotationIn,
  type ServerPasswords,
} from './natsPasswords.ts';

/** Bytes of a generated password or key: 192 bits, 32 characters in base64url. */
const RANDOM_BYTES = 24;

/**
 * Values that are generated once and then kept, but for passwords of NATS that are rotated. The passwords are those that
 * servers accept.
 */
export type Generated = ServerPasswords & {
  apiKey: string;
  /** During a rotation, and after it. */
  rotation?: { state: Rotation; current: Passwords; tried: Rotated['tried'] };
};

/** Keys and passwords: those in the Secrets of the cluster, otherwise new random ones. */
export function generated(
  cluster: PushCluster,
  { secrets, random, nats: seen }: Pick<Context, 'secrets' | 'random' | 'nats'>,
  tls?: ServersTls,
): Generated {
  const { apiKey, natsGateway, natsLogic, natsServer } = names(cluster);
  const made = () => Buffer.from(random(RANDOM_BYTES)).toString('base64url');
  const textOf = (secret: string, key: string) =>
    Buffer.from(secrets.get(secret)?.[key] ?? '', 'base64').toString('utf8');
  const kept = (secret: string, key: string) => {
    const text = textOf(secret, key);
    return text.trim() === '' ? made() : text;
  };
  const files = { gateway: kept(natsGateway, 'password'), logic: kept(natsLogic, 'password') };
  const values = { apiKey: kept(apiKey, 'key'), ...files, routes: kept(natsServer, 'routes-password') };
  const before = rotationIn(secrets.get(natsServer));
  const nats = managedNats(cluster);
  if (nats === undefined) return values;
  const lines = { gateway: linesOf(files.gateway), logic: linesOf(files.logic) };
  // Somebody else may have put another password into the Secret of the pods, which counts then.
  const currentOf = (role: 'gateway' | 'logic') => {
    const known = textOf(natsServer, `${role}-password`).trim();
    return lines[role].includes(known) ? known : (lines[role][0] ?? '');
  };
  const current = { gateway: currentOf('gateway'), logic: currentOf('logic'), routes: values.routes };
  const rotation = nextRotation(cluster, {
    kept: before,
    isNew: !secrets.has(natsServer),
    current,
    files: lines,
    seen,
    random: made,
    isRunning: (passwords) => seen?.isSettled === true && seen.config === natsConfigHash(cluster, nats, passwords, tls),
  });
  if (rotation === undefined) return values;
  const isDone = before?.step !== undefined && rotation.step === undefined;
  const present = isDone ? before.next : current;
  const { accepted, tried } = rotatedBy(rotation, present);
  return { apiKey: values.apiKey, ...accepted, rotation: { state: rotation, current: present, tried } };
}

/** Secrets with generated values, each for one role: the API key, and the passwords of managed NATS. */
export function secrets(cluster: PushCluster, values: Generated, tls?: ServersTls): (V1Secret & DesiredObject)[] {
  const name = names(cluster);
  const made: (V1Secret & DesiredObject)[] = [];
  if (cluster.spec.logic.apiKeys.length === 0) made.push(secret(cluster, name.apiKey, 'logic', { key: values.apiKey }));
  const nats = managedNats(cluster);
  if (nats === undefined) return made;
  const { rotation } = values;
  const current = rotation?.current ?? values;
  const file = (role: 'gateway' | 'logic') => rotation?.tried[role].join('\n') ?? values[role];
  made.push(
    secret(cluster, name.natsGateway, 'gateway', { user: 'gateway', password: file('gateway') }),
    secret(cluster, name.natsLogic, 'logic', { user: 'logic', password: file('logic') }),
    secret(cluster, name.natsServer, 'nats', {
      'nats.conf': natsConfig(cluster, nats, values, tls),
      'routes-password': current.routes,
      'gateway-password': current.gateway,
      'logic-password': current.logic,
      ...(rotation ? { rotation: JSON.stringify(rotation.state) } : {}),
    }),
  );
  return made;
}

function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
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
