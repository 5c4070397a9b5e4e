/** What a bus message says as JSON; undefined where `schema` does not take it. */
export function parseJson<T>(
  bytes: Uint8Array,
  schema: { safeParse(value: unknown): { success: true; data: T } | { success: false } },
): T | undefined {
  try {
    const parsed = schema.safeParse(JSON.parse(Buffer.from(bytes).toString()));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
