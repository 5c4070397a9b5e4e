import { readdirSync, readFileSync } from 'node:fs';

/**
 * Kills the processes of a pod's containers without a word, as a crash or the kernel does. The kubelet starts them again.
 * Works only on a cluster of this machine.
 */
export function crash({ uid }: { uid: string }): void {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && isOf(entry, uid));
  if (pids.length === 0) throw new Error(`the pod ${uid} has no process on this machine`);
  for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
}

/** Whether a process belongs to a container of the pod that runs Node: not to its sandbox. */
function isOf(pid: string, uid: string): boolean {
  try {
    return (
      readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`pod${uid}`) &&
      /(^|\/)node\0/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
    );
  } catch {
    return false;
  }
}
