import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { until } from '../until.ts';
import { DIES_WITH_PARENT, type Place } from './host.ts';

const START_DEADLINE_MS = 60_000;
/** An API server waits for long requests, watches among them, for up to a minute. */
const STOP_DEADLINE_MS = 5_000;
const LOG_TAIL_LINES = 30;

export type DaemonOptions = {
  command: readonly [string, ...string[]];
  /** Gets what the process says, over all its starts. */
  logFile: string;
  /** Answers whether it serves; asked again and again after a start. */
  ready: () => Promise<boolean>;
  /** Where it runs: on this machine itself where absent. */
  host?: Place;
  env?: Record<string, string>;
  /** It outlives this process, instead of ending with it, however that ends. */
  detached?: boolean;
};

/** A server program: started, killed, paused and started again by a test. */
export class Daemon {
  readonly name: string;
  readonly #options: DaemonOptions;
  #child: ChildProcess | undefined;
  #pid: number | undefined;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: DaemonOptions) {
    this.name = basename(options.command[0]);
    this.#options = options;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Its process id as this machine sees it, also where it runs in a process namespace of its own. */
  get pid(): number {
    if (this.#pid === undefined) throw new Error(`${this.name} does not run`);
    return this.#pid;
  }

  /** The last lines that it has logged. */
  get logTail(): string {
    return readFileSync(this.#options.logFile, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
  }

  /** Starts the process and waits until it is ready. Throws with what it logged where it ends before or takes too long. */
  async start(): Promise<void> {
    await this.launch();
    await this.ready();
  }

  /** Starts the process and waits for nothing but its process id. */
  async launch(): Promise<void> {
    if (this.#child) throw new Error(`${this.name} runs already`);
    const { command, host, logFile, env, detached = false } = this.#options;
    const log = openSync(logFile, 'a');
    const [program, ...args] = [...(detached ? [] : DIES_WITH_PARENT), ...(host ? host.command(command) : command)];
    const child = spawn(program!, args, {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...env },
      detached,
    });
    closeSync(log);
    this.#child = child;
    this.#ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', () => {
        this.#child = undefined;
        this.#pid = undefined;
        resolve();
      });
    });
    if (detached) child.unref();
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    this.#pid = host ? await this.#onlyChildOf(child) : child.pid;
  }

  /** Waits until it is ready. Throws with what it logged where it ends before or takes too long. */
  async ready(): Promise<void> {
    try {
      await until(
        `${this.name} is ready`,
        async () => {
          if (!this.running) throw new Error(`${this.name} ended at its start`);
          return this.#options.ready();
        },
        START_DEADLINE_MS,
      );
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}; it logged:\n${this.logTail}`);
    }
  }

  /** Ends it in its own time (SIGTERM), which is short. */
  async stop(): Promise<void> {
    this.#signal('SIGTERM');
    // A paused one takes no SIGTERM before it goes on.
    this.#signal('SIGCONT');
    const timer = setTimeout(() => this.#signal('SIGKILL'), STOP_DEADLINE_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Ends it at once (SIGKILL): `start` brings it back. */
  async kill(): Promise<void> {
    this.#signal('SIGKILL');
    await this.#ended;
  }

  /** Stops it in its tracks (SIGSTOP): connections stay open, nothing is answered. */
  async pause(): Promise<void> {
    this.#signal('SIGSTOP');
    await until(`${this.name} stands`, () => /^\d+ \(.*\) T /.test(readFileSync(`/proc/${this.pid}/stat`, 'utf8')));
  }

  resume(): void {
    this.#signal('SIGCONT');
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#pid === undefined) return;
    try {
      process.kill(this.#pid, signal);
    } catch (error) {
      // It has just ended by itself.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }

  /** Entering a process namespace takes a process outside of it, whose one child is the program. */
  async #onlyChildOf(parent: ChildProcess): Promise<number> {
    let pid = 0;
    await until(`${this.name} has a process id`, () => {
      if (parent.exitCode !== null) throw new Error(`${this.name} ended at its start; it logged:\n${this.logTail}`);
      pid = Number(readFileSync(`/proc/${parent.pid}/task/${parent.pid}/children`, 'utf8').trim());
      return pid > 0;
    });
    return pid;
  }
}
