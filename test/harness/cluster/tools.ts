import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SCRIPT = new URL('../../../scripts/kube-tools.sh', import.meta.url).pathname;

const folders = new Map<string, Promise<string>>();

/**
 * The absolute path of a Kubernetes program. The first call builds all programs, which takes minutes on a new machine.
 */
export async function kubeTools(size: 'control-plane' | 'cluster'): Promise<(program: string) => string> {
  let folder = folders.get(size);
  if (!folder) {
    // Shows the progress of the build on this process's standard error.
    const child = promisify(execFile)(SCRIPT, [size]);
    child.child.stderr?.pipe(process.stderr);
    folder = child.then(({ stdout }) => stdout.trim());
    folders.set(size, folder);
  }
  const bin = await folder;
  return (program) => join(bin, program);
}
