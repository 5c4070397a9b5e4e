import { isDeepStrictEqual } from 'node:util';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { z } from 'zod';

/** Content of a settings file: keys that are left out have their defaults. */
export type SettingsInput = z.input<typeof Settings>;

/**
 * The keys with a default that the first release wrote always. Pods of every version know them, and their text in the
 * file stays as it is over upgrades. `*` is an entry of a list. Never add to it: a new key belongs to the file only where it
 * differs from its default, so that pods of older versions can read the file of a PushCluster that does not use it.
 */
const ALWAYS_WRITTEN: ReadonlySet<string> = new Set([
  'gateway.shards',
  'gateway.connections.max',
  'gateway.connections.acceptRate',
  'gateway.connections.perIp',
  'gateway.connections.onePerUser',
  'gateway.rooms.maxPerConnection',
  'gateway.batching.maxDelay',
  'gateway.batching.maxItems',
  'gateway.batching.maxBytes',
  'gateway.batching.compression',
  'gateway.batching.urgentRate',
  'gateway.slowConsumer.maxBuffer',
  'gateway.slowConsumer.policy',
  'gateway.drain.rate',
  'gateway.drain.settle',
  'gateway.drain.timeout',
  'gateway.rebalance.threshold',
  'gateway.rebalance.rate',
  'gateway.rebalance.minimum',
  'gateway.rebalance.moveOthers',
  'gateway.protection.memory',
  'gateway.protection.fds',
  'gateway.protection.loopLag',
  'gateway.protection.handshakes',
  'gateway.proxyProtocol',
  'gateway.forwardedHeaders',
  'rooms',
  'rooms.*.overload.policy',
  'auth.allowedOrigins',
  'logic.apiKeys',
  'logic.apiKeys.*.scope.all',
  'logic.apiKeys.*.scope.rooms',
  'logic.apiKeys.*.scope.users',
  'logic.apiKeys.*.scope.disconnect',
  'logic.apiKeys.*.scope.read',
  'bus.prefix',
]);

/** `settings` without keys that are at their default, except those in ALWAYS_WRITTEN. */
export function writtenSettings(settings: SettingsInput): SettingsInput {
  return without(settings, Settings, '') as SettingsInput;
}

function without(value: unknown, schema: z.core.$ZodType | undefined, path: string): unknown {
  const place = bare(schema);
  if (Array.isArray(value) && place instanceof z.ZodArray)
    return value.map((entry) => without(entry, place.element, `${path}.*`));
  if (!(place instanceof z.ZodObject) || typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).flatMap(([key, each]): [string, unknown][] => {
    const inner = place.shape[key];
    const below = path === '' ? key : `${path}.${key}`;
    const kept = without(each, inner, below);
    return isLeft(kept, each, inner, below) ? [] : [[key, kept]];
  });
  return Object.fromEntries(entries);
}

function isLeft(kept: unknown, value: unknown, schema: z.core.$ZodType | undefined, path: string): boolean {
  if (ALWAYS_WRITTEN.has(path)) return false;
  const fallback = schema && z.safeParse(schema, undefined);
  // Of a section without a default, that it is there means something: `history: {}` is one with all defaults.
  if (schema === undefined || !fallback?.success || fallback.data === undefined) return false;
  if (isDeepStrictEqual(kept, {}) && !isDeepStrictEqual(value, {})) return true;
  if (bare(schema) instanceof z.ZodObject) return false;
  return isDeepStrictEqual(z.safeParse(schema, value).data, fallback.data);
}

function bare(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  let inner = schema;
  while (inner instanceof z.ZodPrefault || inner instanceof z.ZodDefault || inner instanceof z.ZodOptional)
    inner = inner.unwrap();
  return inner;
}
