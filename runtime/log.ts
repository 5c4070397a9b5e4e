import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/**
 * A log of JSON lines on standard output, written at once, so that nothing is lost at an exit.
 * Change the level of a running process by `log.level = 'debug'`; children made before keep theirs.
 * @param name the process: gateway, logic, ...
 */
export function createLog(name: string, level: LogLevel): Logger {
  return pino({
    name,
    level,
    // The host's name is the pod's, which whoever collects the lines adds anyway.
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}
