import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** `failures`: one line for each failed test, with its name, its place and the beginning of the error. */
export type Summary = { passed: number; failed: number; skipped: number; failures: string[] };

/** Characters: enough for what an assertion compared. */
const REASON = 300;

/**
 * A reporter of node:test for a single file: full reports of failed tests, skipped tests with their reasons, and a summary
 * as JSON in the last line, which scripts/test.ts adds up.
 */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const running = new Set<string>();
  const failures: string[] = [];
  // SIGTERM means that the file took too long: report what hangs, and let the exit handlers of the tests clean up.
  process.once('SIGTERM', () => {
    process.stdout.write(`✖ still running: ${[...running].join(' > ') || 'no test, but something stays open'}\n`);
    process.exit(143);
  });
  for await (const event of source) {
    switch (event.type) {
      case 'test:dequeue':
        running.add(event.data.name);
        break;
      case 'test:complete':
        running.delete(event.data.name);
        break;
      case 'test:fail': {
        const { name, file, line, details } = event.data;
        // The failure of a suite only repeats the failures of its tests.
        const { error } = details;
        if ('failureType' in error && error.failureType === 'subtestsFailed') break;
        const where = file === undefined ? '' : ` (${relative(process.cwd(), file)}:${line ?? '?'})`;
        const why = inspect(error.cause ?? error, { depth: 5, maxStringLength: 2_000, breakLength: 120 });
        failures.push(`${name}${where}: ${why.split('\n    at ')[0]!.replace(/\s+/g, ' ').slice(0, REASON)}`);
        yield `✖ ${name}${where}\n${indent(why)}\n`;
        break;
      }
      case 'test:pass':
        if (event.data.skip !== undefined)
          yield `  skipped: ${event.data.name} ${event.data.skip === true ? '' : event.data.skip}\n`;
        break;
      case 'test:stdout':
      case 'test:stderr':
        yield event.data.message;
        break;
      case 'test:diagnostic':
        // Errors outside all tests, and diagnostics of tests. The other diagnostics repeat the counts.
        if (!/^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$/.test(event.data.message))
          yield `  ${event.data.message}\n`;
        break;
      case 'test:summary': {
        const { counts } = event.data;
        const failed = counts.tests - counts.passed - counts.skipped - counts.todo;
        const summary: Summary = { passed: counts.passed, failed, skipped: counts.skipped, failures };
        yield `${JSON.stringify(summary)}\n`;
        break;
      }
    }
  }
}

function indent(text: string): string {
  return text.replace(/^/gm, '    ');
}
