import { setTimeout } from 'node:timers/promises';
import { type NatsCluster, type NatsServer, startNatsCluster } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { startTcpProxy, type TcpProxy } from '../harness/tcpProxy.ts';
import { until } from '../harness/until.ts';
import type { Fault } from './nemesis.ts';

const SERVERS = 3;
const GATEWAYS = 3;
const LOGICS = 2;
const ROOMS = [{ match: 'h-*', history: { messages: 10_000, replicas: 3 as const }, batching: { maxDelay: 50 } }];

/** A process of the product, the proxies through which it reaches NATS, and the one through which others reach it. */
type Member<P> = { process: P; nats: TcpProxy[]; front: TcpProxy };

/** Real NATS servers, gateways and logic, with a proxy on each link that the nemesis may cut. */
export class World {
  readonly nats: NatsCluster;
  readonly gateways: Member<GatewayProcess>[];
  readonly logics: Member<LogicProcess>[];
  /** What is broken now, by what it is: one fault at a time. */
  readonly #broken = new Set<object>();

  private constructor(nats: NatsCluster, gateways: Member<GatewayProcess>[], logics: Member<LogicProcess>[]) {
    this.nats = nats;
    this.gateways = gateways;
    this.logics = logics;
  }

  static async start(): Promise<World> {
    const nats = await startNatsCluster(SERVERS, { jetstream: true });
    const settings = {
      rooms: ROOMS,
      history: { publishTimeout: '30s' },
      gateway: { shards: 2, drain: { settle: 0, timeout: 5_000, rate: 100 } },
    };
    const member = async <P extends { port: number }>(start: (urls: string[]) => Promise<P>): Promise<Member<P>> => {
      const links = await Promise.all(nats.servers.map(({ port }) => startTcpProxy(port)));
      const process = await start(links.map(({ port }) => `nats://127.0.0.1:${port}`));
      return { process, nats: links, front: await startTcpProxy(process.port) };
    };
    const many = <T>(count: number, make: () => Promise<T>) => Promise.all(Array.from({ length: count }, make));
    const logics = await many(LOGICS, () => member((urls) => startLogic({ nats: urls, settings })));
    const gateways = await many(GATEWAYS, () => member((urls) => startGateway({ nats: urls, settings })));
    return new World(nats, gateways, logics);
  }

  async stop(): Promise<void> {
    const members = [...this.gateways, ...this.logics];
    await Promise.all(members.map(({ process }) => process.stop()));
    await Promise.all(members.flatMap(({ nats, front }) => [...nats, front]).map((proxy) => proxy.close()));
    await this.nats.stop();
  }

  /** Breaks what the fault says, and mends it when its time is over. */
  async cause({ name, target, lasts }: Fault): Promise<void> {
    const gateway = this.gateways[target % GATEWAYS]!;
    const logic = this.logics[target % LOGICS]!;
    const server = this.nats.servers[target % SERVERS]!;
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

async function cutFor(proxies: readonly TcpProxy[], lasts: number): Promise<void> {
  for (const proxy of proxies) proxy.cut();
  await setTimeout(lasts);
  await Promise.all(proxies.map((proxy) => proxy.heal()));
}

function shardOf({ process }: Member<GatewayProcess>, target: number): number {
  const pids = process.shardPids;
  const pid = pids[target % pids.length];
  if (pid === undefined) throw new Error('a gateway without shards');
  return pid;
}
