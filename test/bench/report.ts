import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** One row of the table. */
export type Row = {
  case: string;
  figure: string;
  ours: string;
  /** The reference value, measured in the same run. */
  reference?: string;
  ratio?: number;
  target?: string;
  met?: boolean;
};

/** The result of a case: rows of the table, and all measurements for the file. */
export type Outcome = { rows: Row[]; data: unknown; notes?: string[] };

const COLUMNS = ['case', 'figure', 'ours', 'reference', 'ratio', 'target', 'met'] as const;

/** The rows as a Markdown table that is readable as text. */
export function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => COLUMNS.map((column) => cell(row[column])));
  const widths = COLUMNS.map((column, i) => Math.max(column.length, ...cells.map((line) => width(line[i]!))));
  const line = (texts: readonly string[]) =>
    `| ${texts.map((text, i) => text + ' '.repeat(widths[i]! - width(text))).join(' | ')} |`;
  return [line(COLUMNS), `| ${widths.map((size) => '-'.repeat(size)).join(' | ')} |`, ...cells.map(line)].join('\n');
}

/** Writes all results to bench-results/ and returns the path of the file. */
export function save(results: { startedAt: string } & Record<string, unknown>): string {
  const folder = join(import.meta.dirname, '../../bench-results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${results.startedAt.replaceAll(':', '-').replace(/\.\d+Z$/, 'Z')}.json`);
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  return file;
}

/** A number rounded to three significant digits. */
export function round(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3).replace(/^(-?\d+)\.0+$/, '$1');
}

function cell(value: string | number | boolean | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'boolean') return value ? 'yes' : 'NO';
  return typeof value === 'number' ? value.toFixed(2) : value;
}

/** Number of columns on a terminal; every character that the report uses is one column wide. */
function width(text: string): number {
  return [...text].length;
}
