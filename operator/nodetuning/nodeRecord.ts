import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { z } from 'zod';

/** A change of a setting: the original value, the requested one, and the one that the kernel then reported. */
const Entry = z.strictObject({ name: z.string(), from: z.string(), asked: z.string(), to: z.string() });
export type Entry = z.infer<typeof Entry>;

const Kept = z.object({ version: z.literal(1), bootId: z.string(), owner: z.string(), entries: z.array(Entry) });

/**
 * The changes of a node, with the original values, in a file on the node that outlives the pod. It is ignored after a
 * reboot, when the kernel has lost the changes.
 */
export class NodeRecord {
  readonly #folder: string;
  readonly #now: { bootId: string; owner: string };
  #owner: string | undefined;
  readonly #entries = new Map<string, Entry>();

  /** @throws Error if the file exists and is invalid: the original values would be lost */
  static async open(folder: string, now: { bootId: string; owner: string }): Promise<NodeRecord> {
    const record = new NodeRecord(folder, now);
    let text: string;
    try {
      text = await readFile(record.#file, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return record;
      throw error;
    }
    const kept = Kept.safeParse(parseJson(text));
    if (!kept.success)
      throw new Error(
        `${record.#file} contains the original settings of this node but is invalid: reboot the node, or restore the settings manually and delete the file`,
      );
    if (kept.data.bootId !== now.bootId) return record;
    record.#owner = kept.data.owner;
    for (const entry of kept.data.entries) record.#entries.set(entry.name, entry);
    return record;
  }

  private constructor(folder: string, now: { bootId: string; owner: string }) {
    this.#folder = folder;
    this.#now = now;
  }

  /** Whether it was written by a pod of the same DaemonSet. */
  get isOurs(): boolean {
    return this.#owner === this.#now.owner;
  }

  get entries(): readonly Entry[] {
    return [...this.#entries.values()];
  }

  get(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  /** Resolves once the entry is stored on the node. Call it before the value is set. */
  async put(entry: Entry): Promise<void> {
    this.#entries.set(entry.name, entry);
    await this.#save();
  }

  async drop(name: string): Promise<void> {
    if (this.#entries.delete(name)) await this.#save();
  }

  get #file(): string {
    return join(this.#folder, 'record.json');
  }

  async #save(): Promise<void> {
    if (this.#entries.size === 0) {
      await rm(this.#file, { force: true });
      return;
    }
    await mkdir(this.#folder, { recursive: true });
    const kept: z.infer<typeof Kept> = { version: 1, ...this.#now, entries: [...this.#entries.values()] };
    // Atomic: a partially written file would lose the original values.
    await writeFile(`${this.#file}.new`, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 });
    await rename(`${this.#file}.new`, this.#file);
    this.#owner = this.#now.owner;
  }
}
