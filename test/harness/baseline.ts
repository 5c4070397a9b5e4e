import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

const ROOT = new URL('../../', import.meta.url).pathname;
const FIXTURE = join(ROOT, 'test/fixtures/baseline.tar.gz');
/** The baseline's workspaces. */
const WORKSPACES = ['protocol', 'runtime', 'gateway', 'logic', 'operator', 'client'];
const SCOPE = '@pushcluster';

/**
 * The version that today's is tested beside, as scripts/baseline.sh packed it: its sources, unpacked to a temporary folder
 * and run with today's packages.
 */
export class Baseline {
  /** The root of its sources. */
  readonly app = mkdtempSync(join(tmpdir(), 'pushcluster-baseline-'));

  constructor() {
    unpacked.add(this.app);
    execFileSync('tar', ['-xzf', FIXTURE, '-C', this.app]);
    const packages = join(ROOT, 'node_modules');
    const links = join(this.app, 'node_modules');
    mkdirSync(join(links, SCOPE), { recursive: true });
    for (const name of readdirSync(packages))
      if (name !== SCOPE && !name.startsWith('.')) symlinkSync(join(packages, name), join(links, name));
    for (const name of WORKSPACES) symlinkSync(join(this.app, name), join(links, SCOPE, name));
  }

  /** To run its gateway or logic process: an option of the harness's processes. */
  get installed() {
    return { node: process.execPath, app: this.app, env: {} };
  }

  /** A module of the baseline, checked by a schema of the exports that a test uses. */
  async load<T>(path: string, exports: z.ZodType<T>): Promise<T> {
    return exports.parse({ ...(await import(join(this.app, path))) });
  }

  remove(): void {
    unpacked.delete(this.app);
    rmSync(this.app, { recursive: true, force: true });
  }
}

/** A function of the baseline. Its arguments and result are as in that version. */
export const functionOf = <F extends (...args: never[]) => unknown>() =>
  z.custom<F>((value) => typeof value === 'function');

/** A schema of the baseline. */
export const schemaOf = <T>() => z.custom<z.ZodType<T>>((value) => value instanceof z.ZodType);

/** Removed when the test's process exits. */
const unpacked = new Set<string>();
process.on('exit', () => {
  for (const folder of unpacked) rmSync(folder, { recursive: true, force: true });
});
