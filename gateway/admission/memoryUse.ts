import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Bytes used, of how many, and which limit that is. */
export type MemoryUse = { used: number; limit: number; of: 'cgroup' | 'host' };

/** What a cgroup's files are called. */
type Names = { limit: string; usage: string; inactive: RegExp };
type Group = { folder: string; names: Names };
type Limited = Group & { limit: number };
const V2: Names = { limit: 'memory.max', usage: 'memory.current', inactive: /^inactive_file (\d+)$/m };
const V1: Names = {
  limit: 'memory.limit_in_bytes',
  usage: 'memory.usage_in_bytes',
  inactive: /^total_inactive_file (\d+)$/m,
};
/** Limits are read anew with every so many reads: they change only where a pod is resized in place. */
const LIMITS_EVERY = 10;
/** cgroup v1 has no word for "none": it says the largest number of pages. Nothing has as much memory. */
const NO_LIMIT = 2 ** 60;

/**
 * How near this process and its shards are to the end of their memory. That is the working set (usage without the cache
 * of files, as the kubelet counts it) of the cgroup, or of the one above it that is nearest to its limit; where none has
 * a limit, the resident memory of gateway and shards, of that and what the host has available.
 */
export class MemoryReader {
  readonly #root: string;
  readonly #groups: Group[];
  #limited: Limited[] = [];
  #reads = 0;

  /** @param root of the file system: another one in tests */
  constructor(root = '/') {
    this.#root = root;
    this.#groups = groupsOf(root);
  }

  /** @param resident bytes of gateway and shards @returns undefined where nothing can be read */
  read(resident: number): MemoryUse | undefined {
    if (this.#reads++ % LIMITS_EVERY === 0) this.#limited = this.#groups.flatMap(limitedBy);
    let tightest: MemoryUse | undefined;
    for (const group of this.#limited) {
      const use = useOf(group);
      if (use && (!tightest || use.used / use.limit > tightest.used / tightest.limit)) tightest = use;
    }
    return tightest ?? this.#ofHost(resident);
  }

  #ofHost(resident: number): MemoryUse | undefined {
    const available = /^MemAvailable:\s+(\d+) kB$/m.exec(text(join(this.#root, 'proc/meminfo')) ?? '')?.[1];
    if (available === undefined) return undefined;
    return { used: resident, limit: resident + Number(available) * 1_024, of: 'host' };
  }
}

/** The memory cgroup of this process and those above it, as far as they are to be seen from here. */
function groupsOf(root: string): Group[] {
  const lines = (text(join(root, 'proc/self/cgroup')) ?? '').split('\n');
  for (const [mount, names, path] of [
    ['sys/fs/cgroup/memory', V1, pathIn(lines, 'memory')],
    ['sys/fs/cgroup', V2, pathIn(lines, '')],
    ['sys/fs/cgroup/unified', V2, pathIn(lines, '')],
  ] as const) {
    if (path === undefined) continue;
    const steps = path.split('/').filter((step) => step !== '' && step !== '..');
    const groups = [];
    // In a container the path may be the host's, while the mount is already the container's own group: then only the last is there.
    for (let n = steps.length; n >= 0; n--) {
      const folder = join(root, mount, ...steps.slice(0, n));
      if (text(join(folder, names.usage)) !== undefined) groups.push({ folder, names });
    }
    if (groups.length > 0) return groups;
  }
  return [];
}

/** `hierarchy:controllers:path`; v2 names no controllers. */
function pathIn(lines: readonly string[], controller: string): string | undefined {
  for (const line of lines) {
    const [, controllers, ...path] = line.split(':');
    if (controllers?.split(',').includes(controller)) return path.join(':');
  }
  return undefined;
}

/** Nothing where the group has no limit. */
function limitedBy({ folder, names }: Group): Limited[] {
  const limit = Number(text(join(folder, names.limit)));
  return limit > 0 && limit < NO_LIMIT ? [{ folder, names, limit }] : [];
}

function useOf({ folder, names, limit }: Limited): MemoryUse | undefined {
  const usage = Number(text(join(folder, names.usage)));
  if (!(usage >= 0)) return undefined;
  const inactive = Number(names.inactive.exec(text(join(folder, 'memory.stat')) ?? '')?.[1] ?? 0);
  return { used: Math.max(0, usage - inactive), limit, of: 'cgroup' };
}

function text(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}
