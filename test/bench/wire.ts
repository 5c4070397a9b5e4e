import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** Bits a second. */
export const LINE_RATE = 10e9;
/**
 * Bytes of payload in an Ethernet frame of 1,514 (the preamble and the gap between frames, which a card adds, are not played): MTU
 * 1,500 less IP and TCP headers with timestamps.
 */
export const PAYLOAD_SHARE = 1_448 / 1_514;

/** Of RFC 2544: for benchmarks, and routed nowhere. */
const SERVER = '198.18.77.1';
const CLIENT = '198.18.77.2';
const DEVICE = 'pcwire0';
/** tbf's, as long as the wire is busy for 3 ms. */
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

/** What the wire has carried, headers of all packets included, and what it had no room for. */
export type Carried = { bytes: number; drops: number };

/** Why no wire can be played here; undefined where it can. */
export function wireProblem(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may make network devices';
  const limited = spawnSync('unshare', ['--net', 'tc', ...addLimit('lo')], { encoding: 'utf8' });
  if (limited.status !== 0)
    return `tc (Debian: apt-get install iproute2) or this kernel's tbf is missing: ${limited.stderr.trim()}`;
  return undefined;
}

/**
 * A wire of 10 Gbit/s from this machine's network to another one: a pair of veth devices, what leaves here limited by tbf. It goes
 * with the process that holds the other network, and that one with this process.
 */
export class Wire {
  /** To listen on. */
  readonly address = SERVER;
  /** What runs a command at its other end. */
  readonly farEnd: readonly string[];
  readonly #holder: ChildProcess;

  /** Throws where the kernel can't: wireProblem() has said what else may be missing. */
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

  /** Nothing of it stays. */
  cut(): void {
    try {
      ip(`link del ${DEVICE}`);
    } catch {
      // It was not there yet.
    }
    this.#holder.kill('SIGKILL');
  }
}

/**
 * Seconds that a core has spent in interrupts since the machine's start: what a wire takes from its queue later than its sender
 * put it there is done in these, and may be in no process's time.
 */
export function interruptsOf(core: number): number {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'))?.[1];
  if (line === undefined) throw new Error(`there is no core ${core}`);
  // user, nice, system, idle, iowait, irq, softirq; in hundredths of a second.
  const [, , , , , irq = 0, softirq = 0] = line.split(' ').map(Number);
  return (irq + softirq) / 100;
}

function ip(line: string, within: readonly string[] = []): void {
  const [program = '', ...args] = [...within, 'ip', ...line.split(' ')];
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
