import { createHash } from 'node:crypto';
import type { V1ConfigMap } from '@kubernetes/client-node';
import { Settings, STATIC_KEYS } from '@pushcluster/protocol/settings.ts';
import { settingsProblems } from '@pushcluster/runtime/settingsProblems.ts';
import { stringify } from 'yaml';
import type { z } from 'zod';
import type { PushCluster, Spec } from '../../api/pushCluster.ts';
import { busSettings } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { apiKeys, JWT_SECRET_FILE, TLS_FILES } from './mounts.ts';
import { DRAIN_FILE, KEYS_FOLDER, names } from './names.ts';
import { amountOf } from './quantity.ts';

type Input = z.input<typeof Settings>;

/** The settings that a cluster asks for can't work together. The message has a sentence for each problem. */
export class UnusableSettings extends Error {
  override name = 'UnusableSettings';
}

/** The ConfigMap with the settings files of gateways and logic. */
export function settingsConfigMap(cluster: PushCluster): V1ConfigMap & DesiredObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadataOf(cluster, names(cluster).settings, undefined),
    data: { 'gateway.yaml': settingsText(cluster, 'gateway'), 'logic.yaml': settingsText(cluster, 'logic') },
  };
}

/** The settings file of a role. With another `generation` it says the same, and takes effect alike. */
export function settingsText(
  cluster: PushCluster,
  role: 'gateway' | 'logic',
  generation = cluster.metadata.generation,
): string {
  const settings = role === 'gateway' ? gatewaySettings(cluster) : logicSettings(cluster);
  return stringify({ ...settings, generation });
}

/**
 * Hash of those settings of a role that take effect only at a start: when it changes, pods are replaced.
 * @throws UnusableSettings
 */
export function staticHash(cluster: PushCluster, role: 'gateway' | 'logic'): string {
  const settings = parsed(role === 'gateway' ? gatewaySettings(cluster) : logicSettings(cluster));
  const other = role === 'gateway' ? 'logic.' : 'gateway.';
  const values = STATIC_KEYS.filter((key) => !key.startsWith(other)).map((key) => [key, at(settings, key)]);
  return digest(values);
}

/**
 * Hash of a role's whole settings file but for its generation: what pods are annotated with, so that the kubelet brings
 * a changed file to them at once.
 */
export function settingsHash(cluster: PushCluster, role: 'gateway' | 'logic'): string {
  const { generation: _, ...settings } = role === 'gateway' ? gatewaySettings(cluster) : logicSettings(cluster);
  return digest(settings);
}

/**
 * Milliseconds that a gateway takes to leave at most.
 * @throws UnusableSettings
 */
export function leavesWithin(cluster: PushCluster, role: 'gateway' | 'logic'): number {
  const { gateway, logic } = parsed(role === 'gateway' ? gatewaySettings(cluster) : logicSettings(cluster));
  const { settle, timeout } = role === 'gateway' ? gateway.drain : logic.drain;
  return settle + timeout;
}

/**
 * How long a gateway accepts while it drains, and how long it drains after that, milliseconds.
 * @throws UnusableSettings
 */
export function drainOf(cluster: PushCluster): { settle: number; timeout: number } {
  const { settle, timeout } = parsed(gatewaySettings(cluster)).gateway.drain;
  return { settle, timeout };
}

/** The settings file of gateways: only what the cluster says, so that pods of an older version know every key. */
export function gatewaySettings(cluster: PushCluster): Input {
  const { gateway, rooms, auth } = cluster.spec;
  const jwt = auth.jwt;
  return {
    generation: cluster.metadata.generation,
    gateway: {
      shards: shards(gateway),
      connections: gateway.connections,
      rooms: gateway.rooms,
      batching: gateway.batching,
      slowConsumer: gateway.slowConsumer,
      drain: { ...gateway.drain, file: DRAIN_FILE },
      rebalance: gateway.rebalance,
      protection: gateway.protection,
      proxyProtocol: gateway.service.proxyProtocol,
      forwardedHeaders: forwardedHeaders(gateway.service),
      ...(gateway.service.tls === undefined ? {} : { tls: TLS_FILES }),
    },
    rooms: rooms.map(({ match, batching, overload }) => ({
      match,
      ...(batching === undefined ? {} : { batching }),
      ...(overload === undefined ? {} : { overload }),
    })),
    auth: {
      ...(jwt === undefined
        ? {}
        : {
            jwt: {
              ...(jwt.jwksUrl === undefined ? { secretFile: JWT_SECRET_FILE } : { jwksUrl: jwt.jwksUrl }),
              ...(jwt.audience === undefined ? {} : { audience: jwt.audience }),
              ...(jwt.issuer === undefined ? {} : { issuer: jwt.issuer }),
            },
          }),
      ...(auth.anonymous === undefined ? {} : { anonymous: auth.anonymous }),
      allowedOrigins: auth.allowedOrigins,
    },
    bus: busSettings(cluster, 'gateway'),
  };
}

/** The settings file of logic: only what the cluster says. */
export function logicSettings(cluster: PushCluster): Input {
  const scopes = new Map(cluster.spec.logic.apiKeys.map(({ name, scope }) => [name, scope]));
  return {
    generation: cluster.metadata.generation,
    logic: {
      apiKeys: apiKeys(cluster).map(({ name }) => {
        const scope = scopes.get(name);
        return { name, file: `${KEYS_FOLDER}/${name}`, ...(scope === undefined ? {} : { scope }) };
      }),
    },
    bus: busSettings(cluster, 'logic'),
  };
}

/** A count only where more than one is trusted: gateways of an older version know true and false. */
function forwardedHeaders({ forwardedHeaders, forwardedHops }: Spec['gateway']['service']): boolean | number {
  return forwardedHeaders && forwardedHops > 1 ? forwardedHops : forwardedHeaders;
}

function shards({ shards: wanted, resources }: Spec['gateway']): 'auto' | number {
  if (wanted !== 'auto') return wanted;
  const amount = resources.limits?.cpu ?? resources.requests?.cpu;
  return amount === undefined ? 'auto' : Math.min(256, Math.max(1, Math.ceil(amountOf(amount)) - 1));
}

function parsed(input: Input): Settings {
  const result = Settings.safeParse(input, { reportInput: true });
  if (!result.success) throw new UnusableSettings(settingsProblems(Settings, result.error.issues).join('; '));
  return result.data;
}

function at(settings: Settings, key: string): unknown {
  let value: unknown = settings;
  for (const part of key.split('.'))
    value = typeof value === 'object' && value !== null ? Reflect.get(value, part) : undefined;
  return value;
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
