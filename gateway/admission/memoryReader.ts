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
/** Limits are read again with every so many reads: they change only if a pod is resized in place. */
const LIMITS_EVERY = 10;
/** From here on a limit means none: cgroup v1 then gives the largest number of pages that it can. */
const NO_LIMIT = 2 ** 60;

/**
 * Reads how much memory gateway and shards use, and of how much. In a cgroup with a limit that is its working set, as the
 * kubelet counts it (usage without the inactive part of the page cache), and the limit. Of several cgroups above each other
 * it is the one nearest to its limit. Without a limit it is the resident memory of gateway and shards, and that plus what the
 * host has available.
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

  /** @param resident bytes of gateway and shards @returns undefined if nothing can be read */
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

/** The memory cgroup of this process and those above it, as far as this process sees them. */
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
    // In a container the path may be the host's while the mount is the container's own group. Then only the mount's root is there.
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

/** Empty if the group has no limit. */
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
