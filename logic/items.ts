import { isUtf8 } from 'node:buffer';
import { type Complaint, Problem } from './problems.ts';

/**
 * Items as the publisher wrote them: byte ranges of the request. JSON.parse decides whether the text is JSON and which
 * of two equal keys counts (the last); the scanners here only find where values begin and end in text known to be JSON.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** `arrayItems`, or `memberItems` of a key. */
type ItemsOf = (bytes: Uint8Array) => Uint8Array[];

/**
 * Parses `bytes` as strict UTF-8 and JSON. Throws Problem malformed_body that says where; `what` is its subject, such as
 * `The body`.
 * @param itemsOf where items are in `bytes`, if anywhere: the one that is no UTF-8 is named
 */
export function parseJson(bytes: Uint8Array, what: string, itemsOf?: ItemsOf): unknown {
  requireUtf8(bytes, what, itemsOf);
  try {
    return JSON.parse(textOf(bytes));
  } catch (error) {
    throw new Problem('malformed_body', `${what} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/** Throws Problem malformed_body where `bytes` is not UTF-8; like `parseJson`. */
export function requireUtf8(bytes: Uint8Array, what: string, itemsOf?: ItemsOf): void {
  if (isUtf8(bytes)) return;
  const { at, text } = utf8Flaw(bytes);
  const item = itemsOf ? itemAround(bytes, at, itemsOf) : -1;
  if (item < 0) throw new Problem('malformed_body', `${what} is not valid UTF-8: ${text}.`);
  throw new Problem('malformed_body', `${what} is not valid UTF-8: ${text}, in items[${item}].`, {
    errors: [{ pointer: `#/items/${item}`, detail: 'is not valid UTF-8' }],
  });
}

/** The elements of a JSON array, sharing `bytes`. `bytes` must be JSON whose value is an array. */
export function arrayItems(bytes: Uint8Array): Uint8Array[] {
  return elements(bytes, skipSpace(bytes, 0));
}

/**
 * The elements of the array under `key` of a JSON object, sharing `bytes`; of the last, where the key is repeated.
 * `bytes` must be JSON whose value is an object with an array under `key`, which JSON.parse has shown.
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

/** Throws a Problem that names the item where `items` are too many, too few, or one is too large. */
export function checkItems(items: readonly Uint8Array[], limits: { items: number; item: number }): void {
  if (items.length === 0)
    throw new Problem('invalid_request', 'items must hold at least one item.', {
      errors: [{ pointer: '#/items', detail: 'must hold at least one item' }],
    });
  if (items.length > limits.items)
    throw new Problem(
      'too_many_items',
      `items holds ${items.length} items; at most ${limits.items} are allowed. Split the push.`,
      { errors: [{ pointer: '#/items', detail: `holds ${items.length} items; at most ${limits.items} are allowed` }] },
    );
  for (let i = 0; i < items.length; i++) if (items[i]!.length > limits.item) throw itemTooLarge(items, limits.item);
}

/** The Problem that names every item over `limit` bytes, up to ten of them. */
export function itemTooLarge(items: readonly Uint8Array[], limit: number): Problem {
  const errors: Complaint[] = [];
  let first = '';
  for (let i = 0; i < items.length && errors.length < 10; i++) {
    if (items[i]!.length <= limit) continue;
    const detail = `has ${items[i]!.length} bytes; at most ${limit} are allowed`;
    first ||= `items[${i}] ${detail}.`;
    errors.push({ pointer: `#/items/${i}`, detail });
  }
  return new Problem('item_too_large', first, { errors });
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
  // A key may be spelt with escapes: "\u0069tems" is "items".
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

/** The index of the item that holds the byte `at`, or -1. What isn't UTF-8 need not be JSON either: then no item is. */
function itemAround(bytes: Uint8Array, at: number, itemsOf: ItemsOf): number {
  let items: Uint8Array[];
  try {
    items = itemsOf(bytes);
  } catch {
    return -1;
  }
  const offset = bytes.byteOffset + at;
  return items.findIndex((item) => item.byteOffset <= offset && offset < item.byteOffset + item.length);
}

/** Why `bytes` is not UTF-8: counted from 0, the byte that can't stand where it does. */
function utf8Flaw(bytes: Uint8Array): { at: number; text: string } {
  if (isPrefix(bytes)) return { at: bytes.length, text: 'it ends in the middle of a character' };
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (isPrefix(bytes.subarray(0, middle))) good = middle;
    else bad = middle;
  }
  return { at: good, text: `byte ${good} is wrong` };
}

/** Whether `bytes` can be the beginning of UTF-8: a last character may be cut. */
function isPrefix(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
