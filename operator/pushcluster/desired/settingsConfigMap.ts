import type { V1ConfigMap } from '@kubernetes/client-node';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { stringify } from 'yaml';
import type { z } from 'zod';
import type { PushCluster, Spec } from '../../api/pushCluster.ts';
import { busSettings } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { apiKeys, JWT_SECRET_FILE, TLS_FILES } from './mounts.ts';
import { DRAIN_FILE, KEYS_FOLDER, names } from './names.ts';
import { amountOf } from './quantity.ts';

/** Content of a settings file: keys that are left out have their defaults. */
export type SettingsInput = z.input<typeof Settings>;

/**
 * The ConfigMap with the settings files of gateways and logic: every setting, static or live. Pods are replaced when a
 * static one changes (`staticSettingsHash.ts`), and reload the file when any other does (`liveSettingsReload.ts`).
 */
export function settingsConfigMap(cluster: PushCluster): V1ConfigMap & DesiredObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: metadataOf(cluster, names(cluster).settings, undefined),
    data: { 'gateway.yaml': settingsText(cluster, 'gateway'), 'logic.yaml': settingsText(cluster, 'logic') },
  };
}

/** The settings file of a role as YAML. @param generation recorded in the file; it has no other effect */
export function settingsText(
  cluster: PushCluster,
  role: 'gateway' | 'logic',
  generation = cluster.metadata.generation,
): string {
  return stringify({ ...settingsOf(cluster, role), generation });
}

export function settingsOf(cluster: PushCluster, role: 'gateway' | 'logic'): SettingsInput {
  return role === 'gateway' ? gatewaySettings(cluster) : logicSettings(cluster);
}

/** Settings of gateways: only keys that the cluster sets, so that gateways of an older version know all of them. */
export function gatewaySettings(cluster: PushCluster): SettingsInput {
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

/** Settings of logic: only keys that the cluster sets. */
export function logicSettings(cluster: PushCluster): SettingsInput {
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

/** A number only if more than one hop is trusted: gateways of an older version accept only a boolean. */
function forwardedHeaders({ forwardedHeaders, forwardedHops }: Spec['gateway']['service']): boolean | number {
  return forwardedHeaders && forwardedHops > 1 ? forwardedHops : forwardedHeaders;
}

function shards({ shards: wanted, resources }: Spec['gateway']): 'auto' | number {
  if (wanted !== 'auto') return wanted;
  const amount = resources.limits?.cpu ?? resources.requests?.cpu;
  return amount === undefined ? 'auto' : Math.min(256, Math.max(1, Math.ceil(amountOf(amount)) - 1));
}
