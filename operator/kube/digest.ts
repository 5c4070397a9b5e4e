import { createHash } from 'node:crypto';
import type { KubeObject } from './objects.ts';

/** Kinds of which only metadata is read: the rest is compared, and may be long. */
const COMPARED: ReadonlySet<string> = new Set(['ConfigMap', 'PrometheusRule']);

/** The object with a digest in place of its content, where that is only ever compared; any other, and one that has it, as it is. */
export function withDigest(object: KubeObject): KubeObject {
  if (!COMPARED.has(object.kind) || 'digest' in object) return object;
  const { apiVersion, kind, metadata, ...content } = object;
  const compared = { apiVersion, kind, metadata, digest: digest(content) };
  return compared;
}

/** The same for all values that are the same as JSON, whatever the order of their keys. */
export function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(value)))
    .digest('base64');
}

/** Keys in one order: the API server has its own. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  const entries = Object.entries(value).filter(([, each]) => each !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, each]) => [key, sorted(each)]));
}
