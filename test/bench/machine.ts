import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** The core of the server, and the core of all other processes. They are the same on a machine with one core. */
export const SERVER_CORE = 0;
export const CLIENT_CORE = Math.min(1, cpus().length - 1);

/** The machine on which the figures were measured. */
export function describeMachine() {
  return {
    cores: cpus().length,
    processor: cpus()[0]?.model ?? 'unknown',
    kernel: `Linux ${release()}`,
    memory: `${Math.round(totalmem() / 1024 ** 3)} GiB`,
    node: process.version,
    descriptors: descriptorLimit(),
    pinned:
      cpus().length > 1
        ? `server on core ${SERVER_CORE}, all else on core ${CLIENT_CORE}`
        : 'one core: nothing is pinned',
  };
}

/** The limit of file descriptors of a process. */
export function descriptorLimit(): number {
  const line = /Max open files\s+\S+\s+(\S+)/.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return line === undefined || line === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line);
}

/** Pins a running process, with all its threads and children, to one core. */
export function pin(pid: number, core: number) {
  for (const member of tree(pid)) execFileSync('taskset', ['-acp', String(core), String(member)], { stdio: 'ignore' });
}

/** CPU seconds of a process, its threads and its children. */
export type Cpu = { user: number; system: number };

/** A reading of the kernel's counters. */
export type CpuReading = { exact: number; userTicks: number; systemTicks: number };

/** The CPU use of a process, its threads and its children since their start. */
export function cpuOf(pid: number): CpuReading {
  const reading = { exact: 0, userTicks: 0, systemTicks: 0 };
  for (const member of tree(pid)) {
    try {
      for (const task of readdirSync(`/proc/${member}/task`))
        reading.exact += Number(readFileSync(`/proc/${member}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1e9;
      const fields = afterName(readFileSync(`/proc/${member}/stat`, 'utf8'));
      reading.userTicks += Number(fields[11]);
      reading.systemTicks += Number(fields[12]);
    } catch {
      // The process ended between the two reads.
    }
  }
  return reading;
}

/**
 * The CPU use between `before` and `after`, seconds. The sum comes from the scheduler (nanoseconds), its split into
 * user and system time from clock ticks. If no tick fell into the interval, all of it counts as system time.
 */
export function cpuBetween(before: CpuReading, after: CpuReading): Cpu {
  const exact = after.exact - before.exact;
  const user = after.userTicks - before.userTicks;
  const ticks = user + after.systemTicks - before.systemTicks;
  return ticks === 0
    ? { user: 0, system: exact }
    : { user: (exact * user) / ticks, system: exact * (1 - user / ticks) };
}

/** Bytes of memory of a process and its children: anonymous memory, and all resident memory including mapped files. */
export function memoryOf(pid: number): { rss: number; anonymous: number } {
  let rss = 0;
  let anonymous = 0;
  for (const member of tree(pid)) {
    const status = readFileSync(`/proc/${member}/status`, 'utf8');
    rss += 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
    anonymous += 1024 * Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0);
  }
  return { rss, anonymous };
}

/** Bytes that the kernel uses for sockets: all slabs, and the TCP buffers. */
export function kernelMemory(): number {
  const slab = Number(/^Slab:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
  const pages = Number(/^TCP:.* mem (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'utf8'))?.[1] ?? 0);
  return slab + pages * 4096;
}

/** A process and all its descendants. */
export function tree(pid: number): number[] {
  const parents = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const parent = Number(afterName(readFileSync(`/proc/${entry}/stat`, 'utf8'))[1]);
      parents.set(parent, [...(parents.get(parent) ?? []), Number(entry)]);
    } catch {
      // The process has ended meanwhile.
    }
  }
  const members = [pid];
  for (let i = 0; i < members.length; i++) members.push(...(parents.get(members[i]!) ?? []));
  return members;
}

/** The fields of /proc/PID/stat after the process name, which may contain spaces. The first is the state. */
function afterName(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}
