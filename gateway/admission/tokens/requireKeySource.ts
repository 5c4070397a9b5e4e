import type { Settings } from '@pushcluster/protocol/settings.ts';
import { SettingsError } from '@pushcluster/runtime/parseSettings.ts';
import { TokenVerifier } from './tokenVerifier.ts';

/**
 * Returns `settings` if the files that tokens are checked with can be used. Throws SettingsError if not, before any shard gets
 * these settings: a shard could only keep its former ones, or after a restart serve without a verifier.
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
