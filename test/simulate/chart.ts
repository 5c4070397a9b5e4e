import { amount } from '@pushcluster/gateway/plan/summary.ts';

/** Line charts over one time axis, as an SVG file that follows the reader's light or dark color scheme. */

export type Line = { name: string; colour: 'blue' | 'orange' | 'green'; points: readonly number[] };
export type Panel = { title: string; lines: readonly Line[]; format?: (value: number) => string };

const WIDTH = 760;
const HEIGHT = 150;
const LEFT = 78;
const RIGHT = 16;
const TOP = 56;
const GAP = 44;
/** Maximum number of points of a line. Of the points in between, the highest and the lowest are kept. */
const POINTS = 240;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #586170 }
  .title { font-weight: 600; fill: #171a21 }
  .head { font-size: 15px; font-weight: 600; fill: #171a21 }
  .ground { fill: #ffffff }
  .grid { stroke: #e0e4ea }
  .line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
  .blue { stroke: #4353d9 } .orange { stroke: #c2570c } .green { stroke: #14804a }
  @media (prefers-color-scheme: dark) {
    text { fill: #98a2b3 }
    .title, .head { fill: #e7eaf0 }
    .ground { fill: #151920 }
    .grid { stroke: #262c37 }
    .blue { stroke: #8f9bff } .orange { stroke: #f0b34a } .green { stroke: #4cc38a }
  }`;

/**
 * Draws the panels as SVG.
 * @param times seconds, one for each point of every line
 */
export function chart(title: string, times: readonly number[], panels: readonly Panel[]): string {
  const height = TOP + panels.length * (HEIGHT + GAP);
  const end = times.at(-1) ?? 0;
  const x = (seconds: number) => LEFT + (seconds / Math.max(end, 1e-9)) * (WIDTH - LEFT - RIGHT);
  const parts = panels.flatMap((panel, i) => drawn(panel, TOP + i * (HEIGHT + GAP), times, x));
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    `<rect class="ground" width="${WIDTH}" height="${height}" rx="8"/>`,
    `<text class="head" x="16" y="26">${escaped(title)}</text>`,
    ...parts,
    '</svg>',
  ].join('\n')}\n`;
}

function drawn(panel: Panel, top: number, times: readonly number[], x: (seconds: number) => number): string[] {
  const { title, lines, format = amount } = panel;
  const most = ceiling(Math.max(0, ...lines.map(({ points }) => Math.max(0, ...points))));
  const y = (value: number) => top + HEIGHT - (value / most) * HEIGHT;
  const parts = [`<text class="title" x="${LEFT}" y="${top - 8}">${escaped(title)}</text>`];
  let right = WIDTH - RIGHT;
  for (const { name, colour } of lines.toReversed()) {
    parts.push(`<text x="${right}" y="${top - 8}" text-anchor="end">${escaped(name)}</text>`);
    right -= 7 * name.length + 8;
    parts.push(`<path class="line ${colour}" d="M${right - 18} ${top - 12}h18"/>`);
    right -= 34;
  }
  for (const share of [0, 0.5, 1]) {
    const at = round(y(most * share));
    parts.push(`<path class="grid" d="M${LEFT} ${at}H${WIDTH - RIGHT}"/>`);
    parts.push(`<text x="${LEFT - 8}" y="${at + 4}" text-anchor="end">${escaped(format(most * share))}</text>`);
  }
  const end = times.at(-1) ?? 0;
  for (const seconds of ticks(end))
    parts.push(`<text x="${round(x(seconds))}" y="${top + HEIGHT + 18}" text-anchor="middle">${seconds} s</text>`);
  for (const { colour, points } of lines) {
    const path = thinned(points)
      .map((i) => `${round(x(times[i]!))} ${round(y(points[i]!))}`)
      .join('L');
    parts.push(`<path class="line ${colour}" d="M${path}"/>`);
  }
  return parts;
}

/** Indices of points that keep the shape of the line, its peaks included. */
function thinned(points: readonly number[]): number[] {
  const stride = Math.max(1, Math.ceil((2 * points.length) / POINTS));
  const kept: number[] = [];
  for (let from = 0; from < points.length; from += stride) {
    const part = Array.from({ length: Math.min(stride, points.length - from) }, (_, i) => from + i);
    const low = part.reduce((a, b) => (points[b]! < points[a]! ? b : a));
    const high = part.reduce((a, b) => (points[b]! > points[a]! ? b : a));
    kept.push(...new Set([Math.min(low, high), Math.max(low, high)]));
  }
  return kept;
}

/** The smallest 1, 2, 2.5 or 5 times a power of ten that is at least `value`. */
function ceiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 2.5, 5].find((step) => step * power >= value * 0.999) ?? 10) * power;
}

function ticks(end: number): number[] {
  const step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600].find((each) => end / each <= 8) ?? 1_200;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
