import type { V1ConfigMap } from '@kubernetes/client-node';
import { SETTINGS_MARK } from '@pushcluster/protocol/settingsMark.ts';
import { stringify } from 'yaml';
import type { PushCluster, Spec } from '../../api/pushCluster.ts';
import { busSettings } from './bus.ts';
import type { DesiredObject } from './context.ts';
import { drainSettle } from './drainSettle.ts';
import { metadataOf } from './metadata.ts';
import { apiKeys, JWKS_CA_FILE, JWKS_FILE, JWT_SECRET_FILE, TLS_FILES } from './mounts.ts';
import { DRAIN_FILE, KEYS_FOLDER, names } from './names.ts';
import { containerResources } from './pods.ts';
import { amountOf } from './quantity.ts';
import { type SettingsInput, writtenSettings } from './writtenSettings.ts';

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
  return `${SETTINGS_MARK}\n${stringify({ ...settingsOf(cluster, role), generation })}`;
}

/** The settings of a role, without what pods of an older version need not know (`writtenSettings.ts`). */
export function settingsOf(cluster: PushCluster, role: 'gateway' | 'logic'): SettingsInput {
  return writtenSettings(role === 'gateway' ? gatewaySettings(cluster) : logicSettings(cluster));
}

function gatewaySettings(cluster: PushCluster): SettingsInput {
  const { gateway, rooms, auth } = cluster.spec;
  const jwt = auth.jwt;
  return {
    generation: cluster.metadata.generation,
    gateway: {
      shards: shards(gateway),
      connections: gateway.connections,
      rooms: gateway.rooms,
      inbound: gateway.inbound,
      idleTimeout: gateway.idleTimeout,
      batching: gateway.batching,
      slowConsumer: gateway.slowConsumer,
      drain: { ...gateway.drain, settle: drainSettle(cluster), file: DRAIN_FILE },
      rebalance: gateway.rebalance,
      protection: gateway.protection,
      proxyProtocol: gateway.service.proxyProtocol,
      forwardedHeaders: forwardedHeaders(gateway.service),
      ...(gateway.service.tls === undefined ? {} : { tls: TLS_FILES }),
      console: gateway.console,
      consolePushUrl: gateway.consolePushUrl,
      consoleRoom: gateway.consoleRoom,
      echo: gateway.echo,
    },
    rooms: rooms.map(({ match, batching, overload, history }) => ({
      match,
      ...(batching === undefined ? {} : { batching }),
      ...(overload === undefined ? {} : { overload }),
      ...(history === undefined ? {} : { history }),
    })),
    auth: {
      ...(jwt === undefined
        ? {}
        : {
            jwt: {
              ...(jwt.secretRef === undefined ? {} : { secretFile: JWT_SECRET_FILE }),
              ...(jwt.jwksUrl === undefined ? {} : { jwksUrl: jwt.jwksUrl }),
              ...(jwt.jwksCaFrom === undefined ? {} : { jwksCaFile: JWKS_CA_FILE }),
              ...(jwt.jwksFrom === undefined ? {} : { jwksFile: JWKS_FILE }),
              ...(jwt.audience === undefined ? {} : { audience: jwt.audience }),
              ...(jwt.issuer === undefined ? {} : { issuer: jwt.issuer }),
            },
          }),
      ...(auth.anonymous === undefined ? {} : { anonymous: auth.anonymous }),
      allowedOrigins: auth.allowedOrigins,
    },
    bus: busSettings(cluster, 'gateway'),
    log: cluster.spec.log,
  };
}

function logicSettings(cluster: PushCluster): SettingsInput {
  const { logic, log } = cluster.spec;
  const scopes = new Map(logic.apiKeys.map(({ name, scope }) => [name, scope]));
  return {
    generation: cluster.metadata.generation,
    logic: {
      apiKeys: apiKeys(cluster).map(({ name }) => {
        const scope = scopes.get(name);
        return { name, file: `${KEYS_FOLDER}/${name}`, ...(scope === undefined ? {} : { scope }) };
      }),
      ...(logic.service.tls === undefined ? {} : { tls: TLS_FILES }),
      allowedOrigins: logic.allowedOrigins,
      limits: logic.limits,
      urgentRate: logic.urgentRate,
      publishTimeout: logic.publishTimeout,
      askTimeout: logic.askTimeout,
    },
    ...historySettings(cluster.spec),
    bus: busSettings(cluster, 'logic'),
    log,
  };
}

/** What logic has to know to store pushes: all policies, since the first one that matches a room applies. */
function historySettings({ rooms, history, nats }: Spec): Pick<SettingsInput, 'rooms' | 'history'> {
  if (!rooms.some((policy) => policy.history !== undefined)) return {};
  const storage = nats.managed?.jetstream?.storage ?? history.storage;
  return {
    rooms: rooms.map(({ match, history }) => ({ match, ...(history === undefined ? {} : { history }) })),
    history: { ...(storage === undefined ? {} : { storage }), publishTimeout: history.publishTimeout },
  };
}

/** A number only if more than one hop is trusted: gateways of an older version accept only a boolean. */
function forwardedHeaders({ forwardedHeaders, forwardedHops }: Spec['gateway']['service']): boolean | number {
  return forwardedHeaders && forwardedHops > 1 ? forwardedHops : forwardedHeaders;
}

function shards(gateway: Spec['gateway']): 'auto' | number {
  if (gateway.shards !== 'auto') return gateway.shards;
  const resources = containerResources('gateway', gateway);
  const amount = resources.limits?.cpu ?? resources.requests?.cpu;
  return amount === undefined ? 'auto' : Math.min(256, Math.max(1, Math.ceil(amountOf(amount)) - 1));
}
