import { Problem } from '../errors/problem.ts';
import { type ItemsOf, requireUtf8 } from './strictUtf8.ts';

/**
 * Items as the publisher wrote them: byte ranges of the request. JSON.parse decides whether the text is JSON, and which
 * of two equal keys counts (the last). The scanners here only find the ends of values in text known to be JSON.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/**
 * Parses `bytes` as strict UTF-8 and JSON. Throws Problem malformed_body, which says where the error is.
 * @param what subject of the error's sentence, such as `The body`
 * @param itemsOf finds the items in `bytes`: then the error names the item that is not UTF-8
 */
export function parseRequestJson(bytes: Uint8Array, what: string, itemsOf?: ItemsOf): unknown {
  requireUtf8(bytes, what, itemsOf);
  try {
    return JSON.parse(textOf(bytes));
  } catch (error) {
    throw new Problem('malformed_body', `${what} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/** The elements of a JSON array; they share the memory of `bytes`, which must be JSON whose value is an array. */
export function arrayItems(bytes: Uint8Array): Uint8Array[] {
  return elements(bytes, skipSpace(bytes, 0));
}

/**
 * The elements of the array under `key` of a JSON object; of the last one, if the key is repeated. They share the memory
 * of `bytes`, which must be JSON whose value is an object with an array under `key`: JSON.parse has shown that.
 */
export function memberItems(bytes: Uint8Array, key: string): Uint8Array[] {
  let found = -1;
  let at = skipSpace(bytes, skipSpace(bytes, 0) + 1);
  while (bytes[at] === QUOTE) {
    const end = stringEnd(bytes, at);
    const isKey = keyIs(bytes, at, end, key);
    // Past the key: the colon, then the value.
    at = skipSpace(bytes, skipSpace(bytes, end) + 1);
    if (isKey) found = at;
    at = skipSpace(bytes, valueEnd(bytes, at));
    if (bytes[at] === COMMA) at = skipSpace(bytes, at + 1);
  }
  if (bytes[found] !== OPEN_ARRAY) throw new TypeError(`no array under ${key}`);
  return elements(bytes, found);
}

function elements(bytes: Uint8Array, open: number): Uint8Array[] {
  const items: Uint8Array[] = [];
  let at = skipSpace(bytes, open + 1);
  while (bytes[at] !== CLOSE_ARRAY) {
    const end = valueEnd(bytes, at);
    items.push(bytes.subarray(at, end));
    at = skipSpace(bytes, end);
    if (bytes[at] !== COMMA) break;
    at = skipSpace(bytes, at + 1);
  }
  return items;
}

/** Whether the string from `start` to `end`, quotes included, is `key`. */
function keyIs(bytes: Uint8Array, start: number, end: number, key: string): boolean {
  const inner = bytes.subarray(start + 1, end - 1);
  // A key may be written with escapes: "\u0069tems" is "items".
  if (inner.includes(BACKSLASH)) return JSON.parse(textOf(bytes.subarray(start, end))) === key;
  return inner.length === Buffer.byteLength(key) && textOf(inner) === key;
}

/** The index behind the value that begins at `start`. */
function valueEnd(bytes: Uint8Array, start: number): number {
  const first = bytes[start];
  if (first === QUOTE) return stringEnd(bytes, start);
  if (first === OPEN_OBJECT || first === OPEN_ARRAY) return nestedEnd(bytes, start);
  let at = start;
  while (at < bytes.length && !endsScalar(bytes[at]!)) at++;
  return at;
}

function nestedEnd(bytes: Uint8Array, start: number): number {
  let depth = 0;
  let at = start;
  while (at < bytes.length) {
    const byte = bytes[at]!;
    if (byte === QUOTE) {
      at = stringEnd(bytes, at);
      continue;
    }
    at++;
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) depth++;
    else if ((byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) && --depth === 0) break;
  }
  return at;
}

function stringEnd(bytes: Uint8Array, start: number): number {
  let at = start + 1;
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at + 1;
}

function endsScalar(byte: number): boolean {
  return byte === COMMA || byte === CLOSE_ARRAY || byte === CLOSE_OBJECT || byte === COLON || isSpace(byte);
}

function skipSpace(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length && isSpace(bytes[at]!)) at++;
  return at;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
