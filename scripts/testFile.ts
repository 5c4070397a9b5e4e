import { spawn } from 'node:child_process';
import type { Summary } from './testReporter.ts';

export type Outcome = { passed: number; failed: number; skipped: number };

/**
 * Runs a test file in a process of its own. A file that throws outside its tests, exits in the middle of them or does not
 * end in time counts as one more failure, and `note` says which. `failures` has a line for each failed test.
 * @param show gets the output
 * @param within a command that runs the command after it; empty for none
 */
export async function runTestFile(
  file: string,
  timeoutSeconds: number,
  show: (text: string) => void,
  within: readonly string[] = [],
): Promise<Outcome & { note: string; failures: string[] }> {
  let counts: Summary | undefined;
  const node = [process.execPath, `--test-reporter=${import.meta.dirname}/testReporter.ts`, file];
  const [program = '', ...args] = [...within, ...node];
  const { code, late } = await runProgram(
    program,
    args,
    (line) => {
      // A test may have left its last line without a newline.
      const found = /^(.*)(\{"passed":\d+,"failed":\d+,"skipped":\d+,.*\})\n$/.exec(line);
      if (found) counts = JSON.parse(found[2]!);
      show(found === null ? line : found[1]!);
    },
    timeoutSeconds,
  );
  const { failures, ...outcome } = counts ?? { passed: 0, failed: 0, skipped: 0, failures: [] };
  let note = '';
  if (late) note = `, killed: had not ended after ${timeoutSeconds} s (a test hangs, or leaves something open)`;
  else if (counts === undefined) note = `, ended with ${code} in the middle of its tests`;
  else if (code !== 0 && outcome.failed === 0) note = `, broke outside its tests (${code})`;
  if (note !== '') {
    outcome.failed++;
    failures.push(note.slice(2));
  }
  return { ...outcome, note, failures };
}

/**
 * Runs a program and shows its output and errors line by line. After `timeoutSeconds` it gets SIGTERM, so that it can end
 * its own children, and 5 s later SIGKILL.
 */
export function runProgram(
  program: string,
  args: readonly string[],
  line: (text: string) => void,
  timeoutSeconds = 600,
): Promise<{ code: number | NodeJS.Signals; late: boolean }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let late = false;
    let killer: NodeJS.Timeout | undefined;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGTERM');
      killer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    }, timeoutSeconds * 1_000);
    const ends = [child.stdout, child.stderr].map((stream) => {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop()!;
        for (const each of lines) line(`${each}\n`);
      });
      return () => {
        if (rest !== '') line(`${rest}\n`);
      };
    });
    child.on('error', reject);
    child.on('exit', () => {
      clearTimeout(timer);
      clearTimeout(killer);
      // A process that it left behind may keep the pipes open.
      setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, 1_000).unref();
    });
    child.on('close', (code, signal) => {
      for (const end of ends) end();
      resolve({ code: code ?? signal ?? 1, late });
    });
  });
}
