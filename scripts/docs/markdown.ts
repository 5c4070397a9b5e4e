import { slug } from '../../docs/site/slug.ts';

/** The parts of Markdown that the site and its checks use: links, headings and anchors. */

/** A link or an image in a text: `[label](target#anchor)`. */
export type Link = { target: string; anchor: string; isImage: boolean };

const FENCE = /^( {0,3})(```+|~~~+)[^\n]*\n[\s\S]*?^\1\2[^\n]*$/gm;
const CODE = /(`+)(?:(?!\1)[\s\S])*?[^`]\1(?!`)/g;
const LINK = /(!?)(\[(?:[^\][]|\[[^\]]*\])*\]\()([^)\s#]*)(#[^)\s]*)?((?:\s+"[^"]*")?\))/g;
/** A placeholder for inline code while links are replaced. No text contains this character. */
const HOLD = '\uE000';
const HELD = new RegExp(`${HOLD}(\\d+)${HOLD}`, 'g');
const HEADING = /^#{1,6} +(.+?) *#*$/gm;

/** All links and images of a text, except those in code. */
export function linksOf(markdown: string): Link[] {
  const links: Link[] = [];
  withLinks(markdown, (link) => {
    links.push(link);
    return link.target + link.anchor;
  });
  return links;
}

/** The text with each link's target and anchor replaced by what `replace` returns. Code stays as it is. */
export function withLinks(markdown: string, replace: (link: Link) => string): string {
  const replaceIn = (text: string): string =>
    text.replace(LINK, (_, bang: string, label: string, target: string, anchor: string | undefined, end: string) => {
      const to = replace({ target, anchor: anchor ?? '', isImage: bang === '!' });
      // The label of a link that is an image contains the image's own link.
      return `${bang}${label.slice(0, -2).includes('](') ? replaceIn(label) : label}${to}${end}`;
    });
  return outside(markdown, FENCE, (prose) => {
    // A label may contain inline code, but a link inside inline code is not a link. Therefore code is replaced by
    // placeholders.
    const codes: string[] = [];
    const held = prose.replace(CODE, (code) => `${HOLD}${codes.push(code) - 1}${HOLD}`);
    return replaceIn(held).replace(HELD, (_, index: string) => codes[Number(index)] ?? '');
  });
}

/** Anchors of the headings, in order. Repeated headings get a number, as on GitHub. */
export function anchorsOf(markdown: string): string[] {
  const seen = new Map<string, number>();
  const anchors: string[] = [];
  outside(markdown, FENCE, (prose) => {
    for (const [, title = ''] of prose.matchAll(HEADING)) {
      const anchor = slug(plain(title));
      const before = seen.get(anchor) ?? 0;
      seen.set(anchor, before + 1);
      anchors.push(before === 0 ? anchor : `${anchor}-${before}`);
    }
    return prose;
  });
  return anchors;
}

/** The text of the first heading; empty if there is none. */
export function titleOf(markdown: string): string {
  const [, title = ''] = /^# +(.+)$/m.exec(markdown) ?? [];
  return plain(title);
}

/** A heading as plain text, without the marks of code, emphasis and links. */
function plain(title: string): string {
  return title
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[`*]/g, '')
    .trim();
}

function outside(text: string, inside: RegExp, change: (text: string) => string): string {
  let result = '';
  let from = 0;
  for (const match of text.matchAll(inside)) {
    result += change(text.slice(from, match.index)) + match[0];
    from = match.index + match[0].length;
  }
  return result + change(text.slice(from));
}
