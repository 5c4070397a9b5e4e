import { type LogFn, type Logger, pino, stdSerializers } from 'pino';
import { clipped } from './clipped.ts';
import type { Clock } from './clock.ts';
import { Thinning } from './thinning.ts';

export type { Logger } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export type LogOptions = {
  /**
   * Thin out lines that come often, by message and `code`: for processes whose events strangers cause. Off, each line is
   * written.
   */
  thinned?: boolean;
  /** Of the thinning. */
  clock?: Pick<Clock, 'now' | 'after'>;
  /** Where lines go; standard output where absent. */
  to?: { write(line: string): void };
};

/** Characters of a text in a line, and of a stack: a name, a header or a path may be as long as a stranger likes. */
const MOST_CHARACTERS = 300;
const MOST_OF_STACK = 3_000;
/** Entries of a list or an object, and levels of them within each other. */
const MOST_ENTRIES = 50;
const DEEPEST = 4;

/**
 * A log of JSON lines on standard output, written at once, so that nothing is lost at an exit. Texts are cut.
 * Change the level of a running process by `log.level = 'debug'`; children made before keep theirs.
 * @param name the process: gateway, logic, ...
 */
export function createLog(name: string, level: LogLevel, { thinned = false, clock, to }: LogOptions = {}): Logger {
  const thinning = thinned ? new Thinning(clock) : undefined;
  const options = {
    name,
    level,
    // The host's name is the pod's, which whoever collects the lines adds anyway.
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }), log: cutFields },
    serializers: { err: cutError },
    hooks: {
      logMethod(this: Logger, args: Parameters<LogFn>, write: LogFn, number: number) {
        const { fields, message } = partsOf(args);
        const cut = clipped(message, MOST_CHARACTERS);
        const code = 'code' in fields ? String(fields.code) : undefined;
        const leftOut = thinning?.admit(`${number} ${code ?? ''} ${message}`, (count) => {
          write.call(this, { leftOut: count, of: cut, ...(code === undefined ? {} : { code }) }, 'lines were left out');
        });
        if (thinning && leftOut === undefined) return;
        write.call(this, leftOut ? { ...fields, leftOut } : fields, cut);
      },
    },
  };
  return to ? pino(options, to) : pino(options);
}

/** A line is a message, with fields before it or without. */
function partsOf([first, second]: readonly unknown[]): { fields: object; message: string } {
  if (typeof first === 'string') return { fields: {}, message: first };
  const message = typeof second === 'string' ? second : '';
  if (first instanceof Error) return { fields: { err: first }, message: message === '' ? first.message : message };
  return { fields: typeof first === 'object' && first !== null ? first : {}, message };
}

function cutFields(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields)
      .slice(0, MOST_ENTRIES)
      .map(([key, value]) => [key, cutValue(value, DEEPEST)]),
  );
}

function cutValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return clipped(value, MOST_CHARACTERS);
  // Errors are for their serializer.
  if (typeof value !== 'object' || value === null || value instanceof Error) return value;
  if (depth === 0) return '…';
  if (Array.isArray(value)) {
    const entries: unknown[] = value.slice(0, MOST_ENTRIES).map((entry) => cutValue(entry, depth - 1));
    return value.length > MOST_ENTRIES ? [...entries, `… ${value.length - MOST_ENTRIES} more`] : entries;
  }
  const entries = Object.entries(value).slice(0, MOST_ENTRIES);
  return Object.fromEntries(entries.map(([key, entry]) => [clipped(key, MOST_CHARACTERS), cutValue(entry, depth - 1)]));
}

function cutError(error: Error): unknown {
  const { stack, ...rest } = stdSerializers.err(error);
  return { ...cutFields(rest), ...(typeof stack === 'string' ? { stack: clipped(stack, MOST_OF_STACK) } : {}) };
}
