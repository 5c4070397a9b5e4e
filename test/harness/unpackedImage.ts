import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';

const run = promisify(execFile);

const Descriptor = z.object({ digest: z.string(), size: z.number() });
const Index = z.object({ manifests: z.array(Descriptor).length(1) });
const Manifest = z.object({ config: Descriptor, layers: z.array(Descriptor).min(1) });
const Config = z.object({
  architecture: z.string(),
  os: z.string(),
  config: z.object({
    User: z.string().default(''),
    Entrypoint: z.array(z.string()).default([]),
    Labels: z.record(z.string(), z.string()).default({}),
  }),
});

/** Bytes 18 and 19 of an ELF file, programs and shared objects alike, name its processor. */
const ELF_MACHINE_OFFSET = 18;

/** The configuration of an image, and its files in a local folder. Remove it at the end of the test. */
export class UnpackedImage {
  readonly config: z.infer<typeof Config>;
  readonly root: string;
  /** Compressed bytes of the layers, as transferred over a network. */
  readonly compressedBytes: number;
  readonly #folder: string;

  /** @param archive path of an OCI archive with one image */
  static async of(archive: string): Promise<UnpackedImage> {
    const folder = await mkdtemp(join(tmpdir(), 'pushcluster-image-'));
    const root = join(folder, 'root');
    await mkdir(root);
    await run('tar', ['-xf', archive, '-C', folder]);
    const blob = (digest: string) => join(folder, 'blobs', digest.replace(':', '/'));
    const read = async <T extends z.ZodType>(file: string, shape: T) =>
      shape.parse(JSON.parse(await readFile(file, 'utf8')));
    const [{ digest = '' } = {}] = (await read(join(folder, 'index.json'), Index)).manifests;
    const manifest = await read(blob(digest), Manifest);
    const config = await read(blob(manifest.config.digest), Config);
    for (const { digest } of manifest.layers) await run('tar', ['-xf', blob(digest), '-C', root]);
    const compressedBytes = manifest.layers.reduce((sum, { size }) => sum + size, 0);
    return new UnpackedImage(config, root, compressedBytes, folder);
  }

  private constructor(config: z.infer<typeof Config>, root: string, compressedBytes: number, folder: string) {
    this.config = config;
    this.root = root;
    this.compressedBytes = compressedBytes;
    this.#folder = folder;
  }

  /** ELF machine numbers of programs and shared objects, by path (183 is arm64, 62 is amd64). */
  async machines(): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    const head = Buffer.alloc(ELF_MACHINE_OFFSET + 2);
    for (const entry of await readdir(this.root, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const file = join(entry.parentPath, entry.name);
      const handle = await open(file);
      const { bytesRead } = await handle.read(head, 0, head.length, 0).finally(() => handle.close());
      if (bytesRead === head.length && head.readUInt32BE(0) === 0x7f454c46)
        found.set(file.slice(this.root.length), head.readUInt16LE(ELF_MACHINE_OFFSET));
    }
    return found;
  }

  remove(): Promise<void> {
    return rm(this.#folder, { recursive: true, force: true });
  }
}
