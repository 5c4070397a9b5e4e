import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { until } from './until.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
const SOURCE = `${ROOT}test/clients/storm/storm.c`;

const Counts = z.object({
  event: z.enum(['all', 'stat']),
  /** Since `go` or `drop`. */
  seconds: z.number(),
  /** In the room now. */
  joined: z.number(),
  attempts: z.number(),
  /** Connections that were cut, or could not be made; and those closed by a close frame. */
  resets: z.number(),
  closes: z.number(),
  frames: z.number(),
  /** Longest time that a client waited for a frame since `watch`, milliseconds. */
  silence: z.number(),
  /** Handshakes answered by HTTP, by status. */
  refused: z.record(z.string(), z.number()),
});
export type StormCounts = z.infer<typeof Counts>;

export type StormOptions = {
  /** `address:port`; each attempt goes to one of them by chance. */
  targets: readonly string[];
  connections: number;
  room?: string;
  /** Addresses that the connections come from, and the first of them. */
  sources?: { first: string; count: number };
  /** A command that runs the client elsewhere, such as in another network namespace. */
  within?: readonly string[];
};

/** Many clients in one process that come back as the SDK does (test/clients/storm). End it at the end of the test. */
export class Storm {
  readonly #child: ChildProcess;
  #last: StormCounts | undefined;
  #answers = 0;

  static async start({ targets, connections, room = 'live', sources, within = [] }: StormOptions): Promise<Storm> {
    const from = sources ? ['--sources', String(sources.count), '--source', sources.first] : [];
    const command = [
      ...within,
      compiled(),
      '--targets',
      targets.join(','),
      '--connections',
      String(connections),
      '--room',
      room,
      ...from,
    ];
    const [program = '', ...args] = command;
    return new Storm(spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] }));
  }

  private constructor(child: ChildProcess) {
    this.#child = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    child.stdin?.on('error', () => {});
    if (child.stdout)
      createInterface({ input: child.stdout }).on('line', (line) => {
        const counts = Counts.safeParse(JSON.parse(line));
        if (!counts.success) return;
        this.#last = counts.data;
        this.#answers++;
      });
  }

  /** All connect at once, cutting what they had; resolves when all are in the room. */
  async rage(deadline: number): Promise<StormCounts> {
    return this.#ask('drop', deadline);
  }

  /** From now on `silence` and closures are counted anew. */
  watch(): void {
    this.#child.stdin?.write('watch\n');
  }

  counts(): Promise<StormCounts> {
    return this.#ask('stat', 60_000);
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  async #ask(command: string, deadline: number): Promise<StormCounts> {
    const before = this.#answers;
    this.#child.stdin?.write(`${command}\n`);
    try {
      await until(`the storm answers to "${command}"`, () => this.#answers > before, deadline);
    } catch (error) {
      if (command === 'stat' || this.#child.exitCode !== null) throw error;
      throw new Error(`not all came back within ${deadline} ms: ${JSON.stringify(await this.counts())}`);
    }
    return this.#last!;
  }
}

/** The client's program, compiled once for each content of its source. */
function compiled(): string {
  const hash = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 16);
  const program = `${ROOT}.build/storm-${hash}`;
  if (existsSync(program)) return program;
  mkdirSync(dirname(program), { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  execFileSync('cc', ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-o', unfinished, SOURCE], { stdio: 'inherit' });
  renameSync(unfinished, program);
  return program;
}

/** None outlives the test's process. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
