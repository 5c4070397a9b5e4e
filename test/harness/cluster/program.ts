import { spawn } from 'node:child_process';
import { basename } from 'node:path';

/** Runs a program until it ends. Returns its standard output; throws with its output if the exit code is not 0. */
export function runToEnd(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input?: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env });
    let [said, complained] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complained += text;
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) return resolve(said);
      const words = [complained.trim(), said.trim()].filter((text) => text !== '').join('\n');
      reject(new Error(`${basename(program)} ${args.join(' ')} ended with code ${code}: ${words}`));
    });
    // The program may end before it has read all input.
    child.stdin.on('error', () => {}).end(input);
  });
}
