import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const SCRIPT = new URL('../../../scripts/go-program.sh', import.meta.url).pathname;

/**
 * The path of a program in its released version. The first call builds the program, which takes minutes on a new
 * machine.
 */
export async function goProgram(name: 'prometheus' | 'prometheus-adapter'): Promise<string> {
  const script = promisify(execFile)(SCRIPT, [name]);
  script.child.stderr?.pipe(process.stderr);
  return (await script).stdout.trim();
}
