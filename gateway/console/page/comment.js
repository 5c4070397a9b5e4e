/** Longest comment that the stage shows in full, in characters. */
const LONGEST = 120;

/**
 * An item as a comment: a string, or an object with `text`, `content`, `msg` or `message`, and perhaps `color`. Undefined
 * if the item is neither.
 *
 * @param {unknown} item
 * @returns {{ text: string, color: string | undefined } | undefined}
 */
export function commentOf(item) {
  if (typeof item === 'string') return { text: shorten(item), color: undefined };
  if (typeof item !== 'object' || item === null) return undefined;
  for (const key of ['text', 'content', 'msg', 'message']) {
    const text = Reflect.get(item, key);
    if (typeof text !== 'string') continue;
    const color = Reflect.get(item, 'color');
    return { text: shorten(text), color: typeof color === 'string' && color.length < 64 ? color : undefined };
  }
  return undefined;
}

/**
 * An item as text for a list.
 *
 * @param {unknown} item
 */
export function describe(item) {
  const comment = commentOf(item);
  return comment ? comment.text : clip(JSON.stringify(item), 1_000);
}

/**
 * @param {string} text
 * @param {number} longest
 */
export function clip(text, longest) {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}

/** @param {string} text */
function shorten(text) {
  return clip(text.replace(/\s+/g, ' '), LONGEST);
}
