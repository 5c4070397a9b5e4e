/** A loop that runs periodically. `idleFor`: milliseconds since its last run. */
export type Loop = { readonly idleFor: number };

/** A watch is silent for at most 100 s, and a list waits at most 15 s for each page. Retry-After may add to that. */
const REFLECTOR_MS = 300_000;
/** An attempt takes at most 15 s, and the next one follows within seconds. */
const LOOP_MS = 60_000;

/**
 * Why the liveness probe fails: loops that no longer run. An API server that does not respond is no reason, since every
 * loop retries and a restart would not help.
 */
export function livenessProblems(parts: {
  reflectors: readonly (Loop & { kind: { plural: string } })[];
  /** Undefined while the operator does not campaign, because it cannot work. */
  elector: Loop | undefined;
  poller: Loop;
}): string[] {
  const found = parts.reflectors
    .filter(({ idleFor }) => idleFor > REFLECTOR_MS)
    .map(({ kind, idleFor }) => `${kind.plural} have not been listed or watched for ${seconds(idleFor)}`);
  if (parts.elector && parts.elector.idleFor > LOOP_MS)
    found.push(`the lease has not been checked for ${seconds(parts.elector.idleFor)}`);
  if (parts.poller.idleFor > LOOP_MS) found.push(`no pod has been polled for ${seconds(parts.poller.idleFor)}`);
  return found;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}
