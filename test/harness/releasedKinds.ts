import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ControlPlane } from './cluster/controlPlane.ts';
import { apply, established } from './cluster/kubectl.ts';

const PROGRAM = new URL('../../scripts/released-crds.sh', import.meta.url).pathname;

/**
 * Installs CRDs of another project as that project released them. The project's controllers do not run.
 * @param names of the CRDs, such as `scaledobjects.keda.sh`
 */
export async function installKinds(
  { kubectl }: ControlPlane,
  project: 'keda' | 'prometheus-operator' | 'gateway-api',
  ...names: string[]
): Promise<void> {
  const folder = (await promisify(execFile)(PROGRAM, [project])).stdout.trim();
  for (const name of names) {
    const [plural, ...group] = name.split('.');
    await apply(kubectl, await readFile(join(folder, `${group.join('.')}_${plural}.yaml`), 'utf8'));
    await established(kubectl, name);
  }
}
