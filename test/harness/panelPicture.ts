import { legendOf, type Panel } from './dashboardQueries.ts';
import type { Series } from './prometheus.ts';

/**
 * Draws panels as SVG from query results of Prometheus: a small renderer for the docs, not Grafana. It supports the
 * kinds of panels that the chart's dashboards use.
 */

/** The result of a panel's query, and the format of its legend. */
export type Found = { legend: string; series: readonly Series[] };
export type Span = { from: number; to: number };

const COLORS = ['#3b82c4', '#e07b39', '#3f9c6b', '#b2578f', '#8a6fd1', '#b99a2b', '#4aa3a2', '#c94f4f', '#6b7280'];
const HEADER = 26;
const LEGEND = 44;
const [LEFT, RIGHT] = [58, 12];
/** Legends: number of lines; height of a line and width of a character in pixels. */
const [LEGEND_LINES, LEGEND_LINE, LETTER] = [2, 14, 6];
const MOST_ROWS = 8;

/**
 * Draws a panel.
 * @param size pixels
 */
export function panelPicture(
  panel: Panel,
  found: readonly Found[],
  span: Span,
  size: { width: number; height: number },
): string {
  const { width, height } = size;
  const body = bodyOf(panel, found, span, size);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="DejaVu Sans, sans-serif">
    <rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="3" fill="#fff" stroke="#dcdfe4"/>
    <text x="10" y="18" font-size="12" font-weight="600" fill="#24292f">${escaped(panel.title)}</text>${body}</svg>`;
}

function bodyOf(panel: Panel, found: readonly Found[], span: Span, size: { width: number; height: number }): string {
  switch (panel.type) {
    case 'timeseries':
      return linesOf(panel, found, span, size);
    case 'stat':
      return numberOf(panel, found, span, size);
    case 'heatmap':
      return heatOf(found, span, size);
    case 'table':
      return tableOf(found, size);
    default:
      throw new Error(`panels of type ${panel.type} can't be drawn: ${panel.title}`);
  }
}

function linesOf(
  panel: Panel,
  found: readonly Found[],
  { from, to }: Span,
  { width, height }: { width: number; height: number },
): string {
  const lines = found.flatMap(({ legend, series }) =>
    series.map(({ labels, points }) => ({ name: legendOf(legend, labels), points })),
  );
  const { unit, max } = panel.fieldConfig.defaults;
  const most = Math.max(...lines.flatMap(({ points }) => points.map(({ value }) => value)).filter(Number.isFinite), 0);
  const top = max ?? (unit === 'bytes' ? niceAbove(most / 2 ** 20) * 2 ** 20 : niceAbove(most));
  const bottom = height - LEGEND - 18;
  const x = (at: number) => LEFT + ((at - from) / (to - from)) * (width - LEFT - RIGHT);
  const y = (value: number) => bottom - (Math.min(value, top) / top) * (bottom - HEADER - 8);
  const paths = lines.map(({ points }, i) => {
    let path = '';
    let last = Number.NEGATIVE_INFINITY;
    for (const { at, value } of points) {
      if (!Number.isFinite(value)) continue;
      path += `${at - last > 3 * stepOf(points) ? 'M' : 'L'}${x(at).toFixed(1)},${y(value).toFixed(1)}`;
      last = at;
    }
    return `<path d="${path}" fill="none" stroke="${COLORS[i % COLORS.length]}" stroke-width="1.5" stroke-linejoin="round"/>`;
  });
  const grid = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const at = y(share * top).toFixed(1);
    return `<line x1="${LEFT}" x2="${width - RIGHT}" y1="${at}" y2="${at}" stroke="#eef0f3"/>
      <text x="${LEFT - 6}" y="${Number(at) + 3.5}" font-size="9.5" text-anchor="end" fill="#6b7280">${inUnit(share * top, unit)}</text>`;
  });
  return [
    ...grid,
    ...clock({ from, to }, width, bottom),
    ...paths,
    ...legends(
      lines.map(({ name }) => name),
      width,
      height,
    ),
  ].join('');
}

