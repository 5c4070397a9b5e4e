import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
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
  /** Address of the client port; loopback by default. */
  host?: string;
  /** Client port; a free port by default. */
  port?: number;
  /** Bytes. */
  maxPayload?: number;
  tls?: {
    certFile: string;
    keyFile: string;
    /** If given, clients need a certificate of this authority. */
    caFile?: string;
  };
  /**
   * Stores streams in a folder that is removed when the server is stopped, and survives `kill` and `restart`.
   * `maxFileStore`: the server behaves as on a disk of this size, such as `1MB`.
   */
  jetstream?: boolean | { maxFileStore: string };
  /** Additional configuration of nats-server as text, such as `authorization { ... }`. */
  config?: string;
};

type PortedOptions = NatsServerOptions & { port: number };

/** A real nats-server on loopback. Start it with `startNatsServer` or `startNatsCluster`; stop it after the test. */
export class NatsServer {
  readonly port: number;
  readonly url: string;
  #folder: string;
  #options: PortedOptions;
  #process: NatsProcess;

  constructor(process: NatsProcess, folder: string, options: PortedOptions) {
    this.#process = process;
    this.#folder = folder;
    this.port = options.port;
    this.#options = options;
    this.url = `nats://127.0.0.1:${this.port}`;
  }

  /** Log output since the last start. */
  get output(): string {
    return this.#process.output;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Base URL of the HTTP monitoring: `/varz`, `/connz`, `/routez`, `/subsz`. */
  get monitorUrl(): string {
    return `http://127.0.0.1:${this.#process.monitorPort}`;
  }

  /** Stops the server gracefully (SIGTERM). */
  async stop(): Promise<void> {
    await this.#process.end('SIGTERM');
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Kills the server (SIGKILL). `restart` starts it again. */
  async kill(): Promise<void> {
    await this.#process.end('SIGKILL');
  }

  /** Starts the server again on the same port, killing it first if it still runs; `changes` replace options. */
  async restart(changes: Pick<NatsServerOptions, 'config' | 'maxPayload' | 'tls' | 'jetstream'> = {}): Promise<void> {
    await this.#process.end('SIGKILL');
    this.#options = { ...this.#options, ...changes };
    this.#process = await launch(this.#folder, this.#options);
  }

  /**
   * Stops the server as a rolling update does (SIGUSR2: it notifies its clients first), then starts it again, with
   * `changes` in place of its options.
   */
  async lameDuck(changes: Pick<NatsServerOptions, 'config'> = {}): Promise<void> {
    await this.#process.ended('SIGUSR2');
    this.#options = { ...this.#options, ...changes };
    this.#process = await launch(this.#folder, this.#options);
  }

  /** Stops the server, and keeps a copy of its streams as they are now. `restart` starts it again. */
  async backUp(): Promise<void> {
    await this.#process.end('SIGTERM');
    await rm(join(this.#folder, 'backup'), { recursive: true, force: true });
    await cp(join(this.#folder, 'jetstream'), join(this.#folder, 'backup'), { recursive: true });
  }

  /** Stops the server, and puts the copy in place of its streams. `restart` starts it again. */
  async restore(): Promise<void> {
    await this.#process.end('SIGTERM');
    await rm(join(this.#folder, 'jetstream'), { recursive: true });
    await cp(join(this.#folder, 'backup'), join(this.#folder, 'jetstream'), { recursive: true });
  }

  /** Replaces `config` without a restart (SIGHUP). */
  async reload(config: string): Promise<void> {
    this.#options = { ...this.#options, config };
    await writeFile(join(this.#folder, 'nats.conf'), configText(this.#options, this.#folder));
    const reloaded = this.#process.said('Reloaded server configuration');
    process.kill(this.pid, 'SIGHUP');
    await reloaded;
  }

  /** Pauses the process (SIGSTOP) and waits until it is stopped: connections stay open, but get no answers. */
  async pause(): Promise<void> {
    process.kill(this.pid, 'SIGSTOP');
    const stands = async () => {
      const threads = await readdir(`/proc/${this.pid}/task`);
      // A thread may end meanwhile.
      const stats = await Promise.all(
        threads.map((id) => readFile(`/proc/${this.pid}/task/${id}/stat`, 'utf8').catch(() => '')),
      );
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
  // Not an ephemeral port: a client could get it while the server is away, or connect to itself there.
  const [port = 0] = options.port === undefined ? await freePorts(1) : [options.port];
  const folder = await mkdtemp(join(tmpdir(), 'pushcluster-nats-'));
  const onPort = { ...options, port };
  return new NatsServer(await launch(folder, onPort), folder, onPort);
}

export type NatsCluster = {
  servers: NatsServer[];
  urls: string[];
  /** Waits until every server has a route to all others, for example after one was restarted. */
  formed(): Promise<void>;
  stop(): Promise<void>;
};

/** Starts `size` nats-servers with routes to each other, and waits until the cluster has formed. */
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

/** The number of other servers that this server has a route to. */
async function peers(server: NatsServer): Promise<number> {
  const routes: unknown = await (await fetch(`${server.monitorUrl}/routez`)).json();
  const names = Array.from(JSON.stringify(routes).matchAll(/"remote_name":"([^"]+)"/g), ([, name]) => name);
  return new Set(names).size;
}

function configText(options: PortedOptions, folder: string): string {
  const { host = '127.0.0.1', port, maxPayload, tls, jetstream, config = '' } = options;
  const lines = [`listen: "${host}:${port}"`, 'http: "127.0.0.1:-1"'];
  if (maxPayload !== undefined) lines.push(`max_payload: ${maxPayload}`);
  if (tls) {
    const verify = tls.caFile === undefined ? '' : `ca_file: "${tls.caFile}", verify: true`;
    lines.push(`tls { cert_file: "${tls.certFile}", key_file: "${tls.keyFile}", ${verify} }`);
  }
  if (jetstream) {
    const limit = jetstream === true ? '' : `, max_file_store: ${jetstream.maxFileStore}`;
    lines.push(`jetstream { store_dir: ${JSON.stringify(join(folder, 'jetstream'))}${limit} }`);
  }
  return `${lines.join('\n')}\n${config}\n`;
}

let binary: Promise<string> | undefined;

async function launch(folder: string, options: PortedOptions): Promise<NatsProcess> {
  binary ??= promisify(execFile)(SCRIPT).then(({ stdout }) => stdout.trim());
  const path = await binary;
  const config = join(folder, 'nats.conf');
  await writeFile(config, configText(options, folder));
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

  get monitorPort(): number {
    const [, port] = /Starting http monitor on 127\.0\.0\.1:(\d+)/.exec(this.output) ?? [];
    if (port === undefined) throw new Error(`nats-server does not say its port:\n${this.output}`);
    return Number(port);
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Waits for `text` in the log output after this call. */
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

  /** Sends the signal and resolves when the process has ended. */
  async ended(signal: 'SIGUSR2'): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    await exit;
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (this.#ended) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill(signal);
    // A paused process handles SIGTERM only after SIGCONT.
    this.#child.kill('SIGCONT');
    const timer = setTimer(() => this.#child.kill('SIGKILL'), STOP_DEADLINE_MS);
    await exit;
    clearTimeout(timer);
  }
}

/** Killed when the test's process exits, for whatever reason. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
