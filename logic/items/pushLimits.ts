import { type FieldError, Problem } from '../errors/problem.ts';

/** Settings `logic.limits.items`, items in one push, and `logic.limits.item`, bytes of one item. */
export type PushLimits = { items: number; item: number };

/** Places named in one answer. */
const MAX_PLACES = 10;

/** Throws a Problem if `items` are none, too many, or if one is too large; the Problem names it by its index. */
export function checkItems(items: readonly Uint8Array[], limits: PushLimits): void {
  if (items.length === 0)
    throw new Problem('invalid_request', 'items must hold at least one item.', {
      errors: [{ pointer: '#/items', detail: 'must hold at least one item' }],
    });
  if (items.length > limits.items) {
    const detail = `holds ${items.length} items; at most ${limits.items} are allowed`;
    throw new Problem('too_many_items', `items ${detail}. Split the push.`, {
      errors: [{ pointer: '#/items', detail }],
    });
  }
  for (let i = 0; i < items.length; i++) if (items[i]!.length > limits.item) throw itemTooLarge(items, limits.item);
}

/** The Problem that names every item of more than `limit` bytes, up to ten of them. */
export function itemTooLarge(items: readonly Uint8Array[], limit: number): Problem {
  const errors: FieldError[] = [];
  let first = '';
  for (let i = 0; i < items.length && errors.length < MAX_PLACES; i++) {
    if (items[i]!.length <= limit) continue;
    const detail = `has ${items[i]!.length} bytes; at most ${limit} are allowed`;
    first ||= `items[${i}] ${detail}.`;
    errors.push({ pointer: `#/items/${i}`, detail });
  }
  return new Problem('item_too_large', first, { errors });
}

/** The Problem for a body over the setting `logic.limits.body`. @param limit bytes */
export function bodyTooLarge(limit: number): Problem {
  return new Problem('body_too_large', `The body is larger than the limit of ${limit} bytes. Split the push.`);
}
