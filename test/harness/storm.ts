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
  /** Seconds since the command `go` or `drop`. */
  seconds: z.number(),
  /** Clients that are in the room now. */
  joined: z.number(),
  attempts: z.number(),
  /**
   * `resets`: connections that were reset or could not be opened; the next field: connections closed by a close frame.
   */
  resets: z.number(),
  closes: z.number(),
  frames: z.number(),
  /** Longest time without a frame on any client since `watch`, milliseconds. */
  silence: z.number(),
  /** Handshakes answered with an HTTP response, by status. */
  refused: z.record(z.string(), z.number()),
});
export type StormCounts = z.infer<typeof Counts>;

export type StormOptions = {
  /** `address:port`; each attempt picks one at random. */
  targets: readonly string[];
  connections: number;
  room?: string;
  /** Source addresses of the connections: the first one, and their number. */
  sources?: { first: string; count: number };
  /** A command that runs the client elsewhere, such as in another network namespace. */
  within?: readonly string[];
};

/** Many clients in one process that reconnect as the SDK does (test/clients/storm). End it at the end of the test. */
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

  /** All clients drop their connections and connect at once; resolves when all are in the room. */
  async rage(deadline: number): Promise<StormCounts> {
    return this.#ask('drop', deadline);
  }

  /** Resets the counts of `silence` and closures. */
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

/** Compiles the client program, once for each version of its source; returns the program's path. */
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

/** Killed when the test's process exits. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
