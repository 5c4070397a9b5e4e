import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';

const run = promisify(execFile);

const Descriptor = z.object({ digest: z.string(), size: z.number() });
const Index = z.object({
  manifests: z.array(
    Descriptor.extend({
      annotations: z.record(z.string(), z.string()).default({}),
      platform: z.object({ architecture: z.string(), os: z.string() }).optional(),
    }),
  ),
});
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

const blobOf = (layout: string, digest: string) => join(layout, 'blobs', digest.replace(':', '/'));

async function read<T extends z.ZodType>(file: string, shape: T): Promise<z.infer<T>> {
  return shape.parse(JSON.parse(await readFile(file, 'utf8')));
}

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
    await run('tar', ['-xf', archive, '-C', folder]);
    const { manifests } = await read(join(folder, 'index.json'), Index);
    if (manifests.length !== 1) throw new Error(`${archive} has ${manifests.length} images`);
    return UnpackedImage.#unpack(folder, manifests[0]!.digest, folder);
  }

  /**
   * One image of an OCI layout with images for several processors.
   * @param architecture as OCI names it: amd64, arm64
   */
  static async ofLayout(layout: string, reference: string, architecture: string): Promise<UnpackedImage> {
    const named = (await read(join(layout, 'index.json'), Index)).manifests.find(
      ({ annotations }) => annotations['org.opencontainers.image.ref.name'] === reference,
    );
    if (named === undefined) throw new Error(`${layout} has no ${reference}`);
    const image = (await read(blobOf(layout, named.digest), Index)).manifests.find(
      ({ platform }) => platform?.os === 'linux' && platform.architecture === architecture,
    );
    if (image === undefined) throw new Error(`${reference} in ${layout} has nothing for ${architecture}`);
    return UnpackedImage.#unpack(layout, image.digest, await mkdtemp(join(tmpdir(), 'pushcluster-image-')));
  }

  static async #unpack(layout: string, digest: string, folder: string): Promise<UnpackedImage> {
    const root = join(folder, 'root');
    await mkdir(root);
    const manifest = await read(blobOf(layout, digest), Manifest);
    const config = await read(blobOf(layout, manifest.config.digest), Config);
    for (const { digest } of manifest.layers) await run('tar', ['-xf', blobOf(layout, digest), '-C', root]);
    const compressedBytes = manifest.layers.reduce((sum, { size }) => sum + size, 0);
    return new UnpackedImage(config, root, compressedBytes, folder);
  }

  private constructor(config: z.infer<typeof Config>, root: string, compressedBytes: number, folder: string) {
    this.config = config;
    this.root = root;
    this.compressedBytes = compressedBytes;
    this.#folder = folder;
  }

  /** Paths of all files and links, sorted. */
  async files(): Promise<string[]> {
    const entries = await readdir(this.root, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.root.length))
      .sort();
  }

  /** Names of libraries that a program or library of the image needs and the image does not have, by what needs them. */
  async missingLibraries(): Promise<string[]> {
    const present = new Set((await this.files()).map((file) => basename(file)));
    const missing: string[] = [];
    for (const file of (await this.machines()).keys()) {
      const { stdout } = await run('readelf', ['--dynamic', '--wide', join(this.root, file)]);
      for (const [, library = ''] of stdout.matchAll(/\(NEEDED\).*\[(.+)\]/g))
        if (!present.has(library)) missing.push(`${file} needs ${library}`);
    }
    return missing;
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
