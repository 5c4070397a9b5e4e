import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** Bits per second. */
export const LINE_RATE = 10e9;
/**
 * Payload share of an Ethernet frame of 1,514 bytes: an MTU of 1,500 minus the IP and TCP headers with timestamps. The
 * preamble and the gap between frames, which a network card adds, are not simulated.
 */
export const PAYLOAD_SHARE = 1_448 / 1_514;

/** A range of RFC 2544 for benchmarks, which nobody routes. */
const SERVER = '198.18.77.1';
const CLIENT = '198.18.77.2';
const DEVICE = 'pcwire0';
/** The burst of tbf, bytes: what the wire carries in 3 ms. */
const BURST = '4m';
const LATENCY = '50ms';

const addLimit = (device: string) => [
  'qdisc',
  'add',
  'dev',
  device,
  'root',
  'tbf',
  'rate',
  '10gbit',
  'burst',
  BURST,
  'latency',
  LATENCY,
];

const Counters = z.array(z.object({ kind: z.string(), bytes: z.number(), drops: z.number() }));

/** Bytes that the wire has carried, with all packet headers, and packets that it dropped. */
export type Carried = { bytes: number; drops: number };

/** The reason why no wire can be simulated here; undefined if one can. */
export function wireProblem(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make network devices';
  const limited = spawnSync('unshare', ['--net', 'tc', ...addLimit('lo')], { encoding: 'utf8' });
  if (limited.status !== 0)
    return `tc (Debian: apt-get install iproute2) or this kernel's tbf is missing: ${limited.stderr.trim()}`;
  return undefined;
}

/**
 * A 10 Gbit/s wire from this machine's network to another network namespace: a pair of veth devices whose outgoing
 * traffic tbf limits. The wire ends with the process that holds the namespace, and that process ends with this one.
 */
export class Wire {
  /** The address to listen on. */
  readonly address = SERVER;
  /** Command prefix that runs a command at the far end. */
  readonly farEnd: readonly string[];
  readonly #holder: ChildProcess;

  /** Throws if the kernel lacks a feature. Check wireProblem() first for other requirements. */
  static async lay(): Promise<Wire> {
    const holder = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', '--', 'unshare', '--net', 'sh', '-c', 'echo up; exec cat'],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    await new Promise<void>((resolve, reject) => {
      holder.stdout?.once('data', () => resolve());
      holder.once('error', reject).once('exit', (code) => reject(new Error(`unshare --net ended with ${code}`)));
    });
    const wire = new Wire(holder);
    try {
      ip(`link add name ${DEVICE} type veth peer name ${DEVICE} netns ${holder.pid}`);
      ip(`addr add ${SERVER}/30 dev ${DEVICE}`);
      ip(`link set ${DEVICE} up`);
      ip(`addr add ${CLIENT}/30 dev ${DEVICE}`, wire.farEnd);
      ip(`link set ${DEVICE} up`, wire.farEnd);
      ip('link set lo up', wire.farEnd);
      execFileSync('tc', addLimit(DEVICE));
    } catch (error) {
      wire.cut();
      throw error;
    }
    return wire;
  }

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.farEnd = ['nsenter', `--net=/proc/${holder.pid}/ns/net`, '--'];
  }

  carried(): Carried {
    const text = execFileSync('tc', ['-s', '-j', 'qdisc', 'show', 'dev', DEVICE], { encoding: 'utf8' });
    const tbf = Counters.parse(JSON.parse(text)).find(({ kind }) => kind === 'tbf');
    if (tbf === undefined) throw new Error(`${DEVICE} has lost its limit of 10 Gbit/s`);
    return { bytes: tbf.bytes, drops: tbf.drops };
  }

  /** Removes the wire and its namespace. */
  cut(): void {
    try {
      ip(`link del ${DEVICE}`);
    } catch {
      // The device did not exist yet.
    }
    this.#holder.kill('SIGKILL');
  }
}

/**
 * Seconds that a core has spent in interrupts since the machine started. Packets that leave the queue of the wire later
 * than the sender queued them are processed in interrupts, whose time may belong to no process.
 */
export function interruptsOf(core: number): number {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'))?.[1];
  if (line === undefined) throw new Error(`there is no core ${core}`);
  // user, nice, system, idle, iowait, irq, softirq; hundredths of a second.
  const [, , , , , irq = 0, softirq = 0] = line.split(' ').map(Number);
  return (irq + softirq) / 100;
}

function ip(line: string, within: readonly string[] = []): void {
  const [program = '', ...args] = [...within, 'ip', ...line.split(' ')];
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
