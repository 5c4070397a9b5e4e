import { relative } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** `failures` are the names of tests that failed, each with where it is and the beginning of why, on one line. */
export type Summary = { passed: number; failed: number; skipped: number; failures: string[] };

/** Characters: enough for an assertion to say what it compared. */
const REASON = 300;

/**
 * A reporter of node:test for one file run by itself: whole reports of what failed, what was skipped and why, and the
 * summary as JSON in its last line, for scripts/test.ts to add up.
 */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const running = new Set<string>();
  const failures: string[] = [];
  // Whoever gives up on a file asks for its end: say what hung, and let the exit handlers of the tests clean up.
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
        // A suite that fails because a test in it failed has nothing of its own to say.
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
        // What broke outside every test, and what tests say of themselves; the others repeat the counts.
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
