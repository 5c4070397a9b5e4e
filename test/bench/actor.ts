import { type ChildProcess, spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { tree } from './machine.ts';

const Line = z.looseObject({ event: z.string() });
type Line = z.infer<typeof Line>;

const running = new Set<Actor>();

/** Ends all processes that the bench started and that still run. */
export async function stopActors() {
  await Promise.all([...running].map((actor) => actor.stop()));
}

/** A process that is mostly pinned to one core. It takes commands as lines and answers with lines of JSON. */
export class Actor {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #waiting: { event: string; resolve: (line: Line) => void; reject: (error: Error) => void }[] = [];
  readonly #kept: Line[] = [];
  #tail: string[] = [];

  /** @param core the only core that the process may use; undefined: it may use all */
  constructor(
    name: string,
    core: number | undefined,
    command: string,
    args: readonly string[],
    environment: Record<string, string> = {},
  ) {
    this.name = name;
    const [program, rest] =
      core !== undefined && cpus().length > 1
        ? ['taskset', ['-c', String(core), command, ...args]]
        : [command, [...args]];
    this.#child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...environment } });
    if (this.#child.pid === undefined) throw new Error(`${name} can't be started: is ${program} installed?`);
    this.pid = this.#child.pid;
    running.add(this);
    this.exited = new Promise((resolve) => {
      this.#child.once('exit', (code) => {
        running.delete(this);
        const error = new Error(`${name} ended with ${code}:\n${this.#tail.join('\n')}`);
        for (const { reject } of this.#waiting.splice(0)) reject(error);
        resolve(code);
      });
    });
    // A write to a process that has just ended fails; the exit handler reports this end.
    this.#child.stdin!.on('error', () => {});
    createInterface(this.#child.stdout!).on('line', (line) => this.#heard(line));
    createInterface(this.#child.stderr!).on('line', (line) => this.#remember(line));
  }

  send(line: string) {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** The next line of this event. Rejects if the process ends, or prints nothing for `timeout` milliseconds. */
  next(event: string, timeout = 60_000): Promise<Line> {
    const at = this.#kept.findIndex((line) => line.event === event);
    if (at >= 0) return Promise.resolve(this.#kept.splice(at, 1)[0]!);
    return new Promise((resolve, reject) => {
      const wait = { event, resolve, reject };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(wait), 1);
        reject(new Error(`${this.name} did not say "${event}" within ${timeout} ms:\n${this.#tail.join('\n')}`));
      }, timeout);
      wait.resolve = (line) => {
        clearTimeout(timer);
        resolve(line);
      };
      wait.reject = (error) => {
        clearTimeout(timer);
        reject(error);
      };
      this.#waiting.push(wait);
    });
  }

  signal(signal: NodeJS.Signals) {
    this.#child.kill(signal);
  }

  /** Ends the process and its children by SIGTERM, and after `patience` milliseconds by SIGKILL. */
  async stop(patience = 500) {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const [, ...children] = tree(this.pid);
    this.#child.stdin!.end();
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), patience);
    await this.exited;
    clearTimeout(timer);
    for (const child of children) {
      try {
        process.kill(child, 'SIGKILL');
      } catch {
        // The child ended with its parent, as it should.
      }
    }
  }

  #heard(text: string) {
    const line = parseLine(text);
    if (!line) {
      this.#remember(text);
      return;
    }
    const at = this.#waiting.findIndex(({ event }) => event === line.event);
    if (at >= 0) this.#waiting.splice(at, 1)[0]!.resolve(line);
    else this.#kept.push(line);
  }

  #remember(text: string) {
    this.#tail = [...this.#tail, text].slice(-20);
  }
}

function parseLine(text: string): Line | undefined {
  if (!text.startsWith('{"event"')) return undefined;
  try {
    return Line.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
