import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Release } from './release.ts';

const NAMES = ['operator', 'gateway', 'logic', 'node-tuning'];
const TOOLS = ['buildah', 'debootstrap'];
const PINNED = /^[^\s@]+@sha256:[0-9a-f]{64}$/;

/**
 * The image that is built on, as the publisher names it: with its digest, because a tag moves.
 * @throws if it has none
 */
export function pinnedBase(text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (!PINNED.test(text))
    throw new Error(`BASE must be an image with its digest, such as docker.io/library/node@sha256:…, not ${text}`);
  return text;
}

/** What keeps this machine from building images, or undefined. */
export function cannotBuildImages(): string | undefined {
  if (process.getuid?.() !== 0) return 'building them needs root';
  const missing = TOOLS.filter((tool) => !has(tool));
  return missing.length > 0 ? `building them needs ${missing.join(' and ')}` : undefined;
}

/** Builds the images for amd64 and arm64 into the folder `images`, an OCI layout. Takes minutes. */
export function layOutImages({ root, registry, base }: Release, folder: string): void {
  const layout = join(folder, 'images');
  const options = ['--layout', layout, '--registry', registry ?? 'localhost'];
  if (base !== undefined) options.push('--base', base);
  execFileSync(join(root, 'scripts/images.sh'), [...options, ...NAMES], { stdio: ['ignore', 'ignore', 'inherit'] });
}

function has(tool: string): boolean {
  try {
    execFileSync(tool, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
