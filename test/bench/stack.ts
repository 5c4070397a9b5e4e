import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
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

/** What differs from the settings as shipped: the addresses, all on this machine. */
function settingsOf(ports: { port: number; adminPort: number }, nats: string, changes: object): object {
  return {
    gateway: { host: '127.0.0.1', port: ports.port, ...('gateway' in changes ? (changes.gateway as object) : {}) },
    logic: { host: '127.0.0.1', port: ports.port },
    ...('auth' in changes ? { auth: changes.auth } : {}),
    bus: { prefix: PREFIX, nats: { servers: [nats] } },
    admin: { host: '127.0.0.1', port: ports.adminPort },
  };
}

/** The real processes: nats-server, gateways, logic and a publisher, each where it belongs. */
export class Stack {
  readonly folder: string;
  readonly #nats: NatsServer;
  readonly #actors: Actor[] = [];

  static async start(): Promise<Stack> {
    const nats = await startNatsServer();
    pin(nats.pid, CLIENT_CORE);
    return new Stack(nats);
  }

  private constructor(nats: NatsServer) {
    this.#nats = nats;
    this.folder = mkdtempSync(join(tmpdir(), 'pushcluster-bench-'));
    folders.add(this.folder);
  }

  /** nats-server's process. */
  get natsPid(): number {
    return this.#nats.pid;
  }

  /** What a subscriber of one's own needs to hear what gateways hear. */
  get bus(): { url: string; prefix: string } {
    return { url: this.#nats.url, prefix: PREFIX };
  }

  /** A gateway on the server's core, with the settings as shipped but for `changes`. */
  async gateway(changes: { gateway?: object; auth?: object } = {}): Promise<Server> {
    return this.#server('gateway', changes, SERVER_CORE);
  }

  /** Logic: with the clients, where it is a part of the way; on the server's core, where it is what is measured. */
  async logic(core = CLIENT_CORE): Promise<Server> {
    return this.#server('logic', {}, core);
  }

  /** A backend that pushes. @param logic through its API; where absent only by the bus */
  async publisher(logic?: Server): Promise<Publisher> {
    return Publisher.start({ nats: this.#nats.url, prefix: PREFIX, logicPort: logic?.port ?? 0 });
  }

  async stop() {
    await Promise.all(this.#actors.map((actor) => actor.stop()));
    await this.#nats.stop();
    rmSync(this.folder, { recursive: true, force: true });
    folders.delete(this.folder);
  }

  async #server(kind: 'gateway' | 'logic', changes: object, core: number): Promise<Server> {
    const [port, adminPort] = await freePorts(2);
    const file = join(this.folder, `${kind}-${port}.json`);
    writeFileSync(
      file,
      JSON.stringify(settingsOf({ port: port!, adminPort: adminPort! }, this.#nats.url, changes), null, 2),
    );
    const actor = new Actor(kind, core, process.execPath, [join(ROOT, kind, 'main.ts'), '--config', file]);
    this.#actors.push(actor);
    const server = new Server(kind, actor, port!, adminPort!, file);
    await server.ready();
    return server;
  }
}

/** A gateway or logic process. */
export class Server {
  readonly kind: 'gateway' | 'logic';
  readonly actor: Actor;
  readonly port: number;
  readonly #adminPort: number;
  readonly #file: string;

  constructor(kind: 'gateway' | 'logic', actor: Actor, port: number, adminPort: number, file: string) {
    this.kind = kind;
    this.actor = actor;
    this.port = port;
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
        // It does not listen yet.
      }
    }
    throw new Error(`${this.kind} is not ready after ${START_MS / 1_000} s: its /readyz said ${last}`);
  }

  /** What Prometheus would get. */
  async scrape(): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.#adminPort}/metrics`)).text();
  }

  /** A metric's samples added up; only those whose labels hold `label`. */
  async metric(name: string, label = ''): Promise<number> {
    const text = await this.scrape();
    let sum = 0;
    for (const line of text.split('\n')) {
      const [, key, labels = '', value] = /^(\w+)(\{.*\})? (\S+)/.exec(line) ?? [];
      if (key === name && labels.includes(label)) sum += Number(value);
    }
    return sum;
  }

  /** The settings that count, all of them, as text. */
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
  /** More than one: they go to `room-0`, `room-1` and so on in turn. */
  rooms?: number;
  kind?: ItemKind;
  /** `logic`: POST /v1/push, a request a message. `bus`: the bus codec straight to NATS, a bus message a message. */
  via: 'logic' | 'bus' | 'peer';
  /** Messages a second. */
  rate: number;
  messages: number;
};

/** A process that pushes (publisher.ts). */
export class Publisher {
  readonly actor: Actor;

  private constructor(actor: Actor) {
    this.actor = actor;
  }

  static async start(where: { nats: string; prefix: string; logicPort: number; url?: string }): Promise<Publisher> {
    const script = join(import.meta.dirname, 'publisher.ts');
    const actor = new Actor('publisher', CLIENT_CORE, process.execPath, [script, JSON.stringify(where)]);
    await actor.next('ready');
    return new Publisher(actor);
  }

  /** Pushes so many messages; resolves when the last is accepted. Throws Error where one is not. */
  async push(pushing: Pushing): Promise<Published> {
    this.actor.send(JSON.stringify({ kind: 'plain', ...pushing }));
    const published = Published.parse(
      await this.actor.next('done', (pushing.messages / pushing.rate) * 1_000 + 60_000),
    );
    if (published.failed > 0) throw new Error(`${published.failed} of ${published.published} pushes failed`);
    return published;
  }
}

/** As shipped: gateway.batching.maxItems. */
export const FULL_FRAME = 1_000;
/** Longer than gateway.batching.maxDelay as shipped: the room is quiet after that. */
export const QUIET_MS = 1_150;

/**
 * Messages at a rate of more than FULL_FRAME a second, straight to the bus, so that the gateway makes `frames` full frames
 * of them. Wait QUIET_MS before: a quiet room's first message leaves alone, and with one more than the frames hold the last
 * frame is full and waits for nothing.
 */
export function fullFrames(rate: number, frames: number): Pushing {
  return { room: 'live', via: 'bus', rate, messages: frames * FULL_FRAME + 1 };
}

/** Ports that were free just now. */
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
