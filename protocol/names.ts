/** Longest name of a room or user, in bytes of UTF-8. */
export const MAX_NAME_BYTES = 128;

const encoder = /* @__PURE__ */ new TextEncoder();
/** Half a character alone. (`isWellFormed` needs newer browsers than the SDK.) */
const LONE = /* @__PURE__ */ /\p{Surrogate}/u;

/** Why `name` can't be a room or a user; undefined where it can: any UTF-8 of 1 to 128 bytes. */
export function nameProblem(name: unknown): string | undefined {
  if (typeof name !== 'string') return 'must be a string';
  if (name.length === 0) return 'must not be empty';
  if (LONE.test(name)) return 'must be well-formed Unicode';
  // A UTF-16 unit takes three bytes at most: short names, nearly all, need no encoding to be measured.
  const mayBeTooLong = name.length * 3 > MAX_NAME_BYTES;
  if (name.length > MAX_NAME_BYTES || (mayBeTooLong && encoder.encode(name).length > MAX_NAME_BYTES))
    return `must be at most ${MAX_NAME_BYTES} bytes of UTF-8`;
  return undefined;
}
