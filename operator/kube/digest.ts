import { createHash } from 'node:crypto';
import type { KubeObject } from './objects.ts';

/** Kinds whose content is only compared, never read. It may be large, so that only its digest is kept in memory. */
const COMPARED: ReadonlySet<string> = new Set(['ConfigMap', 'PrometheusRule']);

/** The object with a digest instead of its content if it is of such a kind; otherwise the object itself. */
export function withDigest(object: KubeObject): KubeObject {
  if (!COMPARED.has(object.kind) || 'digest' in object) return object;
  const { apiVersion, kind, metadata, ...content } = object;
  const compared = { apiVersion, kind, metadata, digest: digest(content) };
  return compared;
}

/** SHA-256 of a value as JSON. The order of keys does not matter. */
export function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(value)))
    .digest('base64');
}

/** Sorts keys: the API server returns them in an order of its own. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, each]) => [key, sorted(each)]));
}