function numberOf(
  panel: Panel,
  found: readonly Found[],
  { from, to }: Span,
  { width, height }: { width: number; height: number },
): string {
  const points = (found[0]?.series[0]?.points ?? []).filter(({ value }) => Number.isFinite(value));
  const top = Math.max(...points.map(({ value }) => value), 1e-9);
  const x = (at: number) => 1 + ((at - from) / (to - from)) * (width - 2);
  const y = (value: number) => height - 2 - (value / top) * (height * 0.3);
  const path = points.map(({ at, value }) => `L${x(at).toFixed(1)},${y(value).toFixed(1)}`).join('');
  const [first, last] = [points[0], points.at(-1)];
  const area = first && last ? `M${x(first.at)},${height - 2}${path}L${x(last.at)},${height - 2}Z` : '';
  return `<path d="${area}" fill="#3b82c4" fill-opacity="0.18"/>
    <text x="${width / 2}" y="${height * 0.6}" font-size="26" font-weight="600" text-anchor="middle" fill="#24292f">${
      last ? inUnit(last.value, panel.fieldConfig.defaults.unit) : '–'
    }</text>`;
}

function heatOf(
  found: readonly Found[],
  { from, to }: Span,
  { width, height }: { width: number; height: number },
): string {
  const bounds = [...(found[0]?.series ?? [])].sort((a, b) => boundOf(a) - boundOf(b));
  const bottom = height - 20;
  // Buckets are cumulative: the count of one bucket is its value minus the value of the bucket below.
  const cells = bounds.map(({ points }, i) => {
    const below = new Map(bounds[i - 1]?.points.map(({ at, value }) => [at, value]));
    return points.map(({ at, value }) => ({ at, value: Math.max(0, value - (below.get(at) ?? 0)) }));
  });
  const used = cells.map((points) => points.some(({ value }) => value > 1e-9));
  const [low, high] = [Math.max(0, used.indexOf(true) - 1), Math.min(cells.length - 1, used.lastIndexOf(true) + 1)];
  const most = Math.max(...cells.flat().map(({ value }) => value), 1e-9);
  const step = stepOf(bounds[0]?.points ?? []);
  const tall = (bottom - HEADER - 8) / (high - low + 1);
  const wide = (step / (to - from)) * (width - LEFT - RIGHT);
  const parts: string[] = [];
  for (let i = low; i <= high; i++) {
    const y = bottom - (i - low + 1) * tall;
    const bound = boundOf(bounds[i] ?? { labels: {}, points: [] });
    const text = Number.isFinite(bound) ? inUnit(bound, 's') : 'more';
    parts.push(`<text x="${LEFT - 6}" y="${y + 4}" font-size="9.5" text-anchor="end" fill="#6b7280">${text}</text>`);
    for (const { at, value } of cells[i] ?? []) {
      if (value <= 1e-9) continue;
      const x = LEFT + ((at - from) / (to - from)) * (width - LEFT - RIGHT) - wide;
      if (x < LEFT - 1) continue;
      parts.push(
        `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" width="${(wide - 0.4).toFixed(2)}" height="${(tall - 0.8).toFixed(2)}" fill="#1f5f99" fill-opacity="${(0.12 + 0.88 * Math.sqrt(value / most)).toFixed(2)}"/>`,
      );
    }
  }
  return [...clock({ from, to }, width, bottom), ...parts].join('');
}

