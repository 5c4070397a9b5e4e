import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const SCRIPT = new URL('../../../scripts/images.sh', import.meta.url).pathname;
const PACKAGES = new URL('../../../scripts/debian-packages.sh', import.meta.url).pathname;

/** Builds images, those that are not built yet. Returns their OCI archives. Needs root. */
export async function buildImages(names: readonly string[], tag?: string): Promise<string[]> {
  const script = promisify(execFile)(SCRIPT, [...(tag === undefined ? [] : ['--tag', tag]), ...names]);
  // A person sees what is being built.
  script.child.stderr?.pipe(process.stderr);
  const { stdout } = await script;
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.slice(line.indexOf(' ') + 1));
}

/** Installs the Debian packages that a cluster needs, or says which are missing. */
export async function clusterPackages(): Promise<void> {
  const script = promisify(execFile)(PACKAGES, ['cluster']);
  script.child.stderr?.pipe(process.stderr);
  script.child.stdout?.pipe(process.stderr);
  await script;
}
