import type { Settings } from '@pushcluster/protocol/settings.ts';
import { SettingsError } from '@pushcluster/runtime/parseSettings.ts';
import { TokenVerifier } from './tokenVerifier.ts';

/**
 * `settings`, where the files that tokens are checked with can be used. Throws SettingsError where not: shards that find
 * that out by themselves would stay with former settings, or not start again after a death.
 */
export function requireKeySource(settings: Settings): Settings {
  const { jwt } = settings.auth;
  if (jwt === undefined) return settings;
  try {
    new TokenVerifier(jwt).close();
  } catch (error) {
    throw new SettingsError([`auth.jwt: ${error instanceof Error ? error.message : String(error)}`]);
  }
  return settings;
}
