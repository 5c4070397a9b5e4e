import { systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import type { Client } from '../kube/client.ts';
import { isKubeError } from '../kube/errors.ts';
import { KINDS, type KubeObject } from '../kube/objects.ts';

/** Whether to restore the node's settings when the pod terminates. */
export type RestoreDecision = { restore: boolean; why: string };

const DaemonSet = z.looseObject({
  metadata: z.looseObject({ deletionTimestamp: z.string().optional() }),
  spec: z.looseObject({
    template: z.looseObject({
      spec: z.looseObject({ nodeSelector: z.record(z.string(), z.string()).nullish() }).optional(),
    }),
  }),
});

/**
 * Settings are restored if the DaemonSet was deleted, is being deleted, or no longer selects this node. They are kept
 * if the pod restarts, for example in a rolling update: the next pod continues with them.
 * @param daemonSet undefined if it does not exist
 */
export function restoreDecision(daemonSet: KubeObject | undefined, node: KubeObject | undefined): RestoreDecision {
  if (daemonSet === undefined) return { restore: true, why: 'the DaemonSet was deleted' };
  const { metadata, spec } = DaemonSet.parse(daemonSet);
  if (metadata.deletionTimestamp !== undefined) return { restore: true, why: 'the DaemonSet is being deleted' };
  const labels = node?.metadata.labels ?? {};
  const missing = Object.entries(spec.template.spec?.nodeSelector ?? {}).find(([key, value]) => labels[key] !== value);
  if (missing !== undefined)
    return {
      restore: true,
      why: `the DaemonSet requires the label ${missing.join('=')}, which the node does not have`,
    };
  return { restore: false, why: 'the DaemonSet still exists: the next pod continues' };
}

/**
 * Requests the DaemonSet and the node until the API server responds, for at most `patience` milliseconds. If the rights
 * for this are missing, they were deleted together with the DaemonSet.
 */
export async function requestRestoreDecision(
  client: Client,
  where: { namespace: string; daemonSet: string; node: string },
  { patience = 5_000, pause = 500 }: { patience?: number; pause?: number } = {},
): Promise<RestoreDecision> {
  const began = systemClock.now();
  for (;;) {
    try {
      return restoreDecision(await daemonSetOf(client, where), await nodeOf(client, where.node));
    } catch (error) {
      if (systemClock.now() - began < patience) {
        await new Promise((resolve) => setTimeout(resolve, pause));
        continue;
      }
      const said = error instanceof Error ? error.message : String(error);
      if (isKubeError(error, 'forbidden')) return { restore: true, why: `its rights were deleted (${said})` };
      return { restore: false, why: `unknown whether the DaemonSet still exists (${said})` };
    }
  }
}

/**
 * Deletes the DaemonSet and waits until its pods have terminated, each of which restores its node. False after
 * `patience`.
 */
export async function remove(
  client: Client,
  where: { namespace: string; daemonSet: string },
  { patience = 90_000, pause = 500 }: { patience?: number; pause?: number } = {},
): Promise<boolean> {
  const began = systemClock.now();
  await client.delete(refOf(where), {}, 'Foreground');
  while ((await daemonSetOf(client, where)) !== undefined) {
    if (systemClock.now() - began > patience) return false;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return true;
}

function daemonSetOf(client: Client, where: { namespace: string; daemonSet: string }): Promise<KubeObject | undefined> {
  return client.get(refOf(where));
}

function refOf({ namespace, daemonSet }: { namespace: string; daemonSet: string }) {
  const { apiVersion, kind } = KINDS.daemonSets;
  return { apiVersion, kind, metadata: { namespace, name: daemonSet } };
}

function nodeOf(client: Client, name: string): Promise<KubeObject | undefined> {
  const { apiVersion, kind } = KINDS.nodes;
  return client.get({ apiVersion, kind, metadata: { name } });
}
