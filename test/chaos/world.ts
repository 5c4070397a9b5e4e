import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env } from 'node:process';
import { setTimeout } from 'node:timers/promises';
import { historyStream } from '@pushcluster/runtime/history/historyStream.ts';
import { connect } from 'nats';
import { type NatsCluster, type NatsServer, startNatsCluster } from '../harness/natsServer.ts';
import {
  type GatewayProcess,
  type LogicProcess,
  type ProcessOptions,
  startGateway,
  startLogic,
} from '../harness/processes.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { startTcpProxy, type TcpProxy, type Way } from '../harness/tcpProxy.ts';
import { until } from '../harness/until.ts';
import type { Fault } from './nemesis.ts';

const SERVERS = 3;
const GATEWAYS = 3;
const LOGICS = 2;
const MATCH = 'h-*';
const STREAM = historyStream('pushcluster', MATCH).name;
/** How a server is asked. */
const ASK = { timeout: 2_000 };
/** Policies, and others that keep less, and merge longer. */
const ROOMS = [{ match: MATCH, history: { messages: 10_000, replicas: 3 as const }, batching: { maxDelay: 50 } }];
const OTHER_ROOMS = [{ match: MATCH, history: { messages: 9_000, replicas: 3 as const }, batching: { maxDelay: 200 } }];
/** Milliseconds by which everything on a slow link takes longer. */
const SLOW_MS = 250;
const HOUR_MS = 3_600_000;
/** What a server may store that has no space: less than it has. */
const NO_SPACE = { jetstream: { maxFileStore: '1KB' } };
const SET_CLOCK = new URL('../harness/setClock.ts', import.meta.url).href;

/**
 * A process of the product, the proxies through which it reaches NATS, the one through which others reach it, and the file
 * that says by how much its clock is wrong.
 */
type Member<P> = { process: P; nats: TcpProxy[]; front: TcpProxy; clock: string };

/** Real NATS servers, gateways and logic, with a proxy on each link that the nemesis may cut. */
export class World {
  readonly nats: NatsCluster;
  readonly gateways: Member<GatewayProcess>[];
  readonly logics: Member<LogicProcess>[];
  /** What is broken now, by what it is: one fault at a time. */
  readonly #broken = new Set<object>();
  readonly #folder: string;
  readonly #onBreak: () => void;

  private constructor(
    nats: NatsCluster,
    gateways: Member<GatewayProcess>[],
    logics: Member<LogicProcess>[],
    folder: string,
    onBreak: () => void,
  ) {
    this.nats = nats;
    this.gateways = gateways;
    this.logics = logics;
    this.#folder = folder;
    this.#onBreak = onBreak;
  }

  /** @param onBreak called when the store begins to lose what it has */
  static async start(onBreak: () => void): Promise<World> {
    const nats = await startNatsCluster(SERVERS, { jetstream: true });
    const settings: SettingsInput = {
      rooms: ROOMS,
      history: { publishTimeout: '30s' },
      gateway: { shards: 2, drain: { settle: 0, timeout: 5_000, rate: 100 } },
    };
    const folder = mkdtempSync(join(tmpdir(), 'pushcluster-chaos-'));
    let clocks = 0;
    const member = async <P extends { port: number }>(
      start: (options: ProcessOptions) => Promise<P>,
    ): Promise<Member<P>> => {
      const links = await Promise.all(nats.servers.map(({ port }) => startTcpProxy(port)));
      const clock = join(folder, `clock-${clocks++}`);
      setClock(clock, 0);
      const process = await start({
        nats: links.map(({ port }) => `nats://127.0.0.1:${port}`),
        settings,
        env: { CLOCK_FILE: clock, NODE_OPTIONS: `${env.NODE_OPTIONS ?? ''} --import ${SET_CLOCK}` },
      });
      return { process, nats: links, front: await startTcpProxy(process.port), clock };
    };
    const many = <T>(count: number, make: () => Promise<T>) => Promise.all(Array.from({ length: count }, make));
    const logics = await many(LOGICS, () => member(startLogic));
    const gateways = await many(GATEWAYS, () => member(startGateway));
    return new World(nats, gateways, logics, folder, onBreak);
  }

