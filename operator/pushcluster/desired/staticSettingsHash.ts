import { createHash } from 'node:crypto';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { STATIC_KEYS } from '@pushcluster/protocol/staticSettings.ts';
import { valueAt } from '@pushcluster/runtime/valueAt.ts';
import type { PushCluster } from '../../api/pushCluster.ts';
import { validSettings } from './validSettings.ts';

/**
 * Static settings that came after the first release. Such a key is left out at its default, so that an upgrade of the
 * operator rolls out no pods. Each new static key belongs here.
 */
const ADDED_LATER: ReadonlySet<string> = new Set(['gateway.consoleRoom', 'logic.tls']);
/** The default of all hosts in the first release. Today's default counts as this one, for the same reason. */
const FORMER_HOST = '0.0.0.0';
const DEFAULTS = Settings.parse({});

/**
 * Hash of a role's static settings, which pods read only at their start (`STATIC_KEYS`). It is an annotation of the pod
 * template: when it changes, the Deployment rolls out new pods.
 * @throws InvalidSettings
 */
export function staticSettingsHash(cluster: PushCluster, role: 'gateway' | 'logic'): string {
  const settings = withFormerDefaults(validSettings(cluster, role));
  const other = role === 'gateway' ? 'logic.' : 'gateway.';
  const isCounted = (key: string) => !ADDED_LATER.has(key) || at(settings, key) !== at(DEFAULTS, key);
  const keys = STATIC_KEYS.filter((key) => !key.startsWith(other) && isCounted(key));
  const values = keys.map((key) => [key, at(settings, key)]);
  return createHash('sha256').update(JSON.stringify(values)).digest('hex').slice(0, 16);
}

function withFormerDefaults(settings: Settings): Settings {
  const former = structuredClone(settings);
  for (const part of ['gateway', 'logic', 'admin'] as const)
    if (former[part].host === DEFAULTS[part].host) former[part].host = FORMER_HOST;
  return former;
}

function at(settings: Settings, key: string): unknown {
  return valueAt(settings, key.split('.'));
}
