import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as setTimer } from 'node:timers';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePorts } from './ports.ts';

const SCRIPT = new URL('../../scripts/nats-server.sh', import.meta.url).pathname;
const START_DEADLINE_MS = 60_000;
const STOP_DEADLINE_MS = 10_000;

export type NatsServerOptions = {
  /** Client port; a free one where absent. */
  port?: number;
  /** Bytes. */
  maxPayload?: number;
  tls?: {
    certFile: string;
    keyFile: string /** Client certificates of this authority are demanded. */;
    caFile?: string;
  };
  /** Text of nats-server's configuration: `authorization { ... }` and whatever else. */
  config?: string;
};

/** A real nats-server on loopback, started by `startNatsServer` or `startNatsCluster`. Stop it at the end of the test. */
export class NatsServer {
  readonly port: number;
  readonly url: string;
  #folder: string;
  #options: NatsServerOptions;
  #process: NatsProcess;

  constructor(process: NatsProcess, folder: string, options: NatsServerOptions) {
    this.#process = process;
    this.#folder = folder;
    this.port = process.port;
    this.#options = { ...options, port: process.port };
    this.url = `nats://127.0.0.1:${this.port}`;
  }

  /** What it has logged since its last start. */
  get output(): string {
    return this.#process.output;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Its HTTP monitoring: `/varz`, `/connz`, `/routez`, `/subsz`. */
  get monitorUrl(): string {
    return `http://127.0.0.1:${this.#process.monitorPort}`;
  }

  /** Ends it in its own time (SIGTERM). */
  async stop(): Promise<void> {
    await this.#process.end('SIGTERM');
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Ends it at once (SIGKILL): `restart` brings it back. */
  async kill(): Promise<void> {
    await this.#process.end('SIGKILL');
  }

  /** Starts it again on the same port, after `kill` or instead of it; `changes` replace options. */
  async restart(changes: Pick<NatsServerOptions, 'config' | 'maxPayload' | 'tls'> = {}): Promise<void> {
    await this.#process.end('SIGKILL');
    this.#options = { ...this.#options, ...changes };
    this.#process = await launch(this.#folder, this.#options);
  }

  /** Has it leave as in a rolling update (SIGUSR2: it tells its clients first), and starts it again when it has ended. */
  async lameDuck(): Promise<void> {
    await this.#process.ended('SIGUSR2');
    this.#process = await launch(this.#folder, this.#options);
  }

  /** Gives it another `config` without a restart (SIGHUP). */
  async reload(config: string): Promise<void> {
    this.#options = { ...this.#options, config };
    await writeFile(join(this.#folder, 'nats.conf'), configText(this.#options));
    const reloaded = this.#process.said('Reloaded server configuration');
    process.kill(this.pid, 'SIGHUP');
    await reloaded;
  }

  /** Stops it in its tracks (SIGSTOP) and waits until it stands: connections stay open, nothing is answered. */
  async pause(): Promise<void> {
    process.kill(this.pid, 'SIGSTOP');
    const stands = async () => {
      const threads = await readdir(`/proc/${this.pid}/task`);
      const stats = await Promise.all(threads.map((id) => readFile(`/proc/${this.pid}/task/${id}/stat`, 'utf8')));
      return stats.every((stat) => stat.includes(') T '));
    };
    while (!(await stands())) await setTimeout(1);
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT');
  }
}

/** Starts a nats-server and waits until it is ready. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const folder = await mkdtemp(join(tmpdir(), 'pushcluster-nats-'));
  return new NatsServer(await launch(folder, options), folder, options);
}

export type NatsCluster = {
  servers: NatsServer[];
  urls: string[];
  /** Waits until every server has a route to all others: after a restart of one. */
  formed(): Promise<void>;
  stop(): Promise<void>;
};

/** Starts `size` nats-servers that know each other, and waits until the cluster has formed. */
export async function startNatsCluster(
  size: number,
  options: Omit<NatsServerOptions, 'port'> = {},
): Promise<NatsCluster> {
  const ports = await freePorts(size);
  const routes = ports.map((port) => `nats-route://127.0.0.1:${port}`).join(', ');
  const servers = await Promise.all(
    ports.map((port, i) =>
      startNatsServer({
        ...options,
        config: `server_name: n${i}\ncluster { name: test, listen: "127.0.0.1:${port}", routes: [${routes}] }\n${options.config ?? ''}`,
      }),
    ),
  );
  const cluster: NatsCluster = {
    servers,
    urls: servers.map((server) => server.url),
    async formed() {
      const deadline = Date.now() + START_DEADLINE_MS;
      for (const server of servers) {
        while ((await peers(server)) < size - 1) {
          if (Date.now() > deadline) throw new Error(`the nats cluster did not form:\n${server.output}`);
          await setTimeout(20);
        }
      }
    },
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
  await cluster.formed();
  return cluster;
}

/** Other servers that this one has a route to. */
async function peers(server: NatsServer): Promise<number> {
  const routes: unknown = await (await fetch(`${server.monitorUrl}/routez`)).json();
  const names = Array.from(JSON.stringify(routes).matchAll(/"remote_name":"([^"]+)"/g), ([, name]) => name);
  return new Set(names).size;
}

function configText(options: NatsServerOptions): string {
  const { port = -1, maxPayload, tls, config = '' } = options;
  const lines = [`listen: "127.0.0.1:${port}"`, 'http: "127.0.0.1:-1"'];
  if (maxPayload !== undefined) lines.push(`max_payload: ${maxPayload}`);
  if (tls) {
    const verify = tls.caFile === undefined ? '' : `ca_file: "${tls.caFile}", verify: true`;
    lines.push(`tls { cert_file: "${tls.certFile}", key_file: "${tls.keyFile}", ${verify} }`);
  }
  return `${lines.join('\n')}\n${config}\n`;
}

let binary: Promise<string> | undefined;

async function launch(folder: string, options: NatsServerOptions): Promise<NatsProcess> {
  binary ??= promisify(execFile)(SCRIPT).then(({ stdout }) => stdout.trim());
  const path = await binary;
  const config = join(folder, 'nats.conf');
  await writeFile(config, configText(options));
  const launched = new NatsProcess(spawn(path, ['-c', config], { stdio: ['ignore', 'ignore', 'pipe'] }));
  await launched.said('Server is ready');
  return launched;
}

class NatsProcess {
  output = '';
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();

  constructor(child: ChildProcess) {
    this.#child = child;
    running.add(child);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
      for (const look of this.#waiting) look();
    });
    child.once('exit', () => {
      running.delete(child);
      for (const look of this.#waiting) look();
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('nats-server did not start');
    return this.#child.pid;
  }

  get port(): number {
    return this.#portAfter('Listening for client connections on ');
  }

  get monitorPort(): number {
    return this.#portAfter('Starting http monitor on ');
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Waits for `text` in what it logs from now on. */
  async said(text: string): Promise<void> {
    const from = this.output.length;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => {
      if (this.output.includes(text, from)) resolve();
      else if (this.#ended) reject(new Error(`nats-server ended before it said "${text}":\n${this.output}`));
    };
    const timer = setTimer(
      () => reject(new Error(`nats-server did not say "${text}" in ${START_DEADLINE_MS} ms:\n${this.output}`)),
      START_DEADLINE_MS,
    );
    this.#waiting.add(look);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(look);
    }
  }

  #portAfter(text: string): number {
    const [, port] = new RegExp(`${text}127\\.0\\.0\\.1:(\\d+)`).exec(this.output) ?? [];
    if (port === undefined) throw new Error(`nats-server does not say its port:\n${this.output}`);
    return Number(port);
  }

  /** Tells it to leave; resolves when it has, in its own time. */
  async ended(signal: 'SIGUSR2'): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (this.#ended) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    // A paused one takes no SIGTERM before it goes on.
    this.#child.kill('SIGCONT');
    const timer = setTimer(() => this.#child.kill('SIGKILL'), STOP_DEADLINE_MS);
    await exit;
    clearTimeout(timer);
  }
}

/** None outlives the test's process, however that ends. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
