import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import type { Release } from './release.ts';

const Source = z.object({
  name: z.string(),
  version: z.string(),
  description: z.string(),
  license: z.string(),
  engines: z.record(z.string(), z.string()),
});

/**
 * Packs the SDK for npm: the bundle, its types, README and licence, with a package.json without our workspaces. `make build`
 * has made the bundle.
 */
export function packClient({ root, version, repository }: Release, folder: string): void {
  const work = mkdtempSync(join(tmpdir(), 'pushcluster-release-'));
  try {
    const source = Source.parse(JSON.parse(readFileSync(join(root, 'client/package.json'), 'utf8')));
    if (source.version !== version) throw new Error(`client/package.json says ${source.version}, not ${version}`);
    mkdirSync(join(work, 'dist'));
    cpSync(join(root, 'client/dist'), join(work, 'dist'), { recursive: true });
    cpSync(join(root, 'client/README.md'), join(work, 'README.md'));
    cpSync(join(root, 'LICENSE'), join(work, 'LICENSE'));
    writeFileSync(join(work, 'package.json'), `${JSON.stringify(manifest(source, repository), null, 2)}\n`);
    execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], {
      cwd: work,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** package.json of the published package. npm publishes provenance only if it knows the repository. */
function manifest(
  { name, version, description, license, engines }: z.infer<typeof Source>,
  repository: string | undefined,
) {
  return {
    name,
    version,
    description,
    keywords: ['websocket', 'push', 'realtime', 'pushcluster'],
    license,
    ...(repository === undefined
      ? {}
      : {
          homepage: repository,
          repository: { type: 'git', url: `git+${repository.replace(/(\.git)?$/, '.git')}`, directory: 'client' },
        }),
    type: 'module',
    sideEffects: false,
    engines,
    types: './dist/types/client/index.d.ts',
    main: './dist/pushcluster.js',
    exports: {
      '.': { types: './dist/types/client/index.d.ts', default: './dist/pushcluster.js' },
      './package.json': './package.json',
    },
    files: ['dist'],
    publishConfig: { access: 'public', ...(repository === undefined ? {} : { provenance: true }) },
  };
}
