import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { API_VERSION, KIND } from '@pushcluster/operator/api/pushCluster.ts';
import { METRICS_API_SERVICE } from '@pushcluster/operator/metricsApi/api.ts';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { type ControlPlane, startControlPlane } from './cluster/controlPlane.ts';
import { apply, established } from './cluster/kubectl.ts';
import { Connection, cutAll, Refused, WIRE_FORMS } from './connection.ts';
import { type NatsServer, startNatsServer } from './natsServer.ts';
import { freePorts } from './ports.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from './processes.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';
import type { SettingsInput } from './settingsFolder.ts';
import { PATIENCE_MS, until } from './until.ts';

const OPERATOR = new URL('../../operator/main.ts', import.meta.url).pathname;
const IMAGES = {
  GATEWAY_IMAGE: 'gateway:1.2.3',
  LOGIC_IMAGE: 'logic:1.2.3',
  NATS_IMAGE: 'nats:2',
  NATS_EXPORTER_IMAGE: 'exporter:2',
};
export const NAMESPACE = 'shop';
export const CLUSTER = 'live';
const ROOMS = ['football', 'tennis', 'cycling', 'chess'];
/**
 * FLOODED exceeds the item rate of its overload policy. HEAVY has items so large that they fill the buffers of slow
 * readers.
 */
const FLOODED = 'flooded';
const HEAVY = 'heavy';
/** Has a history. */
const KEPT = 'kept';
const HEAVY_ITEM_BYTES = 30_000;
/** Number of small rooms; a larger crowd uses more of them. */
const ROWS = 40;
const SLOW = 4;
const SETTINGS: SettingsInput = {
  gateway: {
    shards: 2,
    batching: { maxDelay: 200, maxBytes: 65_536 },
    slowConsumer: { maxBuffer: 131_072 },
    drain: { settle: 3_000, timeout: 10_000, rate: 20 },
  },
  rooms: [
    { match: FLOODED, overload: { maxRate: 5 } },
    { match: KEPT, history: {} },
  ],
  history: { publishTimeout: 1_000 },
  auth: { anonymous: true, allowedOrigins: ['https://live.example.com'] },
};

/** What clients and backends do per second. */
type Pace = {
  /** Pushes to rooms; a tenth as many pushes go to all. */
  pushes: number;
  /** Clients that connect and disconnect. */
  visitors: number;
  /** Changes of a PushCluster. */
  edits: number;
  /** Faults of a normal day: pages of foreign origins, invalid pushes, retries, floods, slow readers. */
  rough: boolean;
};

/**
 * Real processes, scraped as Prometheus would scrape a cluster: two gateways, logic, NATS, and an operator on a real
 * control plane. The PushClusters have no pods, because there is no kubelet. The harness adds a growing number of
 * clients, and faults of every kind. Stop it at the end of the test.
 */
export class ObservedCluster {
  readonly plane: ControlPlane;
  readonly nats: NatsServer;
  readonly gateways: readonly GatewayProcess[];
  readonly logic: LogicProcess;
  readonly prometheus: Prometheus;
  readonly #operator: ChildProcess;
  readonly #operatorPort: number;
  readonly #bus: Bus;
  readonly #connections: Connection[] = [];
  #pace: Pace = { pushes: 0, visitors: 0, edits: 0, rough: false };
  #isEnding = false;
  #living: Promise<unknown> = Promise.resolve();
  #counter = 0;

  /** @param rules text of the rules file for Prometheus */
  static async start(rules: string): Promise<ObservedCluster> {
    const [plane, nats] = await Promise.all([startControlPlane(), startNatsServer({ jetstream: true })]);
    // The Service of the metrics API owns its certificates.
    const service = { metadata: { name: METRICS_API_SERVICE, namespace: 'default' }, spec: { ports: [{ port: 443 }] } };
    await apply(plane.kubectl, [
      crd(),
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
      { apiVersion: 'v1', kind: 'Service', ...service },
    ]);
    await established(plane.kubectl, 'pushclusters.pushcluster.dev');
    const options = { settings: SETTINGS, nats: [nats.url] };
    const { rooms, history, auth } = SETTINGS;
    const [operator, logic, ...gateways] = await Promise.all([
      startOperator(plane),
      startLogic({
        nats: [nats.url],
        settings: { ...(rooms && { rooms }), ...(history && { history }), ...(auth && { auth }) },
      }),
      startGateway(options),
      startGateway(options),
    ]);
    const labels = { namespace: NAMESPACE, pushcluster_dev_cluster: CLUSTER };
    const target = (pod: string, component: string, adminPort: number) => ({
      address: `127.0.0.1:${adminPort}`,
      labels: { ...labels, pod, app_kubernetes_io_component: component },
    });
    const prometheus = await startPrometheus({
      rules,
      targets: [
        ...gateways.map(({ adminPort }, i) => target(`${CLUSTER}-gateway-${i}`, 'gateway', adminPort)),
        target(`${CLUSTER}-logic-0`, 'logic', logic.adminPort),
        { address: `127.0.0.1:${operator.port}`, labels: { namespace: 'pushcluster', pod: 'pushcluster-operator-0' } },
      ],
    });
    return new ObservedCluster({ plane, nats, gateways, logic, prometheus, operator });
  }

