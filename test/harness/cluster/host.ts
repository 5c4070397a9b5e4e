import { execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { isAlive } from '../processes.ts';
import { until } from '../until.ts';

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export type HostOptions = {
  /** The cluster that it belongs to, and its own name there. */
  cluster: string;
  name: string;
  /** A program that collects orphans and ends on SIGTERM: the host's first process. */
  init: string;
  /** The one folder below /var/lib that it shares with this machine. */
  folder: string;
  detached: boolean;
};

/** Where programs can run. */
export type Place = {
  /** What runs `command` there. Programs and files are found by absolute paths. */
  command(command: readonly string[]): string[];
};

/**
 * A machine of its own, as far as processes, mounts and the network go: namespaces whose first process is `init`. With it
 * all its processes end, and with these its mounts and its network. Needs root.
 */
export class Host implements Place {
  readonly name: string;
  /** The first process, as this machine sees it. */
  readonly pid: number;

  static async start({ cluster, name, init, folder, detached }: HostOptions): Promise<Host> {
    const marker = markerOf(cluster, name);
    const namespaces = ['--net', '--mount', '--uts', '--pid', '--fork', '--mount-proc', '--kill-child'];
    const command = ['unshare', ...namespaces, '--', 'bash', '-euc', FIRST_STEPS, 'bash', name, marker, init, folder];
    const [program, ...args] = detached ? command : [...DIES_WITH_PARENT, ...command];
    let said = '';
    const child = spawn(program!, args, { stdio: ['ignore', 'ignore', detached ? 'ignore' : 'pipe'], detached });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    if (detached) child.unref();
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    let pid: number | undefined;
    await until(`host ${name} is up`, () => {
      if (child.exitCode !== null) throw new Error(`host ${name} could not be made: ${said.trim()}`);
      pid = hostPids(cluster).get(name);
      return pid !== undefined;
    });
    return new Host(name, pid!);
  }

  /** One that runs already. Throws where there is none. */
  static find(cluster: string, name: string): Host {
    const pid = hostPids(cluster).get(name);
    if (pid === undefined) throw new Error(`cluster ${cluster} has no host ${name}: is it up?`);
    return new Host(name, pid);
  }

  private constructor(name: string, pid: number) {
    this.name = name;
    this.pid = pid;
  }

  command(command: readonly string[]): string[] {
    return ['nsenter', '--target', String(this.pid), '--net', '--mount', '--uts', '--pid', '--', ...command];
  }

  /** The host's processes and mounts, but this machine's network. */
  get onMachineNetwork(): Place {
    return {
      command: (command) => ['nsenter', '--target', String(this.pid), '--mount', '--uts', '--pid', '--', ...command],
    };
  }

  /** The host's network, but this machine's processes and files. */
  get network(): Place {
    return { command: (command) => ['nsenter', '--target', String(this.pid), '--net', '--', ...command] };
  }

  /** Runs a command there to its end. Returns its standard output; throws with its standard error. */
  async run(...command: string[]): Promise<string> {
    const [program, ...args] = this.command(command);
    const { stdout } = await promisify(execFile)(program!, args, { maxBuffer: MAX_OUTPUT_BYTES });
    return stdout;
  }

  /** Ends everything on it. */
  async stop(): Promise<void> {
    await endHost(this.pid);
  }
}

/** The first processes of a cluster's hosts, by name; those of a run that has crashed among them. */
export function hostPids(cluster: string): Map<string, number> {
  const prefix = markerOf(cluster, '');
  const found = new Map<string, number>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const [first = ''] = commandLine(entry).split('\0');
    if (first.startsWith(prefix)) found.set(first.slice(prefix.length), Number(entry));
  }
  return found;
}

/** Ends a host by its first process, and waits until nothing of it is left: the kernel ends all others before it. */
export async function endHost(pid: number): Promise<void> {
  if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  await until(`process ${pid} has ended`, () => !isAlive(pid));
}

/** It is what such a process is called in a list of processes. */
function markerOf(cluster: string, name: string): string {
  return `pushcluster-host:${cluster}:${name}`;
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/**
 * Sockets, locks, logs and states that programs keep at fixed places are the host's own. The kubelet sets these kernel settings for
 * the whole machine unless they are so already: it finds them so, and the machine keeps its own.
 */
const FIRST_STEPS = `
name=$1 marker=$2 init=$3 folder=$4
hostname "$name"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir /run/folder
mount --bind "$folder" /run/folder
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p "$folder"
mount --move /run/folder "$folder"
mkdir /run/settings
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=/proc/sys/\${setting%=*}
  [ -e "$file" ] || continue
  copy=/run/settings/\${file##*/}
  echo "\${setting#*=}" >"$copy"
  mount --bind "$copy" "$file"
done
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
exec -a "$marker" "$init"
`;

/** Before a command: it ends with the process that starts it, also where that is killed. */
export const DIES_WITH_PARENT: readonly string[] = ['setpriv', '--pdeathsig', 'KILL', '--'];
