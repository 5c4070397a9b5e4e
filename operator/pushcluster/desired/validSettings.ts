import { Settings } from '@pushcluster/protocol/settings.ts';
import { settingsProblems } from '@pushcluster/runtime/settingsProblems.ts';
import type { PushCluster } from '../../api/pushCluster.ts';
import { settingsOf } from './settingsConfigMap.ts';

/** Each field is valid, but together they are not. The message has one sentence for each problem. */
export class InvalidSettings extends Error {
  override name = 'InvalidSettings';
}

/**
 * The settings of a role as its pods will parse them, with defaults.
 * @throws InvalidSettings
 */
export function validSettings(cluster: PushCluster, role: 'gateway' | 'logic'): Settings {
  const result = Settings.safeParse(settingsOf(cluster, role), { reportInput: true });
  if (!result.success) throw new InvalidSettings(settingsProblems(Settings, result.error.issues).join('; '));
  return result.data;
}

/**
 * `gateway.drain`: how long a draining gateway accepts connections, and how long it moves them after that,
 * milliseconds.
 * @throws InvalidSettings
 */
export function gatewayDrain(cluster: PushCluster): { settle: number; timeout: number } {
  const { settle, timeout } = validSettings(cluster, 'gateway').gateway.drain;
  return { settle, timeout };
}

/**
 * Milliseconds that a pod takes to shut down at most.
 * @throws InvalidSettings
 */
export function shutdownTime(cluster: PushCluster, role: 'gateway' | 'logic'): number {
  const { settle, timeout } = validSettings(cluster, role)[role].drain;
  return settle + timeout;
}