  private constructor(parts: {
    plane: ControlPlane;
    nats: NatsServer;
    gateways: GatewayProcess[];
    logic: LogicProcess;
    prometheus: Prometheus;
    operator: { child: ChildProcess; port: number };
  }) {
    ({ plane: this.plane, nats: this.nats, gateways: this.gateways, logic: this.logic } = parts);
    this.prometheus = parts.prometheus;
    this.#operator = parts.operator.child;
    this.#operatorPort = parts.operator.port;
    this.#bus = openBus(
      { prefix: 'pushcluster', nats: { servers: [parts.nats.url] } } as Parameters<typeof openBus>[0],
      { log: createLog('observed', 'error'), name: 'troublemaker' },
    );
    this.#living = Promise.all([this.#push(), this.#visit(), this.#disturb(), this.#edit()]);
  }

  /** A PushCluster without load: no connections, no pushes. */
  async idle(): Promise<void> {
    await this.#pushCluster(CLUSTER, 2);
  }

  /** A few clients and occasional pushes. */
  async calm(): Promise<void> {
    await this.#join([12, 12]);
    this.#pace = { pushes: 4, visitors: 1, edits: 0.5, rough: false };
  }

  /** More clients, more pushes, and the faults of a normal day. */
  async busy(): Promise<void> {
    await this.#join([70, 40]);
    await this.#slowReaders();
    this.#pace = { pushes: 25, visitors: 6, edits: 2, rough: true };
  }

  /**
   * Causes, one after the other, the faults that alerts and panels exist for, except a NATS outage and the end of a
   * gateway.
   */
  async trouble(): Promise<void> {
    const [first] = this.gateways;
    if (!first) return;
    const [shard] = first.shardPids;
    if (shard !== undefined) process.kill(shard, 'SIGKILL');
    first.folder.swap('gateway: { port: no number }');
    await until(
      'bad settings were refused',
      async () => (await first.metrics()).sum('pushcluster_gateway_config_refused_total') > 0,
    );
    for (const each of this.gateways) await each.configure({ gateway: { drain: { rate: 30 } } });
    this.#nonsense();
    const gaps = async () =>
      (await Promise.all(this.gateways.map((each) => each.metrics()))).some(
        (metrics) => metrics.sum('pushcluster_gateway_gaps_total') > 0,
      );
    // A gateway notices no gap while it is disconnected from NATS, so the gap is repeated.
    const isNoticed = async () => {
      if (await gaps()) return true;
      this.#hole();
      return false;
    };
    await until('a hole is noticed', isNoticed, PATIENCE_MS, 3_000);
    // The operator needs a ConfigMap of this name, but the name belongs to an object of another owner.
    const metadata = { name: 'other-settings', namespace: NAMESPACE };
    await apply(this.plane.kubectl, [{ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { mine: 'yes' } }]);
    await this.#pushCluster('other', 1);
    await this.#pushCluster(CLUSTER, 4);
  }

  /** Sends SIGTERM to a gateway, as a rollout does; resolves when the gateway has ended. */
  async leave(gateway = this.gateways[1]): Promise<void> {
    gateway?.signal('SIGTERM');
    await gateway?.exit;
  }

  /** The current /metrics text of one process of each role. */
  async exported(): Promise<Record<'gateway' | 'logic' | 'operator', string>> {
    const ask = async (port: number) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    const [gateway, logic, operator] = await Promise.all(
      [this.gateways[0]?.adminPort ?? 0, this.logic.adminPort, this.#operatorPort].map(ask),
    );
    return { gateway: gateway ?? '', logic: logic ?? '', operator: operator ?? '' };
  }

  async stop(): Promise<void> {
    this.#isEnding = true;
    await this.#living;
    cutAll(this.#connections);
    await this.prometheus.stop();
    this.#operator.kill('SIGKILL');
    await this.#bus.close();
    await Promise.all([...this.gateways, this.logic].map((each) => each.kill()));
    for (const { folder } of [...this.gateways, this.logic]) folder.remove();
    await Promise.all([this.nats.stop(), this.plane.stop()]);
  }

  async #pushCluster(name: string, replicas: number): Promise<void> {
    const metadata = { name, namespace: NAMESPACE };
    const spec = {
      gateway: { replicas },
      nats: { managed: { tls: { enabled: true }, jetstream: { storage: 'memory', size: '64Mi' } } },
    };
    await apply(this.plane.kubectl, [{ apiVersion: API_VERSION, kind: KIND, metadata, spec }]);
  }

  /** Opens this many further connections to each gateway and joins rooms with them. */
  async #join(counts: readonly number[]): Promise<void> {
    for (const [index, { port }] of this.gateways.entries())
      await Promise.all(
        Array.from({ length: counts[index] ?? 0 }, async (_, i) => {
          const connection = await Connection.open({ port, form: WIRE_FORMS[i % WIRE_FORMS.length] ?? 'plain' });
          this.#connections.push(connection);
          const from = this.#connections.length;
          for (const offset of [0, 1]) await connection.join(ROOMS[(from + offset) % ROOMS.length] ?? FLOODED);
          for (const room of [FLOODED, KEPT]) await connection.join(room);
          await connection.join(`row ${i % ROWS}`);
        }),
      );
  }

  async #slowReaders(): Promise<void> {
    for (const { port } of this.gateways)
      for (let i = 0; i < SLOW / 2; i++) {
        const connection = await Connection.open({ port, form: 'v1' });
        this.#connections.push(connection);
        await connection.join(HEAVY);
        connection.pause();
      }
  }

  async #push(): Promise<void> {
    for (let n = 0; !this.#isEnding; n++) {
      await setTimeout(this.#pace.pushes === 0 ? 50 : 1_000 / this.#pace.pushes);
      if (this.#pace.pushes === 0) continue;
      const filling = 'x'.repeat((n * 37) % 900);
      const room = n % 10 === 1 ? KEPT : (ROOMS[n % ROOMS.length] ?? '');
      const target = n % 10 === 0 ? { all: true as const } : { room };
      await this.logic.push(target, [JSON.stringify({ n, filling })]);
    }
  }

  async #visit(): Promise<void> {
    for (let n = 0; !this.#isEnding; n++) {
      await setTimeout(this.#pace.visitors === 0 ? 50 : 1_000 / this.#pace.visitors);
      if (this.#pace.visitors === 0) continue;
      const { port = 0 } = this.gateways[n % this.gateways.length] ?? {};
      await Connection.open({ port })
        .then(async (connection) => {
          await connection.join(`a room of visitor ${n % 40}`);
          if (n % 3 > 0) connection.close();
          else connection.cut();
        })
        // The gateway is draining or has ended.
        .catch(() => {});
    }
  }

  async #edit(): Promise<void> {
    for (let n = 0; !this.#isEnding; n++) {
      await setTimeout(this.#pace.edits === 0 ? 50 : 1_000 / this.#pace.edits);
      if (this.#pace.edits === 0) continue;
      const spec = { gateway: { podTemplate: { annotations: { edited: `${n}` } } } };
      const patch = ['--type=merge', '-p', JSON.stringify({ spec })];
      // The API server of a busy machine may take too long for one of them.
      await this.plane.kubectl(['patch', '-n', NAMESPACE, KIND, CLUSTER, ...patch]).catch(() => {});
    }
  }

  async #disturb(): Promise<void> {
    for (let n = 0; !this.#isEnding; n++) {
      await setTimeout(100);
      if (!this.#pace.rough) continue;
      const { port = 0 } = this.gateways[n % this.gateways.length] ?? {};
      await Connection.open({ port, headers: { origin: 'https://evil.example.com' } }).catch((error: unknown) => {
        if (!(error instanceof Refused) && !(error instanceof Error && 'code' in error)) throw error;
      });
      await this.logic.post('/v1/push', '{"to":');
      for (let i = 0; i < 2; i++) await this.logic.push({ room: FLOODED }, ['1', '2', '3', '4'], { id: `once-${n}` });
      const heavy = JSON.stringify('x'.repeat(HEAVY_ITEM_BYTES));
      await this.logic.push({ room: HEAVY }, [heavy, heavy, heavy, heavy, heavy, heavy, heavy, heavy]);
      this.#connections[0]?.send({ type: 'NOBODY_KNOWS', data: {} });
      await fetch(`http://127.0.0.1:${this.logic.port}/v1/rooms`).then((response) => response.arrayBuffer());
    }
  }

  /** Publishes invalid messages under the prefix, as a foreign publisher would. */
  #nonsense(): void {
    const subjects = new Subjects('pushcluster');
    this.#bus.publish(subjects.all, new Uint8Array([255, 1, 2]));
    this.#bus.publish(subjects.stat('nobody'), new TextEncoder().encode('{"no":"report"}'));
  }

  /** Publishes as a publisher one of whose messages comes late, and some of whose are lost. */
  #hole(): void {
    const items = joinItems([new TextEncoder().encode('"after the hole"')]);
    const header = {
      publisher: 'somebody',
      at: Date.now(),
      begun: 0,
      beat: 0,
      mark: 1,
      first: 0,
      urgent: false,
      id: '',
    };
    for (const step of [1, 2, -1, 41]) {
      this.#counter += step;
      this.#bus.publish(new Subjects('pushcluster').all, encodePush({ ...header, counter: this.#counter, items }));
    }
  }
}

async function startOperator(plane: ControlPlane): Promise<{ child: ChildProcess; port: number }> {
  const [port = 0] = await freePorts(1);
  const env = {
    ...process.env,
    ...IMAGES,
    KUBECONFIG: plane.kubeconfig,
    ADMIN_HOST: '127.0.0.1',
    ADMIN_PORT: `${port}`,
    METRICS_API_HOST: '127.0.0.1',
    METRICS_API_PORT: '0',
  };
  const child = spawn(process.execPath, [OPERATOR], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  process.once('exit', () => child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  await until('the operator leads', () => output.includes('"leading"')).catch((error: Error) => {
    throw new Error(`${error.message}: ${output}`);
  });
  return { child, port };
}
