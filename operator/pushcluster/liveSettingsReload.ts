import { createHash } from 'node:crypto';
import type { PushCluster } from '../api/pushCluster.ts';
import type { KubeObject } from '../kube/objects.ts';
import type { ClusterCache } from './clusterCache.ts';
import { SETTINGS_ANNOTATION } from './desired/names.ts';
import { settingsOf } from './desired/settingsConfigMap.ts';

/**
 * Makes running pods load a changed settings file within seconds. The kubelet updates a mounted ConfigMap about once a
 * minute, but immediately after an annotation of the pod changes: each pod is annotated with the hash of its settings.
 */
export async function reloadLiveSettings(
  cluster: PushCluster,
  cache: ClusterCache,
  patch: (pod: KubeObject, metadata: { annotations: Record<string, string> }) => Promise<void>,
): Promise<void> {
  for (const role of ['gateway', 'logic'] as const) {
    const hash = liveSettingsHash(cluster, role);
    for (const pod of cache.pods(cluster, role)) {
      const { annotations, deletionTimestamp } = pod.metadata;
      if (deletionTimestamp || annotations?.[SETTINGS_ANNOTATION] === hash) continue;
      await patch(pod, { annotations: { [SETTINGS_ANNOTATION]: hash } });
    }
  }
}

/** Hash of all settings of a role. The generation is left out: a change of scale alone reloads nothing. */
export function liveSettingsHash(cluster: PushCluster, role: 'gateway' | 'logic'): string {
  const { generation: _, ...settings } = settingsOf(cluster, role);
  return createHash('sha256').update(JSON.stringify(settings)).digest('hex').slice(0, 16);
}
