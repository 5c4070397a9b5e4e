import { type Logger, pino } from 'pino';

export type LogLine = { level: number; msg: string; [key: string]: unknown };

/** A logger that keeps its lines, for tests that check them. */
export function logLines(): { log: Logger; lines: LogLine[]; has(text: string): boolean } {
  const lines: LogLine[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { log, lines, has: (text) => lines.some((line) => JSON.stringify(line).includes(text)) };
}
