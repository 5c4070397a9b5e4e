import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { SETTINGS_MARK } from '@pushcluster/protocol/settingsMark.ts';
import { z } from 'zod';
import { Metrics } from './metrics.ts';
import { freePorts } from './ports.ts';
import type { PushAnswer, Target } from './pushes.ts';
import { merged, SettingsFolder, type SettingsInput } from './settingsFolder.ts';
import { PATIENCE_MS, until } from './until.ts';

const ROOT = new URL('../../', import.meta.url).pathname;
/** Milliseconds. An emulated program starts far slower, more so beside other load. */
const EMULATED_START_DEADLINE_MS = 120_000;
const STOP_DEADLINE_MS = 30_000;

const Answered = z.object({ gateways: z.object({ asked: z.number(), answered: z.number() }) });

export type Exit = { code: number | null; signal: NodeJS.Signals | null; at: number };
export type ProcessOptions = {
  /** Merged over the harness's settings: loopback, free ports, a short drain, no refusals while the loop is late. */
  settings?: SettingsInput;
  /** URLs of nats-servers; if there are none, the in-process bus is used. */
  nats?: readonly string[];
  /** Limit of file descriptors for each of its processes. */
  nofile?: number;
  /** Runs this installation instead of the sources. */
  installed?: Installed;
  /** Whether the settings file says that the operator wrote it. */
  byOperator?: boolean;
  /** Environment variables of its processes, beside those of the test. */
  env?: Record<string, string>;
};
/** An installation as in an image, or the sources of another version, and the Node that runs them. */
export type Installed = { node: string; app: string; env: Record<string, string> };

/** A gateway or logic process with a settings file of its own. Stop it at the end of the test. */
class ServerProcess {
  readonly port: number;
  readonly adminPort: number;
  readonly folder: SettingsFolder;
  settings: SettingsInput;
  /**
   * Limit of file descriptors for each of its processes, from the next start on; undefined: the limit of the test's
   * process.
   */
  nofile: number | undefined;
  /** The installation to run, from the next start on; undefined: the sources. */
  installed: Installed | undefined;
  /** Environment variables of its processes, from the next start on. */
  env: Record<string, string> = {};
  #name: string;
  #entry: string;
  #child: ChildProcess | undefined;
  #exit: Promise<Exit> | undefined;
  /** Resolves when the process and its shards have ended and `#output` has all that they wrote. */
  #silent: Promise<unknown> = Promise.resolve();
  #output = '';
  #generation = 1;
  readonly #mark: string;

  constructor(entry: string, port: number, adminPort: number, settings: SettingsInput, mark = '') {
    this.#entry = entry;
    this.#name = `${entry} on ${port}`;
    this.port = port;
    this.adminPort = adminPort;
    this.settings = { ...settings, generation: 1 };
    this.#mark = mark;
    this.folder = new SettingsFolder(this.#text);
  }

  get #text(): string {
    return `${this.#mark}${JSON.stringify(this.settings)}`;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.#name} does not run`);
    return pid;
  }

  /** Log output of the process and its shards since the last start: JSON lines. */
  get output(): string {
    return this.#output;
  }

