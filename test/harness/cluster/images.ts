import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const SCRIPT = new URL('../../../scripts/images.sh', import.meta.url).pathname;
const PACKAGES = new URL('../../../scripts/debian-packages.sh', import.meta.url).pathname;

/**
 * Builds those images that are not built yet, for this machine's processor or another. Returns the paths of their OCI
 * archives. Needs root.
 * @param options `source`: a folder with the sources of another version
 */
export async function buildImages(
  names: readonly string[],
  tag?: string,
  { arch, source }: { arch?: 'amd64' | 'arm64'; source?: string } = {},
): Promise<string[]> {
  const options = Object.entries({ tag, arch, source }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  );
  const script = promisify(execFile)(SCRIPT, [...options, ...names]);
  // Shows the progress of the build.
  script.child.stderr?.pipe(process.stderr);
  const { stdout } = await script;
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.slice(line.indexOf(' ') + 1));
}

/**
 * Installs the Debian packages that a cluster needs. Throws if they can not be installed; standard error names them.
 */
export async function clusterPackages(): Promise<void> {
  const script = promisify(execFile)(PACKAGES, ['cluster']);
  script.child.stderr?.pipe(process.stderr);
  script.child.stdout?.pipe(process.stderr);
  await script;
}
