/** Something that does its work over and over: milliseconds since it last did any. */
export type Loop = { readonly idleFor: number };

/** A watch is silent for 100 s at most and a list waits 15 s for each page; whoever asks to be asked later gets some more. */
const REFLECTOR_MS = 300_000;
/** A try takes 15 s at most, and the next one comes within seconds. */
const LOOP_MS = 60_000;

/**
 * What of the operator stands still, a sentence each. An API server that doesn't answer is no reason: everything tries
 * again, and a restart would help nobody.
 */
export function livenessProblems(parts: {
  reflectors: readonly (Loop & { kind: { plural: string } })[];
  elector: Loop;
  poller: Loop;
}): string[] {
  const found = parts.reflectors
    .filter(({ idleFor }) => idleFor > REFLECTOR_MS)
    .map(({ kind, idleFor }) => `${kind.plural} were neither listed nor watched for ${seconds(idleFor)}`);
  if (parts.elector.idleFor > LOOP_MS)
    found.push(`nobody looked after the lease for ${seconds(parts.elector.idleFor)}`);
  if (parts.poller.idleFor > LOOP_MS) found.push(`no pod was asked for ${seconds(parts.poller.idleFor)}`);
  return found;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1_000)} s`;
}
