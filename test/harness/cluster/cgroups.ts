import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { until } from '../until.ts';

/**
 * The name of the control group of a node's pods. Names of nodes have no hyphens, so that the groups of the cluster `e2e`
 * are told from those of `e2e-own`.
 */
export function cgroupName(cluster: string, node: string): string {
  return `pushcluster-${cluster}-${node}`;
}

/** Makes a control group for the pods of a node, in each hierarchy of this machine. Needs root. */
export function makeCgroup(name: string): void {
  for (const { root, version } of hierarchies()) {
    const path = join(root, name);
    mkdirSync(path, { recursive: true });
    if (version === 1) {
      // A new group of version 1 has no CPUs and no memory nodes: it gets those of the root.
      for (const file of ['cpuset.cpus', 'cpuset.mems'])
        if (existsSync(join(path, file))) copyFileSync(join(root, file), join(path, file));
    } else {
      const controllers = readFileSync(join(root, 'cgroup.controllers'), 'utf8').trim().split(/\s+/);
      const wanted = controllers.map((controller) => `+${controller}`).join(' ');
      writeFileSync(join(root, 'cgroup.subtree_control'), wanted);
      writeFileSync(join(path, 'cgroup.subtree_control'), wanted);
    }
  }
}

/** Removes the groups of a cluster's nodes, with all groups below, after their processes have ended. */
export async function removeCgroups(cluster: string): Promise<void> {
  await until(`the control groups of ${cluster} are gone`, () => {
    for (const path of cgroupsOf(cluster)) removeTree(path);
    return cgroupsOf(cluster).length === 0;
  });
}

/** Paths of the groups of a cluster's nodes, in all hierarchies. */
export function cgroupsOf(cluster: string): string[] {
  const prefix = cgroupName(cluster, '');
  return [...mounted('cgroup'), ...mounted('cgroup2')].flatMap((root) =>
    readdirSync(root)
      .filter((name) => name.startsWith(prefix) && !name.slice(prefix.length).includes('-'))
      .map((name) => join(root, name)),
  );
}

type Hierarchy = { root: string; version: 1 | 2 };

/**
 * The hierarchies that have controllers: those of version 1 if there are any (a mounted version 2 has none then),
 * otherwise that of version 2.
 */
function hierarchies(): Hierarchy[] {
  const first = mounted('cgroup');
  if (first.length > 0) return first.map((root) => ({ root, version: 1 }));
  return mounted('cgroup2').map((root) => ({ root, version: 2 }));
}

function mounted(type: 'cgroup' | 'cgroup2'): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , kind]) => kind === type)
    .map(([, root]) => root!);
}

function removeTree(path: string): void {
  for (const entry of readdirSync(path)) {
    const child = join(path, entry);
    if (statSync(child, { throwIfNoEntry: false })?.isDirectory()) removeTree(child);
  }
  try {
    rmdirSync(path);
  } catch (error) {
    // The kernel has not released a process that has just ended.
    if (!(error instanceof Error && 'code' in error && error.code === 'EBUSY')) throw error;
  }
}
