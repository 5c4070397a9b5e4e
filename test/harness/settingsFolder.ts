import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { z } from 'zod';

/** Settings as a file says them: whatever is left out has its default. */
export type SettingsInput = z.input<typeof Settings>;

/**
 * A settings file laid out as a ConfigMap volume: `settings.yaml` → `..data/settings.yaml`, and `..data` → a folder that
 * each change replaces by another.
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

  /** Changes the file as the kubelet does: a new folder, and `..data` renamed onto it. */
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

/** None outlives the test's process. */
const left = new Set<SettingsFolder>();
process.on('exit', () => {
  for (const folder of left) folder.remove();
});

/** `change` over `settings`, key by key; lists and values replace what was there. */
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
