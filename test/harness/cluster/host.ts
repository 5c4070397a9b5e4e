import { execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { isAlive } from '../processes.ts';
import { until } from '../until.ts';

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export type HostOptions = {
  /** The name of the cluster, and the name of the host in it. */
  cluster: string;
  name: string;
  /** The host's first process: a program that reaps orphans and ends on SIGTERM. */
  init: string;
  /** The only folder below /var/lib that the host shares with this machine. */
  folder: string;
  detached: boolean;
};

/** An environment for programs: a host, or some of its namespaces. */
export type Place = {
  /** The command line that runs `command` in this environment. Programs and files need absolute paths. */
  command(command: readonly string[]): string[];
};

/**
 * A machine with its own processes, mounts and network: Linux namespaces whose first process is `init`. If `init` ends,
 * the kernel ends all other processes of the host and removes its mounts and its network. Needs root.
 */
export class Host implements Place {
  readonly name: string;
  /** Process id of the first process, as this machine sees it. */
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

  /** Finds a running host. Throws if there is none. */
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

  /** The host's processes and mounts, with this machine's network. */
  get onMachineNetwork(): Place {
    return {
      command: (command) => ['nsenter', '--target', String(this.pid), '--mount', '--uts', '--pid', '--', ...command],
    };
  }

  /** The host's network, with this machine's processes and files. */
  get network(): Place {
    return { command: (command) => ['nsenter', '--target', String(this.pid), '--net', '--', ...command] };
  }

  /** Runs a command on the host until it ends. Returns its standard output; throws with its standard error. */
  async run(...command: string[]): Promise<string> {
    const [program, ...args] = this.command(command);
    const { stdout } = await promisify(execFile)(program!, args, { maxBuffer: MAX_OUTPUT_BYTES });
    return stdout;
  }

  /** Ends all processes of the host. */
  async stop(): Promise<void> {
    await endHost(this.pid);
  }
}

/** Process ids of the first processes of a cluster's hosts, by host name, including those of a crashed run. */
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

/**
 * Ends a host by killing its first process, and waits until this process is gone: the kernel ends all others before.
 */
export async function endHost(pid: number): Promise<void> {
  if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  await until(`process ${pid} has ended`, () => !isAlive(pid));
}

/** The name of a host's first process in a list of processes. */
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
 * The host has its own copy of the folders in which programs keep sockets, locks, logs and state at fixed paths. The
 * kubelet changes kernel settings of the whole machine unless they already have its values. Therefore the host shows
 * the kubelet files with these values, and the machine keeps its own settings.
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
[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
exec -a "$marker" "$init"
`;

/** Prefix of a command: the command is killed when the process that started it ends, for whatever reason. */
export const DIES_WITH_PARENT: readonly string[] = ['setpriv', '--pdeathsig', 'KILL', '--'];
