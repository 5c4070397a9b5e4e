import { Problem } from '../errors/problem.ts';
import { arrayItems } from '../items/jsonItems.ts';
import { requireUtf8 } from '../items/strictUtf8.ts';

const AMPERSAND = 0x26;
const EQUALS = 0x3d;
const PERCENT = 0x25;
const PLUS = 0x2b;
const SPACE = 0x20;

/** Fields that errors name. Other names are not repeated: a stranger chose them. */
const NAMED_FIELDS = new Set(['items', 'room']);

/**
 * The fields of an application/x-www-form-urlencoded body, decoded to bytes. Of fields with the same name the first one
 * counts, as in go-push. Not by URLSearchParams, which silently replaces bytes that are not UTF-8 by U+FFFD.
 * Throws Problem malformed_body.
 */
export function parseForm(body: Uint8Array): Map<string, Buffer> {
  const fields = new Map<string, Buffer>();
  for (let start = 0; start < body.length; ) {
    let end = body.indexOf(AMPERSAND, start);
    if (end < 0) end = body.length;
    const pair = body.subarray(start, end);
    start = end + 1;
    if (pair.length === 0) continue;
    const equals = pair.indexOf(EQUALS);
    const name = decode(equals < 0 ? pair : pair.subarray(0, equals), 'a field name').toString('utf8');
    if (fields.has(name)) continue;
    const what = NAMED_FIELDS.has(name) ? name : 'a field';
    const value = decode(equals < 0 ? pair.subarray(pair.length) : pair.subarray(equals + 1), what);
    fields.set(name, value);
  }
  return fields;
}

function decode(text: Uint8Array, what: string): Buffer {
  const bytes = Buffer.allocUnsafe(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i]!;
    if (byte === PLUS) {
      bytes[length++] = SPACE;
    } else if (byte === PERCENT) {
      const high = hexDigit(text[i + 1]);
      const low = hexDigit(text[i + 2]);
      if (high < 0 || low < 0)
        throw new Problem(
          'malformed_body',
          `${what} has a "%" without two hexadecimal digits after it: encode it as "%25".`,
        );
      bytes[length++] = high * 16 + low;
      i += 2;
    } else {
      bytes[length++] = byte;
    }
  }
  const decoded = bytes.subarray(0, length);
  requireUtf8(decoded, what, what === 'items' ? arrayItems : undefined);
  return decoded;
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}
