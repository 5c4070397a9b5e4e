/** An item with the mark of its writer, its number, and filling. */
export function markedItem(writer: string, n: number, filling = ''): string {
  return `{"w":"${writer}","n":${n},"t":"${filling}"}`;
}

export type Mark = { writer: string; n: number };

/** The mark of an item made by `markedItem`; undefined if the item has no mark. */
export function markOf(item: string): Mark | undefined {
  const [, writer, n] = /^\{"w":"([^"]+)","n":(\d+)/.exec(item) ?? [];
  return writer === undefined ? undefined : { writer, n: Number(n) };
}

/**
 * The text of each item of a PUSH frame, cut from the frame: parsing would lose how numbers and escapes were written.
 */
export function itemsOf(frame: string): string[] {
  const open = frame.indexOf('"items":[');
  if (open < 0 || !frame.endsWith(']}}')) throw new Error(`not a PUSH frame: ${frame.slice(0, 200)}`);
  const end = frame.length - 3;
  const items: string[] = [];
  let from = open + '"items":['.length;
  let depth = 0;
  let quoted = false;
  for (let i = from; i < end; i++) {
    const char = frame.charCodeAt(i);
    if (quoted) {
      if (char === BACKSLASH) i++;
      else if (char === QUOTE) quoted = false;
    } else if (char === QUOTE) quoted = true;
    else if (char === OPEN_BRACE || char === OPEN_BRACKET) depth++;
    else if (char === CLOSE_BRACE || char === CLOSE_BRACKET) depth--;
    else if (char === COMMA && depth === 0) {
      items.push(frame.slice(from, i));
      from = i + 1;
    }
  }
  items.push(frame.slice(from, end));
  return items;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