  async stop(): Promise<void> {
    const members = [...this.gateways, ...this.logics];
    await Promise.all(members.map(({ process }) => process.stop()));
    await Promise.all(members.flatMap(({ nats, front }) => [...nats, front]).map((proxy) => proxy.close()));
    await this.nats.stop();
    rmSync(this.#folder, { recursive: true });
  }

  /** Breaks what the fault says, and mends it when its time is over. */
  async cause({ name, target, lasts }: Fault): Promise<void> {
    const gateway = this.gateways[target % GATEWAYS]!;
    const logic = this.logics[target % LOGICS]!;
    const server = this.nats.servers[target % SERVERS]!;
    const way: Way = target % 2 === 0 ? 'to the server' : 'to the client';
    switch (name) {
      case 'kill a hub':
        return this.#once(gateway, () => kill(gateway, lasts));
      case 'stop a hub':
        return this.#once(gateway, () => stopFor(gateway.process.pid, lasts));
      case 'kill a shard':
        return this.#once(gateway, async () => process.kill(shardOf(gateway, target), 'SIGKILL'));
      case 'stop a shard':
        return this.#once(gateway, () => stopFor(shardOf(gateway, target), lasts));
      case 'kill logic':
        return this.#once(logic, () => kill(logic, lasts));
      case 'stop logic':
        return this.#once(logic, () => stopFor(logic.process.pid, lasts));
      case 'kill a NATS server':
        return this.#once(this.nats, () => this.#killServers([server], lasts));
      case 'stop a NATS server':
        return this.#once(this.nats, () => this.#stopServer(server, lasts));
      case 'kill the leader of the stream':
        return this.#once(this.nats, async () => this.#killServers([await this.#leader()], lasts));
      case 'stop the leader of the stream':
        return this.#once(this.nats, async () => this.#stopServer(await this.#leader(), lasts));
      case 'restart a NATS server by lame duck':
        return this.#once(this.nats, async () => {
          await server.lameDuck();
          await this.nats.formed();
        });
      case 'kill two NATS servers':
        return this.#once(this.nats, () =>
          this.#killServers([server, this.nats.servers[(target + 1) % SERVERS]!], Math.min(lasts, 2_000)),
        );
      case 'cut the network between a gateway and NATS':
        return this.#once(gateway, () => cutFor(gateway.nats, lasts));
      case 'cut the network between logic and NATS':
        return this.#once(logic, () => cutFor(logic.nats, lasts));
      case 'cut the network between clients and a gateway':
        return this.#once(gateway, () => cutFor([gateway.front], lasts));
      case 'reset the connections of clients of a gateway':
        return gateway.front.reset();
      case 'drain a gateway':
        return this.#once(gateway, async () => {
          await gateway.process.kill('SIGTERM');
          await gateway.process.start();
        });
      case 'cut the network between a gateway and NATS one way':
        return this.#once(gateway, () => cutFor(gateway.nats, lasts, [way]));
      case 'cut the network between logic and NATS one way':
        return this.#once(logic, () => cutFor(logic.nats, lasts, [way]));
      case 'cut the network between clients and a gateway one way':
        return this.#once(gateway, () => cutFor([gateway.front], lasts, [way]));
      case 'slow down the network of a gateway':
        return this.#once(gateway, () => slowFor([...gateway.nats, gateway.front], lasts));
      case 'slow down the network of logic':
        return this.#once(logic, () => slowFor(logic.nats, lasts));
      case 'step the clock of a gateway':
        return this.#once(gateway, () => stepFor(gateway.clock, target % 2 === 0 ? HOUR_MS : -HOUR_MS, lasts));
      case 'step the clock of logic':
        return this.#once(logic, () => stepFor(logic.clock, target % 2 === 0 ? HOUR_MS : -HOUR_MS, lasts));
      case 'change settings and policies':
        await this.#configure({ rooms: OTHER_ROOMS });
        await setTimeout(lasts);
        return this.#configure({ rooms: ROOMS });
      case 'fill the disk of NATS':
        return this.#once(this.nats, async () => {
          await this.#restartServers(NO_SPACE);
          await setTimeout(lasts);
          await this.#restartServers({ jetstream: true });
        });
      case 'delete the stream':
        return this.#once(this.nats, async () => {
          this.#onBreak();
          await this.#deleteStream();
        });
      case 'set the stream back to a backup':
        return this.#once(this.nats, async () => {
          await Promise.all(this.nats.servers.map((each) => each.backUp()));
          await this.#restartServers();
          // What is stored from now on will be gone.
          await this.#storesMore();
          await setTimeout(lasts);
          this.#onBreak();
          await Promise.all(this.nats.servers.map((each) => each.restore()));
          await this.#restartServers();
        });
    }
  }

  /** Everything works again. */
  async healed(): Promise<void> {
    await until('all faults are over', () => this.#broken.size === 0);
    await this.nats.formed();
    await Promise.all([...this.gateways, ...this.logics].map(({ process }) => process.ready()));
  }

  /** Two faults of one process would mend each other. */
  async #once(what: object, fault: () => Promise<unknown>): Promise<void> {
    await until('what it breaks works', () => !this.#broken.has(what));
    this.#broken.add(what);
    await fault();
    this.#broken.delete(what);
  }

  async #killServers(servers: readonly NatsServer[], lasts: number): Promise<void> {
    await Promise.all(servers.map((server) => server.kill()));
    await setTimeout(lasts);
    await Promise.all(servers.map((server) => server.restart()));
    await this.nats.formed();
  }

  async #stopServer(server: NatsServer, lasts: number): Promise<void> {
    await server.pause();
    await setTimeout(lasts);
    server.resume();
    await this.nats.formed();
  }

  async #restartServers(changes: Parameters<NatsServer['restart']>[0] = {}): Promise<void> {
    await Promise.all(this.nats.servers.map((server) => server.restart(changes)));
    await this.nats.formed();
  }

  /** Changes the settings of all processes, one after another. */
  async #configure(change: SettingsInput): Promise<void> {
    for (const member of [...this.logics, ...this.gateways])
      await this.#once(member, () => member.process.configure(change));
  }

  async #deleteStream(): Promise<void> {
    const connection = await connect({ servers: this.nats.urls });
    await until('the stream is deleted', async () => {
      const answer = await connection.request(`$JS.API.STREAM.DELETE.${STREAM}`, '', ASK).catch(() => undefined);
      return answer?.json<{ success?: boolean }>().success === true;
    });
    await connection.close();
  }

  /** Waits until pushes are stored. */
  async #storesMore(): Promise<void> {
    const connection = await connect({ servers: this.nats.urls });
    let before: number | undefined;
    await until('pushes are stored', async () => {
      const answer = await connection.request(`$JS.API.STREAM.INFO.${STREAM}`, '', ASK).catch(() => undefined);
      const last = answer?.json<{ state?: { last_seq: number } }>().state?.last_seq;
      before ??= last;
      return before !== undefined && last !== undefined && last > before;
    });
    await connection.close();
  }

  async #leader(): Promise<NatsServer> {
    let leader: NatsServer | undefined;
    await until('the stream has a leader', async () => {
      for (const { monitorUrl } of this.nats.servers) {
        const json = await (await fetch(`${monitorUrl}/jsz?streams=true`)).text();
        const name = /"stream_detail".*?"leader":\s*"(n\d)"/s.exec(json)?.[1];
        leader = name === undefined ? undefined : this.nats.servers[Number(name.slice(1))];
        if (leader) return true;
      }
      return false;
    });
    return leader!;
  }
}

