import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const V1 = '/sys/fs/cgroup/memory';
const V2 = '/sys/fs/cgroup';

/** A cgroup (version 1 or 2) with a memory limit. Remove it at the end of the test, after its processes have ended. */
export class MemoryCgroup {
  readonly #folder: string;
  readonly #home: string;

  /**
   * Returns undefined if this process may not create cgroups.
   * @param limit bytes
   */
  static create(name: string, limit: number): MemoryCgroup | undefined {
    const v1 = existsSync(join(V1, 'memory.limit_in_bytes'));
    const home = v1 ? join(V1, ownPath('memory')) : join(V2, ownPath(''));
    const folder = join(v1 ? V1 : V2, name);
    try {
      mkdirSync(folder);
    } catch {
      return undefined;
    }
    const group = new MemoryCgroup(folder, home);
    try {
      writeFileSync(join(folder, v1 ? 'memory.limit_in_bytes' : 'memory.max'), String(limit));
      return group;
    } catch {
      // The memory controller is not enabled below the root.
      group.remove();
      return undefined;
    }
  }

  private constructor(folder: string, home: string) {
    this.#folder = folder;
    this.#home = home;
  }

  /** Runs `start`; the processes that it starts are in the cgroup. */
  async within<T>(start: () => Promise<T>): Promise<T> {
    writeFileSync(join(this.#folder, 'cgroup.procs'), String(process.pid));
    try {
      return await start();
    } finally {
      writeFileSync(join(this.#home, 'cgroup.procs'), String(process.pid));
    }
  }

  /** Bytes of the cgroup's working set. */
  get used(): number {
    const v1 = existsSync(join(this.#folder, 'memory.usage_in_bytes'));
    const read = (name: string) => readFileSync(join(this.#folder, name), 'utf8');
    const usage = Number(read(v1 ? 'memory.usage_in_bytes' : 'memory.current'));
    const inactive = /^(?:total_)?inactive_file (\d+)$/gm;
    return usage - Math.max(0, ...Array.from(read('memory.stat').matchAll(inactive), ([, bytes]) => Number(bytes)));
  }

  remove(): void {
    rmdirSync(this.#folder);
  }
}

function ownPath(controller: string): string {
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').split('\n')) {
    const [, controllers, ...path] = line.split(':');
    if (controllers?.split(',').includes(controller)) return path.join(':');
  }
  return '/';
}
