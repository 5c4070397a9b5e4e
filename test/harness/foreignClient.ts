import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { z } from 'zod';
import { until } from './until.ts';

const run = promisify(execFile);
const CLIENTS = new URL('../clients/', import.meta.url).pathname;
/** Debian's Python, which has python3-websockets. Another Python may come first in the PATH. */
const PYTHON = '/usr/bin/python3';

const Event = z.discriminatedUnion('event', [
  z.object({ event: z.literal('open'), subprotocol: z.string() }),
  z.object({ event: z.literal('frame'), binary: z.boolean(), text: z.string() }),
  z.object({ event: z.literal('pong') }),
  z.object({ event: z.literal('close'), code: z.number(), reason: z.string() }),
  z.object({ event: z.literal('refused'), status: z.number() }),
]);
type Event = z.infer<typeof Event>;

/** The command that starts a client: a program and its first arguments. */
export type ClientCommand = readonly string[];

/** Python's `websockets`. */
export async function pythonClient(): Promise<ClientCommand> {
  return [PYTHON, join(CLIENTS, 'python', 'client.py')];
}

/** Go's `github.com/coder/websocket`, built once under ~/.cache/pushcluster. */
export async function goClient(): Promise<ClientCommand> {
  const folder = join(CLIENTS, 'go');
  const sources = await Promise.all(['main.go', 'go.mod', 'go.sum'].map((name) => readFile(join(folder, name))));
  const hash = createHash('sha256');
  for (const source of sources) hash.update(source);
  const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pushcluster');
  const binary = join(cache, `go-client-${hash.digest('hex').slice(0, 16)}`);
  if (!existsSync(binary)) {
    await mkdir(cache, { recursive: true });
    const work = await mkdtemp(join(cache, 'go-client-setup.'));
    try {
      await run('go', ['build', '-o', join(work, 'client'), '.'], {
        cwd: folder,
        env: { ...process.env, CGO_ENABLED: '0' },
      });
      await rename(join(work, 'client'), binary);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  return [binary];
}

/** A WebSocket client of another project, in a process of its own. */
export class ForeignClient {
  readonly events: Event[] = [];
  readonly #child: ChildProcess;
  #errors = '';

  constructor([program = '', ...args]: ClientCommand, url: string, subprotocol?: string) {
    const child = spawn(program, [...args, url, ...(subprotocol === undefined ? [] : [subprotocol])], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    if (child.stdout)
      createInterface(child.stdout).on('line', (line) => this.events.push(Event.parse(JSON.parse(line))));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
  }

  /** Sends a text message. `.ping` makes the client send a ping, `.close` makes it close the connection. */
  say(line: string | object): void {
    this.#child.stdin?.write(`${typeof line === 'string' ? line : JSON.stringify(line)}\n`);
  }

  /** The next event of `kind`, starting with the one at index `from` among the events of that kind. */
  async event<E extends Event['event']>(kind: E, from = 0): Promise<Extract<Event, { event: E }>> {
    const found = () =>
      this.events.filter((event): event is Extract<Event, { event: E }> => event.event === kind)[from];
    await until(
      `the client has a ${kind} (it has ${this.events.length} events; ${this.#errors})`,
      () => found() !== undefined,
    );
    return found()!;
  }

  /** Texts of the frames that the client received. */
  get texts(): string[] {
    return this.events.flatMap((event) => (event.event === 'frame' ? [event.text] : []));
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}

/** Killed when the test's process exits, for whatever reason. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
