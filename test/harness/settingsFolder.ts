import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { z } from 'zod';

/** Settings as in a settings file: omitted fields have their defaults. */
export type SettingsInput = z.input<typeof Settings>;

/**
 * A settings file in the layout of a ConfigMap volume: `settings.yaml` → `..data/settings.yaml`, and `..data` → a
 * folder that each change replaces.
 */
export class SettingsFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'pushcluster-settings-'));
  readonly file = join(this.path, 'settings.yaml');
  #versions = 0;

  constructor(text: string) {
    left.add(this);
    this.swap(text);
    symlinkSync('..data/settings.yaml', this.file);
  }

  /** Changes the file as the kubelet does: creates a new folder and renames a new `..data` link over the old one. */
  swap(text: string): void {
    const former = this.#versions++;
    const version = `..version_${this.#versions}`;
    mkdirSync(join(this.path, version));
    writeFileSync(join(this.path, version, 'settings.yaml'), text);
    symlinkSync(version, join(this.path, '..data_tmp'));
    renameSync(join(this.path, '..data_tmp'), join(this.path, '..data'));
    rmSync(join(this.path, `..version_${former}`), { recursive: true, force: true });
  }

  /** Changes the file as an editor does that writes in place. */
  rewrite(text: string): void {
    writeFileSync(this.file, text);
  }

  remove(): void {
    left.delete(this);
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Removed when the test's process exits. */
const left = new Set<SettingsFolder>();
process.on('exit', () => {
  for (const folder of left) folder.remove();
});

/** Merges `change` into `settings`, key by key. Lists and scalar values replace those of `settings`. */
export function merged(settings: SettingsInput, change: SettingsInput): SettingsInput {
  return mergedObjects(settings, change);
}

function mergedObjects(base: object, change: object): object {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(change)) {
    const former = result[key];
    result[key] = isObject(former) && isObject(value) ? mergedObjects(former, value) : value;
  }
  return result;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
