import { execFile } from 'node:child_process';
import { constants, readdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { networkInterfaces, totalmem } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { bitmap, hexOf } from './cpus.ts';

/** A setting that this node does not have, and why. It is reported and is no failure. */
export class NotApplicable extends Error {
  override readonly name = 'NotApplicable';
}

const DEVICES_ATTEMPTS = 5;

export type Direction = 'rx' | 'tx';
export type Ring = { now: number; most: number };

/**
 * The settings of a node, by name: a sysctl (`net.ipv4.tcp_wmem`), the CPUs of a queue (`eth0 rx-0 rps_cpus`) or a ring
 * buffer (`eth0 rx ring`). `root` is the folder of /proc and /sys, which tests replace.
 */
export class Host {
  readonly #root: string;
  readonly #ethtool: string;
  readonly #net: string;
  /** Bytes of memory. */
  readonly memory: number;

  constructor({
    root = '/',
    ethtool = 'ethtool',
    net = '/proc/self/net',
    memory = totalmem(),
  }: { root?: string; ethtool?: string; net?: string; memory?: number } = {}) {
    this.#root = root;
    this.#ethtool = ethtool;
    this.#net = net;
    this.memory = memory;
  }

  /** @throws NotApplicable if the node does not have the setting */
  async read(name: string): Promise<string> {
    const target = targetOf(name);
    if (target.kind === 'ring') return String((await this.ring(target.device, target.direction)).now);
    const text = await this.#text(target.path);
    return target.kind === 'cpus' ? hexOf(bitmap(text)) : text.split(/\s+/).join(' ');
  }

  /** @throws NotApplicable if the setting is read-only or missing, Error if the kernel rejects the value */
  async write(name: string, value: string): Promise<void> {
    const target = targetOf(name);
    if (target.kind === 'ring') {
      await this.#run(target.device, '-G', target.device, target.direction, value);
      return;
    }
    try {
      // Without O_CREAT: a missing file must not be created.
      await writeFile(join(this.#root, target.path), value, { flag: constants.O_WRONLY | constants.O_TRUNC });
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOENT') throw new NotApplicable('the kernel does not have this setting');
      if (code === 'EACCES' || code === 'EPERM')
        throw new NotApplicable("read-only here: it can only be set in the machine's initial network namespace");
      throw new Error(`the kernel rejected ${value} (${code})`, { cause: error });
    }
  }

  async ring(device: string, direction: Direction): Promise<Ring> {
    const text = await this.#run(device, '-g', device);
    const [most, now] = [...text.matchAll(new RegExp(`^${direction.toUpperCase()}:\\s+(\\d+)$`, 'gm'))].map((found) =>
      Number(found[1]),
    );
    if (most === undefined || now === undefined)
      throw new NotApplicable(`${device} has no ${direction} ring with a configurable size`);
    return { now, most };
  }

  /**
   * Names of all network interfaces.
   * @throws NotApplicable if /sys shows another network namespace than that of this process: a container may see the
   * interfaces of its machine there, which it must not tune
   */
  async devices(): Promise<string[]> {
    for (let left = DEVICES_ATTEMPTS - 1; ; left--) {
      const shown = (await this.#list('sys/class/net')).filter((name) => name !== 'bonding_masters').sort();
      if (await this.#isOwnNetwork(shown)) return shown;
      // Interfaces of pods may be created or removed between the two reads: retry.
      if (left === 0) throw new NotApplicable('/sys shows the interfaces of another network namespace');
    }
  }

  /** Whether an interface is physical, unlike a veth, a bridge or a tunnel. */
  async isCard(device: string): Promise<boolean> {
    const path = await realpath(join(this.#root, 'sys/class/net', device)).catch(() => '');
    return path !== '' && !path.includes('/devices/virtual/');
  }

  /** `rx-0`, `rx-1`, … in numeric order. */
  async queues(device: string, direction: Direction): Promise<string[]> {
    const all = await this.#list(`sys/class/net/${device}/queues`);
    return all
      .filter((each) => each.startsWith(`${direction}-`))
      .sort((one, other) => Number(one.slice(3)) - Number(other.slice(3)));
  }

  /** Online CPUs as a list: `0-7`. */
  cpus(): Promise<string> {
    return this.#text('sys/devices/system/cpu/online');
  }

  /** CPUs of the NUMA node of an interface; all online CPUs if it is unknown. */
  async cpusNear(device: string): Promise<string> {
    const near = await this.#text(`sys/class/net/${device}/device/local_cpulist`).catch(() => '');
    return near || this.cpus();
  }

  /** Changes with each boot, when all settings of the kernel are lost. */
  bootId(): Promise<string> {
    return this.#text('proc/sys/kernel/random/boot_id');
  }

  async #isOwnNetwork(shown: readonly string[]): Promise<boolean> {
    const table = await readFile(join(this.#net, 'dev'), 'utf8');
    const own = [...table.matchAll(/^ *([^\s|]+):/gm)].map(([, name = '']) => name).sort();
    if (own.join() !== shown.join()) return false;
    for (const [name, addresses] of Object.entries(networkInterfaces())) {
      const there = await this.#text(`sys/class/net/${name}/address`).catch(() => undefined);
      if (there !== undefined && there !== addresses?.[0]?.mac) return false;
    }
    return true;
  }

  async #text(path: string): Promise<string> {
    try {
      return (await readFile(join(this.#root, path), 'utf8')).trim();
    } catch (error) {
      if (codeOf(error) === 'ENOENT')
        throw new NotApplicable('the kernel or the network namespace does not have this setting');
      throw error;
    }
  }

  async #list(path: string): Promise<string[]> {
    try {
      return await readdir(join(this.#root, path));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    }
  }

  async #run(device: string, ...args: string[]): Promise<string> {
    try {
      return (await promisify(execFile)(this.#ethtool, args, { timeout: 10_000 })).stdout;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw new NotApplicable('ethtool is not installed');
      const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
      if (/not supported|no such device/i.test(said))
        throw new NotApplicable(`${device} has no ring buffers with a configurable size`);
      throw new Error(`ethtool ${args.join(' ')}: ${said || String(error)}`, { cause: error });
    }
  }
}

type Target =
  | { kind: 'sysctl'; path: string }
  | { kind: 'cpus'; path: string }
  | { kind: 'ring'; device: string; direction: Direction };

/** @throws Error if the name is invalid: names may come from a file on the node */
function targetOf(name: string): Target {
  if (/^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(name))
    return { kind: 'sysctl', path: `proc/sys/${name.replaceAll('.', '/')}` };
  const [, device, what] =
    /^((?!\.\.? )[\w.:-]{1,15}) (rx-\d+ rps_cpus|tx-\d+ xps_cpus|rx ring|tx ring)$/.exec(name) ?? [];
  if (device === undefined || what === undefined) throw new Error(`"${name}" is not the name of a setting`);
  if (what.endsWith('ring')) return { kind: 'ring', device, direction: what.startsWith('rx') ? 'rx' : 'tx' };
  return { kind: 'cpus', path: `sys/class/net/${device}/queues/${what.replace(' ', '/')}` };
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
