import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { z } from 'zod';

/** What was set: from what the node had of itself, as asked for, and what the kernel made of that. */
const Entry = z.strictObject({ name: z.string(), from: z.string(), asked: z.string(), to: z.string() });
export type Entry = z.infer<typeof Entry>;

const Kept = z.object({ version: z.literal(1), bootId: z.string(), owner: z.string(), entries: z.array(Entry) });

/**
 * What was set on a node and what was there before, in a file on the node: it outlives the pod, however that ends. It says
 * nothing after the machine has started anew, since the kernel has forgotten then as well.
 */
export class NodeRecord {
  readonly #folder: string;
  readonly #now: { bootId: string; owner: string };
  #owner: string | undefined;
  readonly #entries = new Map<string, Entry>();

  /** Throws where the file is there and can't be understood: what the node had before would be lost. */
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
        `${record.#file} says what this node had before it was tuned, and can't be read: restart the node, or set its values by hand and delete the file`,
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

  /** Whether a pod of the same DaemonSet has written it. */
  get isOurs(): boolean {
    return this.#owner === this.#now.owner;
  }

  get entries(): readonly Entry[] {
    return [...this.#entries.values()];
  }

  get(name: string): Entry | undefined {
    return this.#entries.get(name);
  }

  /** Is on the node when it resolves: call it before the value is set. */
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
    // In one step: a half-written file would be worse than none.
    await writeFile(`${this.#file}.new`, `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 });
    await rename(`${this.#file}.new`, this.#file);
    this.#owner = this.#now.owner;
  }
}
