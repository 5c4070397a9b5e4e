import { createHash } from 'node:crypto';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { STATIC_KEYS } from '@pushcluster/protocol/staticSettings.ts';
import type { PushCluster } from '../../api/pushCluster.ts';
import { validSettings } from './validSettings.ts';

/**
 * Hash of a role's static settings, which pods read only at their start (`STATIC_KEYS`). It is an annotation of the pod
 * template: when it changes, the Deployment rolls out new pods.
 * @throws InvalidSettings
 */
export function staticSettingsHash(cluster: PushCluster, role: 'gateway' | 'logic'): string {
  const settings = validSettings(cluster, role);
  const other = role === 'gateway' ? 'logic.' : 'gateway.';
  const values = STATIC_KEYS.filter((key) => !key.startsWith(other)).map((key) => [key, at(settings, key)]);
  return createHash('sha256').update(JSON.stringify(values)).digest('hex').slice(0, 16);
}

function at(settings: Settings, key: string): unknown {
  let value: unknown = settings;
  for (const part of key.split('.'))
    value = typeof value === 'object' && value !== null ? Reflect.get(value, part) : undefined;
  return value;
}
