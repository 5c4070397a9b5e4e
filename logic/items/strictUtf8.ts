import { isUtf8 } from 'node:buffer';
import { Problem } from '../errors/problem.ts';

/** Finds the items in a request's bytes: `arrayItems`, or `memberItems` of a key (jsonItems.ts). */
export type ItemsOf = (bytes: Uint8Array) => Uint8Array[];

/**
 * Throws Problem malformed_body if `bytes` is not UTF-8; it names the first wrong byte, counted from 0.
 * @param what subject of the error's sentence, such as `The body`
 * @param itemsOf finds the items in `bytes`: then the error names the item that is not UTF-8
 */
export function requireUtf8(bytes: Uint8Array, what: string, itemsOf?: ItemsOf): void {
  if (isUtf8(bytes)) return;
  const { at, text } = utf8Flaw(bytes);
  const item = itemsOf ? itemAround(bytes, at, itemsOf) : -1;
  if (item < 0) throw new Problem('malformed_body', `${what} is not valid UTF-8: ${text}.`);
  throw new Problem('malformed_body', `${what} is not valid UTF-8: ${text}, in items[${item}].`, {
    errors: [{ pointer: `#/items/${item}`, detail: 'is not valid UTF-8' }],
  });
}

/** The index of the item that holds the byte `at`; -1 if none does. Bytes that are not UTF-8 may not be JSON either: then -1 too. */
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

/** Why `bytes` is not UTF-8, and the first byte that can't follow those before it. */
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

/** Whether `bytes` can be the beginning of UTF-8: its last character may be cut short. */
function isPrefix(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}
