import { type LogFn, type Logger, pino, stdSerializers } from 'pino';
import { clipped } from './clipped.ts';
import type { Clock } from './clock.ts';
import { LogRateLimit } from './logRateLimit.ts';

export type { Logger } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export type LogOptions = {
  /** Limits the rate of lines by message and `code`: for processes whose events clients cause. Default: no limit. */
  rateLimited?: boolean;
  /** Of the rate limit. */
  clock?: Pick<Clock, 'now' | 'after'>;
  /** Where lines go; standard output if absent. */
  to?: { write(line: string): void };
};

/** Limits of a text in a line and of a stack, characters: clients choose the length of names, headers and paths. */
const MAX_CHARACTERS = 300;
const MAX_STACK = 3_000;
/** Limits of the entries of an array or an object, and of nesting. */
const MAX_ENTRIES = 50;
const MAX_DEPTH = 4;

/**
 * A log of JSON lines on standard output. Lines are written synchronously, so that none is lost at an exit; long texts are
 * cut. `log.level = 'debug'` changes the level at run time, but not that of existing child loggers.
 * @param name the process: gateway, logic, ...
 */
export function createLog(name: string, level: LogLevel, { rateLimited = false, clock, to }: LogOptions = {}): Logger {
  const limit = rateLimited ? new LogRateLimit(clock) : undefined;
  const options = {
    name,
    level,
    // No host name: it is the pod's, which log collectors add.
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }), log: cutFields },
    serializers: { err: cutError },
    hooks: {
      logMethod(this: Logger, args: Parameters<LogFn>, write: LogFn, number: number) {
        const { fields, message } = partsOf(args);
        const cut = clipped(message, MAX_CHARACTERS);
        const code = 'code' in fields ? String(fields.code) : undefined;
        const suppressed = limit?.admit(`${number} ${code ?? ''} ${message}`, (count) => {
          write.call(
            this,
            { suppressed: count, of: cut, ...(code === undefined ? {} : { code }) },
            'log lines suppressed',
          );
        });
        if (limit && suppressed === undefined) return;
        write.call(this, suppressed ? { ...fields, suppressed } : fields, cut);
      },
    },
  };
  return to ? pino(options, to) : pino(options);
}

/** The fields and the message of a call such as `log.info({ fields }, 'message')`. */
function partsOf([first, second]: readonly unknown[]): { fields: object; message: string } {
  if (typeof first === 'string') return { fields: {}, message: first };
  const message = typeof second === 'string' ? second : '';
  if (first instanceof Error) return { fields: { err: first }, message: message === '' ? first.message : message };
  return { fields: typeof first === 'object' && first !== null ? first : {}, message };
}

function cutFields(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields)
      .slice(0, MAX_ENTRIES)
      .map(([key, value]) => [key, cutValue(value, MAX_DEPTH)]),
  );
}

function cutValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return clipped(value, MAX_CHARACTERS);
  // The serializer handles errors.
  if (typeof value !== 'object' || value === null || value instanceof Error) return value;
  if (depth === 0) return '…';
  if (Array.isArray(value)) {
    const entries: unknown[] = value.slice(0, MAX_ENTRIES).map((entry) => cutValue(entry, depth - 1));
    return value.length > MAX_ENTRIES ? [...entries, `… ${value.length - MAX_ENTRIES} more`] : entries;
  }
  const entries = Object.entries(value).slice(0, MAX_ENTRIES);
  return Object.fromEntries(entries.map(([key, entry]) => [clipped(key, MAX_CHARACTERS), cutValue(entry, depth - 1)]));
}

function cutError(error: Error): unknown {
  const { stack, ...rest } = stdSerializers.err(error);
  return { ...cutFields(rest), ...(typeof stack === 'string' ? { stack: clipped(stack, MAX_STACK) } : {}) };
}
