type Schema<T> = { safeParse(value: unknown): { success: true; data: T } | { success: false } };

/** The value of a JSON text or of its UTF-8 bytes; undefined if it is not JSON. */
export function parseJson(json: string | Uint8Array): unknown;
/** The same, as `schema` returns it; undefined if it is not JSON or does not fit `schema`. */
export function parseJson<T>(json: string | Uint8Array, schema: Schema<T>): T | undefined;
export function parseJson<T>(json: string | Uint8Array, schema?: Schema<T>): unknown {
  let value: unknown;
  try {
    value = JSON.parse(typeof json === 'string' ? json : textOf(json));
  } catch {
    return undefined;
  }
  if (!schema) return value;
  const parsed = schema.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}