async function kill({ process }: Member<GatewayProcess | LogicProcess>, lasts: number): Promise<void> {
  await process.kill();
  await setTimeout(lasts);
  await process.start();
}

async function stopFor(pid: number, lasts: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await setTimeout(lasts);
  try {
    process.kill(pid, 'SIGCONT');
  } catch {
    // Somebody who waited for it has given it up, and killed it.
  }
}

async function cutFor(proxies: readonly TcpProxy[], lasts: number, ways?: readonly Way[]): Promise<void> {
  for (const proxy of proxies) proxy.cut(ways);
  await setTimeout(lasts);
  await Promise.all(proxies.map((proxy) => proxy.heal()));
}

async function slowFor(proxies: readonly TcpProxy[], lasts: number): Promise<void> {
  for (const proxy of proxies) proxy.slow(SLOW_MS);
  await setTimeout(lasts);
  for (const proxy of proxies) proxy.slow(0);
}

async function stepFor(clock: string, by: number, lasts: number): Promise<void> {
  setClock(clock, by);
  await setTimeout(lasts);
  setClock(clock, 0);
}

function setClock(file: string, by: number) {
  writeFileSync(`${file}.next`, JSON.stringify({ shards: by, others: by }));
  renameSync(`${file}.next`, file);
}

function shardOf({ process }: Member<GatewayProcess>, target: number): number {
  const pids = process.shardPids;
  const pid = pids[target % pids.length];
  if (pid === undefined) throw new Error('a gateway without shards');
  return pid;
}
