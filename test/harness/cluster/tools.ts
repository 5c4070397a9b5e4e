import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SCRIPT = new URL('../../../scripts/kube-tools.sh', import.meta.url).pathname;

const folders = new Map<string, Promise<string>>();

/** The absolute path of a Kubernetes program; the first call builds them all, which takes minutes on a new machine. */
export async function kubeTools(size: 'control-plane' | 'cluster'): Promise<(program: string) => string> {
  let folder = folders.get(size);
  if (!folder) {
    // Progress goes to standard error: that of this process, so that a person sees it.
    const child = promisify(execFile)(SCRIPT, [size]);
    child.child.stderr?.pipe(process.stderr);
    folder = child.then(({ stdout }) => stdout.trim());
    folders.set(size, folder);
  }
  const bin = await folder;
  return (program) => join(bin, program);
}
