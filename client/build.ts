/** Builds dist/: the bundle and its types. `npm run build -w @pushcluster/client`. */
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { bundle } from './bundle.ts';

const here = import.meta.dirname;
const dist = join(here, 'dist');

await rm(join(dist, 'types'), { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await writeFile(join(dist, 'pushcluster.js'), await bundle());

const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc');
execFileSync(process.execPath, [tsc, '-p', here], { stdio: 'inherit' });
for (const file of await readdir(join(dist, 'types'), { recursive: true, withFileTypes: true })) {
  if (!file.isFile()) continue;
  const path = join(file.parentPath, file.name);
  const text = await readFile(path, 'utf8');
  // The published package has no sources and no workspaces: imports must point to the types beside it.
  await writeFile(
    path,
    text.replace(/'@pushcluster\/protocol\//g, "'../protocol/").replace(/(from '\.[^']*)\.ts'/g, "$1.js'"),
  );
}
