import { createHash } from 'node:crypto';

/**
 * The name of a cluster of this checkout's tests, such as `own-3f2a1c`. A cluster replaces the remains of an earlier one
 * of its name, so tests of two checkouts on one machine need different names.
 */
export function clusterName(what: string): string {
  const checkout = createHash('sha256')
    .update(import.meta.dirname)
    .digest('hex')
    .slice(0, 6);
  return `${what}-${checkout}`;
}
