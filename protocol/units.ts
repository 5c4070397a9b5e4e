import { z } from 'zod';

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const MILLISECONDS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

const SIZE = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB|Ki|Mi|Gi)?$/;
const BYTES = { B: 1, KiB: 1024, Ki: 1024, MiB: 1024 ** 2, Mi: 1024 ** 2, GiB: 1024 ** 3, Gi: 1024 ** 3 } as const;

/** Milliseconds of `"250ms"`, `"1.5s"`, `"2m"` or `"1h"`; undefined where it is none. */
export function parseDuration(text: string): number | undefined {
  const [, amount, unit] = DURATION.exec(text) ?? [];
  return unit === undefined ? undefined : Number(amount) * MILLISECONDS[unit as keyof typeof MILLISECONDS];
}

/** Bytes of `"256KiB"`, `"1Mi"` or `"4096"`; undefined where it is none. */
export function parseSize(text: string): number | undefined {
  const [match, amount, unit] = SIZE.exec(text) ?? [];
  return match === undefined ? undefined : Math.round(Number(amount) * BYTES[(unit ?? 'B') as keyof typeof BYTES]);
}

/** A length of time: text with a unit, or a number of milliseconds. Parsed to milliseconds. */
export function duration(range: { min?: number; max?: number } = {}) {
  return quantity(range, parseDuration, 'must be a time such as "500ms", "1s" or "2m"', (ms) => `${ms}ms`);
}

/** A number of bytes: a number, or text with a unit. Parsed to whole bytes. */
export function size(range: { min?: number; max?: number } = {}) {
  const complaint = 'must be a size such as 4096, "256KiB" or "1MiB"';
  return quantity(range, parseSize, complaint, (bytes) => `${bytes} bytes`).transform(Math.round);
}

function quantity(
  range: { min?: number; max?: number },
  parse: (text: string) => number | undefined,
  complaint: string,
  show: (value: number) => string,
) {
  return z.union([z.number(), z.string()], { error: complaint }).transform((input, context): number => {
    const value = typeof input === 'number' ? input : parse(input);
    if (value === undefined || !Number.isFinite(value)) {
      context.addIssue({ code: 'custom', message: complaint });
      return z.NEVER;
    }
    if (range.min !== undefined && value < range.min)
      context.addIssue({ code: 'custom', message: `must be at least ${show(range.min)}` });
    if (range.max !== undefined && value > range.max)
      context.addIssue({ code: 'custom', message: `must be at most ${show(range.max)}` });
    return value;
  });
}
