/**
 * Makes what a publisher needs for a version, in dist/: `make release VERSION=0.1.0`. It publishes nothing.
 *
 *   node scripts/release.ts VERSION [FOLDER] [--without-images]
 *
 * REPOSITORY=https://…  where the sources are published: for the chart, the npm package and its provenance
 * REGISTRY=…            where the images are published: the default of the chart, which otherwise asks for one
 * RUNBOOK=https://…     where the runbook is published: the default of the chart for links of alerts
 * BASE=…@sha256:…       the image of Debian and Node that the images are built on; without it, one is made here
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { packChart } from './release/chartPackage.ts';
import { packClient } from './release/clientPackage.ts';
import { cannotBuildImages, layOutImages, pinnedBase } from './release/images.ts';
import type { Release } from './release/release.ts';
import { releaseNotes } from './release/releaseNotes.ts';
import { billOfMaterials, PRODUCTS } from './release/sbom.ts';

const ROOT = resolve(import.meta.dirname, '..');

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { 'without-images': { type: 'boolean', default: false } },
  });
  const [version, folder = 'dist'] = positionals;
  release(version, resolve(ROOT, folder), !values['without-images']);
} catch (error) {
  process.stderr.write(`release: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

function release(version: string | undefined, folder: string, withImages: boolean): void {
  const source: unknown = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const { version: ours } = source as { version: string };
  if (version === undefined || version === '') throw new Error(`which version? VERSION=${ours}`);
  if (version !== ours) throw new Error(`package.json says ${ours}, not ${version}: change it first, and commit that`);
  const made: Release = {
    version,
    root: ROOT,
    repository: url(process.env.REPOSITORY, 'REPOSITORY'),
    registry: process.env.REGISTRY || undefined,
    runbook: url(process.env.RUNBOOK, 'RUNBOOK'),
    base: pinnedBase(process.env.BASE),
    // The date of the commit, so that the same sources make the same bytes.
    seconds: Number(process.env.SOURCE_DATE_EPOCH ?? git('log', '-1', '--format=%ct')),
    revision: git('rev-parse', 'HEAD'),
  };
  for (const old of ['images', 'sbom', 'SHA256SUMS', 'RELEASE_NOTES.md'])
    rmSync(join(folder, old), { recursive: true, force: true });
  mkdirSync(join(folder, 'sbom'), { recursive: true });
  for (const file of readdirSync(folder)) if (/^pushcluster-.*\.tgz$/.test(file)) rmSync(join(folder, file));
  packChart(made, folder);
  packClient(made, folder);
  for (const product of PRODUCTS)
    writeFileSync(join(folder, 'sbom', `${product}.cdx.json`), billOfMaterials(made, product));
  const missing = withImages ? cannotBuildImages() : 'they were not asked for';
  if (missing === undefined) layOutImages(made, folder);
  else process.stderr.write(`release: there are no images in it: ${missing}\n`);
  const changes = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8');
  writeFileSync(join(folder, 'RELEASE_NOTES.md'), releaseNotes(changes, version));
  const files = [...checksummed(folder)].sort();
  writeFileSync(
    join(folder, 'SHA256SUMS'),
    files
      .map(
        (file) =>
          `${createHash('sha256')
            .update(readFileSync(join(folder, file)))
            .digest('hex')}  ${file}\n`,
      )
      .join(''),
  );
  const blobs = /^images\/blobs\//;
  for (const file of [...files, 'SHA256SUMS'].filter((file) => !blobs.test(file)))
    process.stdout.write(`${relative(process.cwd(), join(folder, file))}\n`);
}

/** Files of a release, by their paths in the folder. The documentation's site is in dist/, too. */
function* checksummed(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = relative(folder, join(entry.parentPath, entry.name));
    if (/^(sbom|images)\/|^[^/]+\.tgz$|^RELEASE_NOTES\.md$/.test(file)) yield file;
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();
}

function url(text: string | undefined, name: string): string | undefined {
  if (!text) return undefined;
  if (!URL.canParse(text) || !/^https?:/.test(text))
    throw new Error(`${name} must be a URL such as https://example.com/push`);
  return text.replace(/\/$/, '');
}
