import { z } from 'zod';
import { GROUP, type PushCluster } from '../../api/pushCluster.ts';
import type { NatsSeen } from './context.ts';

/** Annotation of a PushCluster. When its value changes, the passwords of managed NATS are replaced. */
export const ROTATE_ANNOTATION = `${GROUP}/rotate-nats-passwords`;

/** How long pods are given to read new passwords from their files, milliseconds: the kubelet updates them in about two minutes. */
export const RELOAD_MS = 300_000;

/** One password for each role. */
export type Passwords = { gateway: string; logic: string; routes: string };

/** What a server is configured with. */
export type ServerPasswords = Passwords & {
  /** The password of routes to servers that do not have the present one yet. */
  formerRoutes?: string;
};

/**
 * The steps of a rotation. The Secret of the servers holds the step, the passwords and the next ones. A step begins only
 * once what it relies on was observed, so that it does not matter which of its writes are made first, or fail.
 * - begun: the files of the pods get the new password as a second line. Servers know only the former one.
 * - announced: the Secrets of the pods have both. Pods are given time to read them.
 * - accepted: servers are restarted one by one with the new passwords. Pods try both.
 * Without a step, the rotation `of` that value of the annotation is done.
 */
const Rotation = z.union([
  z.object({ of: z.string(), step: z.undefined().optional() }),
  z.object({
    of: z.string(),
    step: z.enum(['begun', 'announced', 'accepted']),
    next: z.object({ gateway: z.string(), logic: z.string(), routes: z.string() }),
    /** Milliseconds since 1970; of `announced`. */
    since: z.number().default(0),
  }),
]);
export type Rotation = z.infer<typeof Rotation>;

/** What servers and pods have in a step. */
export type Rotated = {
  accepted: ServerPasswords;
  /** The passwords that gateways and logic try in turn. */
  tried: { gateway: string[]; logic: string[] };
};

/** The rotation in the data (base64) of the Secret of the servers. */
export function rotationIn(data: Readonly<Record<string, string>> | undefined): Rotation | undefined {
  try {
    return Rotation.parse(JSON.parse(Buffer.from(data?.rotation ?? '', 'base64').toString('utf8')));
  } catch {
    return undefined;
  }
}

export type Found = {
  kept: Rotation | undefined;
  /** Whether servers have been set up before. */
  isNew: boolean;
  current: Passwords;
  /** The passwords in the Secrets of the pods. */
  files: { gateway: readonly string[]; logic: readonly string[] };
  seen: NatsSeen | undefined;
  random: () => string;
  /** Whether all servers run with the configuration that has these passwords. */
  isRunning: (passwords: ServerPasswords) => boolean;
};

/** The rotation after `found.kept`: the same as long as there is nothing to do. */
export function nextRotation({ metadata }: Pick<PushCluster, 'metadata'>, found: Found): Rotation | undefined {
  const { kept, isNew, files, seen, random } = found;
  const asked = metadata.annotations?.[ROTATE_ANNOTATION];
  if (kept?.step === undefined) {
    if (asked === undefined || asked === kept?.of) return kept;
    // The first passwords are new anyway.
    if (isNew) return { of: asked };
    if (seen === undefined) return kept;
    return { of: asked, step: 'begun', next: { gateway: random(), logic: random(), routes: random() }, since: 0 };
  }
  const { of, next, step, since } = kept;
  const areTold = files.gateway.includes(next.gateway) && files.logic.includes(next.logic);
  if (step === 'begun') return areTold && seen ? { ...kept, step: 'announced', since: seen.now } : kept;
  if (step === 'announced')
    return areTold && seen && seen.now - since >= RELOAD_MS ? { ...kept, step: 'accepted' } : kept;
  return found.isRunning(rotatedBy(kept, found.current).accepted) ? { of } : kept;
}

/** What servers and pods have while this rotation is `current`'s. */
export function rotatedBy(rotation: Rotation | undefined, current: Passwords): Rotated {
  if (rotation?.step === undefined)
    return { accepted: current, tried: { gateway: [current.gateway], logic: [current.logic] } };
  const { next, step } = rotation;
  const both = (role: 'gateway' | 'logic') => [...new Set([current[role], next[role]])];
  const tried = { gateway: both('gateway'), logic: both('logic') };
  return { accepted: step === 'accepted' ? { ...next, formerRoutes: current.routes } : current, tried };
}

/** Milliseconds until a rotation goes on by itself. */
export function rotationAgainIn(rotation: Rotation | undefined, now: number): number | undefined {
  return rotation?.step === 'announced' ? Math.max(1_000, rotation.since + RELOAD_MS - now) : undefined;
}

/** What is under way, for the status. */
export function rotationMessage(rotation: Rotation | undefined): string | undefined {
  if (rotation?.step === undefined) return undefined;
  return rotation.step === 'accepted'
    ? 'passwords of NATS are rotated: servers are restarted with the new ones'
    : 'passwords of NATS are rotated: pods are given five minutes to read the new ones';
}
