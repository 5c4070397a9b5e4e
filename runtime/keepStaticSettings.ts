import { isDeepStrictEqual } from 'node:util';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { STATIC_KEYS } from '@pushcluster/protocol/staticSettings.ts';
import { checkSettings, SettingsError } from './parseSettings.ts';
import { valueAt } from './valueAt.ts';

/**
 * `wanted`, except that static settings keep their values of `running`. `pending` are the keys that differ.
 * @throws SettingsError if the two do not fit together
 */
export function keepStaticSettings(wanted: Settings, running: Settings): { next: Settings; pending: string[] } {
  const next = structuredClone(wanted);
  const pending = STATIC_KEYS.filter((key) => {
    const path = key.split('.');
    const value = valueAt(running, path);
    if (isDeepStrictEqual(valueAt(wanted, path), value)) return false;
    put(next, path, value);
    return true;
  });
  try {
    // Settings are checked against each other: the file may be valid, and not fit the values that stay.
    return { next: checkSettings(next), pending };
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    const staying = pending.join(', ');
    throw new SettingsError(
      error.problems.map((problem) => `${problem}; these settings keep their values until the next start: ${staying}`),
    );
  }
}

function put(object: object, path: readonly string[], value: unknown): void {
  const parent = valueAt(object, path.slice(0, -1));
  const key = path.at(-1);
  if (!isRecord(parent) || key === undefined) return;
  if (value === undefined) delete parent[key];
  else parent[key] = structuredClone(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