  /** Resolves when the process has ended. */
  get exit(): Promise<Exit> {
    if (!this.#exit) throw new Error(`${this.#name} was never started`);
    return this.#exit;
  }

  /** Starts the process, also after it has ended, and waits until it is ready. */
  async start(): Promise<void> {
    this.launch();
    await this.ready();
  }

  /** Starts the process without waiting. */
  launch(): void {
    this.#output = '';
    const { node, app, env } = this.installed ?? { node: process.execPath, app: ROOT, env: {} };
    const source = join(app, this.#entry);
    const entry = existsSync(source) ? source : source.replace(/\.ts$/, '.js');
    const command = [node, entry, '--config', this.folder.file];
    // Node raises the soft limit to the hard limit. Therefore a shell lowers both before it starts Node.
    const limited = ['sh', '-c', `ulimit -n ${this.nofile} && exec "$0" "$@"`, ...command];
    const [program = '', ...args] = this.nofile === undefined ? command : limited;
    const child = spawn(program, args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'pushcluster-compile-cache'), ...env, ...this.env },
    });
    running.add(child);
    this.#child = child;
    this.#exit = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        running.delete(child);
        resolve({ code, signal, at: performance.now() });
      });
    });
    this.#silent = new Promise((resolve) => child.once('close', resolve));
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
  }

  /** Waits until /readyz answers 200. Throws with the log output if the process ends before, or at the deadline. */
  async ready(): Promise<void> {
    const child = this.#child;
    try {
      await until(
        `${this.#name} is ready`,
        async () => {
          if (child?.exitCode !== null || child.signalCode !== null)
            throw new Error(`${this.#name} ended at its start`);
          return (await this.probe('/readyz')) === 200;
        },
        this.installed ? EMULATED_START_DEADLINE_MS : PATIENCE_MS,
      );
    } catch (error) {
      child?.kill('SIGKILL');
      // Its last words may still be in the pipe when it has ended.
      await this.#silent;
      throw new Error(`${error instanceof Error ? error.message : String(error)}; it logged:\n${this.#output}`);
    }
  }

  /** HTTP status of a path of the admin server; undefined if the server does not answer. */
  async probe(path: '/readyz' | '/healthz'): Promise<number | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.adminPort}${path}`);
      await response.arrayBuffer();
      return response.status;
    } catch {
      return undefined;
    }
  }

  /** The status that the process reports on its admin server. */
  async status(): Promise<PodStatus> {
    const response = await fetch(`http://127.0.0.1:${this.adminPort}/status`);
    return PodStatus.parse(await response.json());
  }

  async metrics(): Promise<Metrics> {
    const response = await fetch(`http://127.0.0.1:${this.adminPort}/metrics`);
    return new Metrics(await response.text());
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Stops the process gracefully and removes its folder. */
  async stop(): Promise<Exit> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), STOP_DEADLINE_MS);
    const exit = await this.exit;
    clearTimeout(timer);
    this.folder.remove();
    return exit;
  }

  /** Kills the process; `start` starts it again. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> {
    this.signal(signal);
    return this.exit;
  }

  /**
   * Changes settings of the running process and waits until they are in effect. Returns the milliseconds that this
   * took.
   */
  async configure(change: SettingsInput, how: 'swap' | 'rewrite' = 'swap'): Promise<number> {
    const began = performance.now();
    this.settings = merged(this.settings, { ...change, generation: ++this.#generation });
    this.folder[how](this.#text);
    const generation = this.#generation;
    await until(
      `generation ${generation} counts on ${this.#name}`,
      async () => (await this.generation()) === generation,
    );
    return performance.now() - began;
  }

  async generation(): Promise<number> {
    const name = this.#entry.startsWith('gateway') ? 'gateway' : 'logic';
    return (await this.metrics()).sum(`pushcluster_${name}_config_generation`);
  }
}

export class GatewayProcess extends ServerProcess {
  /** Process ids of the children, which are the shards. */
  get shardPids(): number[] {
    return childrenOf(this.pid);
  }

  /** The process's own count of connections, as of the last reports of its shards. */
  async connections(): Promise<number> {
    return (await this.metrics()).sum('pushcluster_gateway_connections');
  }

  /** Waits until the process counts `connections`. */
  async holds(connections: number): Promise<void> {
    await until(`${connections} connections are counted`, async () => (await this.connections()) === connections);
  }
}

export class LogicProcess extends ServerProcess {
  /** Pushes through the v1 API. `items` are JSON texts, or the whole list as one JSON text. */
  push(
    to: Target,
    items: readonly string[] | string,
    more: { id?: string; urgent?: boolean } = {},
  ): Promise<PushAnswer> {
    const list = typeof items === 'string' ? items : `[${items.join(',')}]`;
    const rest = Object.entries(more).map(([key, value]) => `,${JSON.stringify(key)}:${JSON.stringify(value)}`);
    return this.post('/v1/push', `{"to":${JSON.stringify(to)},"items":${list}${rest.join('')}}`);
  }

  /**
   * Resolves when all shards of all gateways that logic knows have answered a query. By then hubs and shards have
   * processed everything that they sent each other before. There must be a gateway.
   */
  async hearsAll(): Promise<void> {
    await until('every gateway has answered', async () => {
      const response = await fetch(`http://127.0.0.1:${this.port}/v1/rooms/any`);
      const { success, data } = Answered.safeParse(await response.json());
      return success && data.gateways.answered > 0 && data.gateways.answered === data.gateways.asked;
    });
  }

  /** Makes all gateways close a user's connections, or empty a room. */
  disconnect(whom: { user: string } | { room: string }, reason: string): Promise<PushAnswer> {
    return this.post('/v1/disconnect', JSON.stringify({ ...whom, reason }));
  }

  async post(path: string, body: string): Promise<PushAnswer> {
    const began = performance.now();
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    });
    const answer: unknown = await response.json();
    const { code } = typeof answer === 'object' && answer !== null && 'code' in answer ? answer : { code: undefined };
    return {
      status: response.status,
      code: typeof code === 'string' ? code : undefined,
      ms: performance.now() - began,
      body: answer,
    };
  }
}

/** Starts a gateway and waits until it is ready. */
export async function startGateway(options: ProcessOptions = {}): Promise<GatewayProcess> {
  const [port = 0, adminPort = 0] = await freePorts(2);
  const gateway = new GatewayProcess(
    'gateway/main.ts',
    port,
    adminPort,
    settingsOf(options, 'gateway', port, adminPort),
    markOf(options),
  );
  gateway.nofile = options.nofile;
  gateway.installed = options.installed;
  gateway.env = options.env ?? {};
  await gateway.start();
  return gateway;
}

/** Starts a logic process and waits until it is ready. */
export async function startLogic(options: ProcessOptions = {}): Promise<LogicProcess> {
  const [port = 0, adminPort = 0] = await freePorts(2);
  const settings = settingsOf(options, 'logic', port, adminPort);
  const logic = new LogicProcess('logic/main.ts', port, adminPort, settings, markOf(options));
  logic.installed = options.installed;
  logic.env = options.env ?? {};
  await logic.start();
  return logic;
}

/** Whether a process runs. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie has ended; its parent has not collected it yet.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Whether a process is stopped by SIGSTOP. */
export function isStopped(pid: number): boolean {
  return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

function childrenOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? [] : children.split(' ').map(Number);
}

function markOf({ byOperator = false }: ProcessOptions): string {
  return byOperator ? `${SETTINGS_MARK}\n` : '';
}

function settingsOf(
  { settings = {}, nats }: ProcessOptions,
  process: 'gateway' | 'logic',
  port: number,
  adminPort: number,
): SettingsInput {
  // On a busy machine a gateway's loop is late at times. It would then refuse handshakes, which most tests expect to
  // succeed.
  const protection = process === 'gateway' ? { protection: { loopLag: 0 } } : {};
  const defaults: SettingsInput = {
    [process]: { host: '127.0.0.1', port, drain: { settle: 0, timeout: 2_000 }, ...protection },
    admin: { host: '127.0.0.1', port: adminPort },
    ...(nats ? { bus: { nats: { servers: [...nats] } } } : {}),
  };
  return merged(defaults, settings);
}

/** Killed when the test's process exits, for whatever reason. Shards end with their gateway. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
