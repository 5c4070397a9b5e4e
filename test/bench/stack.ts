import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type NatsServer, startNatsCluster, startNatsServer } from '../harness/natsServer.ts';
import { nodeFlags } from '../harness/nodeFlags.ts';
import { Actor } from './actor.ts';
import { pause } from './audience.ts';
import type { ItemKind } from './items.ts';
import { CLIENT_CORE, pin, SERVER_CORE } from './machine.ts';

const ROOT = new URL('../..', import.meta.url).pathname;
const PREFIX = 'bench';
const START_MS = 20_000;

const folders = new Set<string>();
process.on('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** Differences from the default settings: addresses, all on this machine. */
function settingsOf(ports: Ports, nats: readonly string[], changes: Changes): object {
  return {
    gateway: { host: '127.0.0.1', port: ports.port, ...changes.gateway },
    logic: { host: '127.0.0.1', port: ports.pushPort },
    ...(changes.auth && { auth: changes.auth }),
    ...(changes.rooms && { rooms: changes.rooms }),
    ...(nats.length > 0 && { bus: { prefix: PREFIX, nats: { servers: nats } } }),
    admin: { host: '127.0.0.1', port: ports.adminPort },
  };
}

type Ports = { port: number; pushPort: number; adminPort: number };
type Kind = 'gateway' | 'logic' | 'standalone';
/** Differences from the default settings. */
type Changes = { gateway?: object; auth?: object; rooms?: object[] };

/** The real processes: nats-server, gateways, logic and a publisher, each on its core. Node has the flags of the images. */
export class Stack {
  readonly folder: string;
  readonly #nats: readonly NatsServer[];
  readonly #actors: Actor[] = [];

  /** @param core of all nats-servers */
  static async start(
    core = CLIENT_CORE,
    { servers = 1, ...options }: { jetstream?: boolean; servers?: number } = {},
  ): Promise<Stack> {
    const nats = servers === 1 ? [await startNatsServer(options)] : await natsCluster(servers, options);
    for (const { pid } of nats) pin(pid, core);
    return new Stack(nats);
  }

  private constructor(nats: readonly NatsServer[]) {
    this.#nats = nats;
    this.folder = mkdtempSync(join(tmpdir(), 'pushcluster-bench-'));
    folders.add(this.folder);
  }

  /** Process id of the only nats-server. */
  get natsPid(): number {
    return this.#nats[0]!.pid;
  }

  /** The settings with which a subscriber receives what gateways receive. */
  get bus(): { url: string; urls: string[]; prefix: string } {
    const urls = this.#nats.map(({ url }) => url);
    return { url: urls[0]!, urls, prefix: PREFIX };
  }

  /** Starts a gateway on the server's core, with default settings except for `changes`. */
  async gateway(changes: Changes = {}): Promise<Server> {
    return this.#server('gateway', changes, SERVER_CORE);
  }

  /** Starts gateway and logic in one process on the server's core, without NATS. */
  async standalone(changes: Changes = {}): Promise<Server> {
    return this.#server('standalone', changes, SERVER_CORE);
  }

  /**
   * Starts logic: on the clients' core if logic is only a part of the path, on the server's core if logic is measured.
   */
  async logic(core = CLIENT_CORE, changes: Changes = {}): Promise<Server> {
    return this.#server('logic', changes, core);
  }

  /**
   * Starts a backend that pushes.
   * @param logic pushes go through its API; without it only to the bus
   */
  async publisher(logic?: Server): Promise<Publisher> {
    return Publisher.start({ nats: this.bus.url, logicPort: logic?.pushPort ?? 0 });
  }

  async stop() {
    await Promise.all(this.#actors.map((actor) => actor.stop()));
    await Promise.all(this.#nats.map((server) => server.stop()));
    rmSync(this.folder, { recursive: true, force: true });
    folders.delete(this.folder);
  }

  async #server(kind: Kind, changes: Changes, core: number): Promise<Server> {
    const [port = 0, other = 0, adminPort = 0] = await freePorts(3);
    const ports = { port, pushPort: kind === 'logic' ? port : other, adminPort };
    const file = join(this.folder, `${kind}-${port}.json`);
    const nats = kind === 'standalone' ? [] : this.bus.urls;
    writeFileSync(file, JSON.stringify(settingsOf(ports, nats, changes), null, 2));
    const flags = kind === 'standalone' ? [] : nodeFlags(kind);
    const actor = new Actor(kind, core, process.execPath, [...flags, join(ROOT, kind, 'main.ts'), '--config', file]);
    this.#actors.push(actor);
    const server = new Server(kind, actor, ports, file);
    await server.ready();
    return server;
  }
}

async function natsCluster(size: number, options: { jetstream?: boolean }): Promise<readonly NatsServer[]> {
  const cluster = await startNatsCluster(size, options);
  await cluster.formed();
  return cluster.servers;
}

/** A process of the gateway, of logic, or of both. */
export class Server {
  readonly kind: Kind;
  readonly actor: Actor;
  /** Of the gateway; of the push API where there is no gateway. */
  readonly port: number;
  /** Of the push API. */
  readonly pushPort: number;
  readonly #adminPort: number;
  readonly #file: string;

  constructor(kind: Kind, actor: Actor, { port, pushPort, adminPort }: Ports, file: string) {
    this.kind = kind;
    this.actor = actor;
    this.port = port;
    this.pushPort = pushPort;
    this.#adminPort = adminPort;
    this.#file = file;
  }

  async ready(): Promise<void> {
    const deadline = performance.now() + START_MS;
    let last = 'nothing';
    while (performance.now() < deadline) {
      const ended = await Promise.race([this.actor.exited.then((code) => ({ code })), pause(30)]);
      if (ended) throw new Error(`${this.kind} ended with ${ended.code} before it was ready`);
      try {
        const answer = await fetch(`http://127.0.0.1:${this.#adminPort}/readyz`);
        last = await answer.text();
        if (answer.ok) return;
      } catch {
        // The process does not listen yet.
      }
    }
    throw new Error(`${this.kind} is not ready after ${START_MS / 1_000} s: its /readyz said ${last}`);
  }

  /** The text of /metrics. */
  async scrape(): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.#adminPort}/metrics`)).text();
  }

  /** The sum of a metric's samples, restricted to samples whose labels contain `label`. */
  async metric(name: string, label = ''): Promise<number> {
    const text = await this.scrape();
    let sum = 0;
    for (const line of text.split('\n')) {
      const [, key, labels = '', value] = /^(\w+)(\{.*\})? (\S+)/.exec(line) ?? [];
      if (key === name && labels.includes(label)) sum += Number(value);
    }
    return sum;
  }

  /** All effective settings as text. */
  printConfig(): string {
    return execFileSync(
      process.execPath,
      [join(ROOT, this.kind, 'main.ts'), '--config', this.#file, '--print-config'],
      {
        encoding: 'utf8',
      },
    );
  }
}

const Published = z.object({
  published: z.number(),
  failed: z.number(),
  lastMark: z.number(),
  seconds: z.number(),
  lateMs: z.number(),
  cpu: z.number(),
});
export type Published = z.infer<typeof Published>;

export type Pushing = {
  room: string;
  /** If more than one: messages go to `room-0`, `room-1` and so on in turn. */
  rooms?: number;
  /** `user`: messages go to the users of these names in place of rooms; via `logic` only. */
  to?: 'room' | 'user';
  kind?: ItemKind;
  /**
   * `logic`: POST /v1/push, one request per message. `bus`: straight to NATS with the bus codec, one bus message per
   * message. `peer`: the API of another server of this folder. `centrifugo`: its HTTP API.
   */
  via: 'logic' | 'bus' | 'peer' | 'centrifugo';
  /** Messages per second. */
  rate: number;
  messages: number;
};

/** A process that pushes (publisher.ts). */
export class Publisher {
  readonly actor: Actor;

  private constructor(actor: Actor) {
    this.actor = actor;
  }

  /**
   * @param nats where pushes via the bus go
   * @param url where pushes to another server go
   */
  static async start(where: { nats?: string; logicPort?: number; url?: string }): Promise<Publisher> {
    const script = join(import.meta.dirname, 'publisher.ts');
    const settings = JSON.stringify({ ...where, prefix: PREFIX });
    const actor = new Actor('publisher', CLIENT_CORE, process.execPath, [script, settings]);
    await actor.next('ready');
    return new Publisher(actor);
  }

  /** Pushes the messages; resolves when the last one is accepted. Throws if one is refused. */
  async push(pushing: Pushing): Promise<Published> {
    this.actor.send(JSON.stringify({ kind: 'plain', ...pushing }));
    const published = Published.parse(
      await this.actor.next('done', (pushing.messages / pushing.rate) * 1_000 + 60_000),
    );
    if (published.failed > 0) throw new Error(`${published.failed} of ${published.published} pushes failed`);
    return published;
  }
}

/** The default of gateway.batching.maxItems. */
export const FULL_FRAME = 1_000;
/** Milliseconds; longer than the default of gateway.batching.maxDelay. A room is quiet after this time. */
export const QUIET_MS = 1_150;

/**
 * Pushes straight to the bus at a rate of more than FULL_FRAME messages per second, so that the gateway makes `frames`
 * full frames. Wait QUIET_MS before: the first message into a quiet room leaves immediately as a frame of its own.
 * There is one message more than the full frames hold, so that the last frame is full and does not wait.
 */
export function fullFrames(rate: number, frames: number): Pushing {
  return { room: 'live', via: 'bus', rate, messages: frames * FULL_FRAME + 1 };
}

/** Ports that were free at the time of the call. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a listening TCP server has no port');
    return address.port;
  });
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
