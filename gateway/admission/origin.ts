import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { matchesOrigin } from '@pushcluster/protocol/origins.ts';
import { clipped } from '@pushcluster/runtime/clipped.ts';
import type { Refusal } from './refusal.ts';

/** Characters of the origin that the refusal quotes. */
const MAX_QUOTED = 200;

/** Whether a page of this origin may connect. A client that sends no Origin is no browser and may. */
export function originAllowed(origin: string, allowed: readonly string[]): boolean {
  return origin === '' || allowed.length === 0 || allowed.some((pattern) => matchesOrigin(pattern, origin));
}

export function originRefusal(origin: string): Refusal {
  return {
    status: 403,
    code: 'origin',
    detail: `origin ${clipped(origin, MAX_QUOTED)} is not allowed`,
    closeCode: CloseCode.forbidden,
  };
}