function tableOf(found: readonly Found[], { width, height }: { width: number; height: number }): string {
  const rows = found.flatMap(({ legend, series }) =>
    series.map(({ labels, points }) => [legendOf(legend, labels), String(points.at(-1)?.value ?? '')] as const),
  );
  const shown = rows.slice(0, Math.min(rows.length, Math.max(MOST_ROWS, Math.floor((height - HEADER - 10) / 22))));
  return shown
    .map(([name, value], i) => {
      const y = HEADER + 20 + i * 22;
      return `<text x="14" y="${y}" font-size="11" fill="#24292f">${escaped(name)}</text>
        <text x="${width - 16}" y="${y}" font-size="11" text-anchor="end" fill="#24292f">${escaped(value)}</text>
        <line x1="10" x2="${width - 10}" y1="${y + 7}" y2="${y + 7}" stroke="#eef0f3"/>`;
    })
    .join('');
}

/** As many complete names as fit, and the number of the others. */
function legends(names: readonly string[], width: number, height: number): string[] {
  for (let count = names.length; count > 0; count--) {
    const more = count < names.length ? [`and ${names.length - count} more`] : [];
    const placed = inLines([...names.slice(0, count), ...more], width - LEFT - RIGHT);
    if (count > 1 && placed.some(({ line }) => line >= LEGEND_LINES)) continue;
    return placed.map(({ name, x, line }, i) => {
      const [left, y] = [LEFT + x, height - LEGEND + 20 + line * LEGEND_LINE];
      const mark = `<rect x="${left}" y="${y - 5}" width="9" height="3" fill="${COLORS[i % COLORS.length]}"/>`;
      return `${i < count ? mark : ''}<text x="${left + 13}" y="${y}" font-size="9.5" fill="#57606a">${escaped(name)}</text>`;
    });
  }
  return [];
}

/** Places the names next to each other, in as many lines as needed. */
function inLines(names: readonly string[], width: number): { name: string; x: number; line: number }[] {
  let [x, line] = [0, 0];
  return names.map((name) => {
    const wide = 13 + name.length * LETTER;
    if (x > 0 && x + wide > width) [x, line] = [0, line + 1];
    const placed = { name, x, line };
    x += wide + 14;
    return placed;
  });
}

function clock({ from, to }: Span, width: number, bottom: number): string[] {
  return [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const x = LEFT + share * (width - LEFT - RIGHT);
    const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle';
    const text = `${Math.round(share * (to - from))} s`;
    return `<text x="${x}" y="${bottom + 13}" font-size="9.5" text-anchor="${anchor}" fill="#6b7280">${text}</text>`;
  });
}

/** Formats a value in a unit of Grafana. */
export function inUnit(value: number, unit: string): string {
  switch (unit) {
    case 'percentunit':
      return `${digits(value * 100)} %`;
    case 's':
      return value >= 1 || value === 0
        ? `${digits(value)} s`
        : value >= 0.001
          ? `${digits(value * 1e3)} ms`
          : `${digits(value * 1e6)} µs`;
    case 'bytes':
      return value >= 2 ** 30
        ? `${digits(value / 2 ** 30)} GiB`
        : value >= 2 ** 20
          ? `${digits(value / 2 ** 20)} MiB`
          : value >= 1_024
            ? `${digits(value / 1_024)} KiB`
            : `${digits(value)} B`;
    case 'ops':
    case 'reqps':
      return `${short(value)}/s`;
    default:
      return short(value);
  }
}

function short(value: number): string {
  return value >= 1e6 ? `${digits(value / 1e6)} M` : value >= 1e4 ? `${digits(value / 1e3)} k` : digits(value);
}

function digits(value: number): string {
  return Number(value.toPrecision(3)).toString();
}

/** The smallest 1, 2 or 5 times a power of ten that is at least the value. */
export function niceAbove(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= value * 1.001) ?? 10);
}

function stepOf(points: readonly { at: number }[]): number {
  return points.length > 1 ? (points[1]?.at ?? 0) - (points[0]?.at ?? 0) : 1;
}

function boundOf({ labels }: Series): number {
  return labels.le === '+Inf' ? Number.POSITIVE_INFINITY : Number(labels.le);
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
