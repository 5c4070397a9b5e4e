import { readdirSync, readFileSync } from 'node:fs';

/** Limit of open file descriptors (RLIMIT_NOFILE) of this process, and of each child process. */
export function descriptorLimit(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return soft === undefined ? 1_024 : Number(soft);
}

/** File descriptors that this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
