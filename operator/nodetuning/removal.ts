import { z } from 'zod';
import type { Client } from '../kube/client.ts';
import { isKubeError } from '../kube/errors.ts';
import { KINDS, type KubeObject } from '../kube/objects.ts';

/** What to do with the node's values when the pod is told to end. */
export type Fate = { restore: boolean; why: string };

const DaemonSet = z.looseObject({
  metadata: z.looseObject({ deletionTimestamp: z.string().optional() }),
  spec: z.looseObject({
    template: z.looseObject({
      spec: z.looseObject({ nodeSelector: z.record(z.string(), z.string()).nullish() }).optional(),
    }),
  }),
});

/**
 * Values are put back where the DaemonSet is gone, is being deleted, or means this node no longer; in a rolling update, a
 * restart of the pod or of the machine they stay, and the next pod finds them as they are.
 * @param daemonSet as the API server has it, or undefined where it has none
 */
export function fateOf(daemonSet: KubeObject | undefined, node: KubeObject | undefined): Fate {
  if (daemonSet === undefined) return { restore: true, why: 'its DaemonSet is gone' };
  const { metadata, spec } = DaemonSet.parse(daemonSet);
  if (metadata.deletionTimestamp !== undefined) return { restore: true, why: 'its DaemonSet is being deleted' };
  const labels = node?.metadata.labels ?? {};
  const missing = Object.entries(spec.template.spec?.nodeSelector ?? {}).find(([key, value]) => labels[key] !== value);
  if (missing !== undefined)
    return { restore: true, why: `its DaemonSet wants the label ${missing.join('=')}, which the node does not have` };
  return { restore: false, why: 'its DaemonSet is still there: the next pod goes on with it' };
}

/**
 * Asks the API server until it answers, at most `patience` milliseconds. Rights that are there at the start and not at the
 * end were removed with everything else.
 */
export async function askFate(
  client: Client,
  where: { namespace: string; daemonSet: string; node: string },
  { patience = 5_000, pause = 500 }: { patience?: number; pause?: number } = {},
): Promise<Fate> {
  const began = performance.now();
  for (;;) {
    try {
      return fateOf(await daemonSetOf(client, where), await nodeOf(client, where.node));
    } catch (error) {
      if (performance.now() - began < patience) {
        await new Promise((resolve) => setTimeout(resolve, pause));
        continue;
      }
      const said = error instanceof Error ? error.message : String(error);
      if (isKubeError(error, 'forbidden')) return { restore: true, why: `its rights are gone (${said})` };
      return { restore: false, why: `whether its DaemonSet is still there is unknown (${said})` };
    }
  }
}

/** Deletes the DaemonSet and waits until its pods have ended, each of which puts its node's values back. */
export async function remove(
  client: Client,
  where: { namespace: string; daemonSet: string },
  { patience = 90_000, pause = 500 }: { patience?: number; pause?: number } = {},
): Promise<boolean> {
  const began = performance.now();
  await client.delete(refOf(where), {}, 'Foreground');
  while ((await daemonSetOf(client, where)) !== undefined) {
    if (performance.now() - began > patience) return false;
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
