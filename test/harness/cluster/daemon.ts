import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { until } from '../until.ts';
import { DIES_WITH_PARENT, type Place } from './host.ts';

/** Several programs start at the same time, and several clusters may. */
const START_DEADLINE_MS = 180_000;
/** Milliseconds until SIGKILL. By itself an API server waits up to a minute for long requests such as watches. */
const STOP_DEADLINE_MS = 5_000;
const LOG_TAIL_LINES = 30;

export type DaemonOptions = {
  command: readonly [string, ...string[]];
  /** File that receives the output of the process, over all its starts. */
  logFile: string;
  /** Whether the server is ready; called repeatedly after a start. */
  ready: () => Promise<boolean>;
  /** Host on which the process runs; this machine by default. */
  host?: Place;
  env?: Record<string, string>;
  /** The process outlives this process. By default it is killed when this process ends, for whatever reason. */
  detached?: boolean;
};

/** A server program that a test starts, stops, kills, pauses and restarts. */
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

  /** The process id as this machine sees it, even if the process has its own process namespace. */
  get pid(): number {
    if (this.#pid === undefined) throw new Error(`${this.name} does not run`);
    return this.#pid;
  }

  /** The last lines of the log. */
  get logTail(): string {
    return readFileSync(this.#options.logFile, 'utf8').trimEnd().split('\n').slice(-LOG_TAIL_LINES).join('\n');
  }

  /**
   * Starts the process and waits until it is ready. Throws with the log output if the process ends before, or at the
   * deadline.
   */
  async start(): Promise<void> {
    await this.launch();
    await this.ready();
  }

  /** Starts the process and waits only for its process id. */
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

  /** Waits until the process is ready. Throws with the log output if the process ends before, or at the deadline. */
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

  /** Stops the process gracefully (SIGTERM), with a short deadline. */
  async stop(): Promise<void> {
    this.#signal('SIGTERM');
    // A paused process handles SIGTERM only after SIGCONT.
    this.#signal('SIGCONT');
    const timer = setTimeout(() => this.#signal('SIGKILL'), STOP_DEADLINE_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Kills the process (SIGKILL). `start` starts it again. */
  async kill(): Promise<void> {
    this.#signal('SIGKILL');
    await this.#ended;
  }

  /** Pauses the process (SIGSTOP): connections stay open, but get no answers. */
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
      // The process has just ended by itself.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
    }
  }

  /** To enter a process namespace, nsenter forks. The program is the only child of the nsenter process. */
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
