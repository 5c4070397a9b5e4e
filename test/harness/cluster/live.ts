import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { z } from 'zod';
import { Connection, cutAll, WIRE_FORMS, type WireForm } from '../connection.ts';
import type { Ledger, Writer } from '../ledger.ts';
import type { PushAnswer, Pushes, Target } from '../pushes.ts';
import { until } from '../until.ts';
import { inUrl } from './addressPlan.ts';
import { apply, type Kubectl } from './kubectl.ts';
import { claimNamespace } from './product.ts';

/**
 * Milliseconds, with images already loaded. A new operator may have to wait until the lease of a killed one expires.
 */
const READY_MS = 300_000;
const PUSH_TIMEOUT_MS = 60_000;
const CONNECT_MS = 5_000;
const PORTS = { gateway: 7_777, logic: 7_799 };

const Pods = z.object({
  items: z.array(
    z.object({
      metadata: z.object({
        name: z.string(),
        uid: z.string(),
        labels: z.record(z.string(), z.string()),
        annotations: z.record(z.string(), z.string()).default({}),
        deletionTimestamp: z.string().optional(),
      }),
      spec: z.object({ nodeName: z.string().default(''), containers: z.array(z.object({ image: z.string() })) }),
      status: z.object({
        podIP: z.string().default(''),
        conditions: z.array(z.object({ type: z.string(), status: z.string() })).default([]),
        containerStatuses: z.array(z.object({ restartCount: z.number() })).default([]),
      }),
    }),
  ),
});

/** A PushCluster's spec, in whatever form the test gives it: the API server judges it. */
export type Spec = {
  gateway?: { drain?: object; service?: object; [field: string]: unknown };
  [field: string]: unknown;
};

export type Role = 'gateway' | 'logic' | 'nats';

export type Pod = {
  name: string;
  uid: string;
  node: string;
  ip: string;
  image: string;
  ready: boolean;
  ending: boolean;
  restarts: number;
  labels: Record<string, string>;
  annotations: Record<string, string>;
};

/**
 * A PushCluster named `live` in its own namespace, as its users see it. The process must run on the network of its
 * clients.
 */
export class Live {
  readonly namespace: string;
  readonly #kubectl: Kubectl;
  readonly #services = new Map<string, string>();
  #key = '';

  /**
   * Creates the namespace, which admits only restricted pods, and the PushCluster. Resolves when the PushCluster is
   * Ready.
   */
  static async start(kubectl: Kubectl, namespace: string, spec: Spec = {}): Promise<Live> {
    await claimNamespace(kubectl, namespace);
    const live = new Live(kubectl, namespace);
    await live.apply(spec);
    await live.whenReady();
    return live;
  }

  constructor(kubectl: Kubectl, namespace: string) {
    this.namespace = namespace;
    this.#kubectl = kubectl;
  }

  /** Runs kubectl in the namespace of the PushCluster. */
  kubectl(...args: string[]): Promise<string> {
    return this.#kubectl(['-n', this.namespace, ...args]);
  }

  /**
   * Unless the spec says otherwise, gateways are behind a load balancer, and settle for 5 s: the load balancers of most tests
   * notice within a second.
   */
  async apply(spec: Spec): Promise<void> {
    const service = { type: 'LoadBalancer', ...spec.gateway?.service };
    const drain = { settle: '5s', ...spec.gateway?.drain };
    const metadata = { name: 'live', namespace: this.namespace };
    await apply(this.#kubectl, [
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata,
        spec: { ...spec, gateway: { ...spec.gateway, service, drain } },
      },
    ]);
  }

  async patch(spec: object): Promise<void> {
    await this.kubectl('patch', 'pushcluster', 'live', '--type=merge', '-p', JSON.stringify({ spec }));
  }

  async get(): Promise<PushCluster> {
    return PushCluster.parse(JSON.parse(await this.kubectl('get', 'pushcluster', 'live', '-o', 'json')));
  }

  /**
   * Waits until the newest spec is rolled out. Throws with kubectl's description of the PushCluster at the deadline.
   */
  async whenReady(deadline = READY_MS): Promise<void> {
    await this.when('it is Ready', (cluster) => this.condition(cluster, 'Ready')?.status === 'True', deadline);
  }

  /** Waits until the status belongs to the newest spec and `holds` accepts it. */
  async when(what: string, holds: (cluster: PushCluster) => boolean, deadline = READY_MS): Promise<void> {
    await until(
      what,
      async () => {
        const cluster = await this.get();
        return cluster.status?.observedGeneration === cluster.metadata.generation && holds(cluster);
      },
      deadline,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await this.told()}`);
    });
  }

  /** Waits until a role has `count` pods, all of them ready and none of `old`. */
  async served(role: Role, count: number, old: readonly Pod[] = []): Promise<void> {
    await until(
      `${count} ${role} pods serve`,
      async () => {
        const pods = await this.pods(role);
        const isOld = ({ uid }: Pod) => old.some((each) => each.uid === uid);
        return pods.length === count && pods.every((pod) => pod.ready && !pod.ending && !isOld(pod));
      },
      READY_MS,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await this.told()}`);
    });
  }

  /** Replaces the pods of a role by equal ones, as another image or other resources do. */
  async rollOut(role: Role): Promise<void> {
    const old = await this.pods(role);
    const changed = { podTemplate: { metadata: { annotations: { 'example.com/rolled-out': randomUUID() } } } };
    await this.patch(role === 'nats' ? { nats: { managed: changed } } : { [role]: changed });
    await this.served(role, old.length, old);
  }

  condition({ status }: PushCluster, type: string) {
    return status?.conditions?.find((each) => each.type === type);
  }

  /** The output of kubectl that a person would look at. */
  async told(): Promise<string> {
    const parts = [
      ['get', 'pushcluster', 'live'],
      ['describe', 'pushcluster', 'live'],
      ['get', 'pods', '-o', 'wide'],
      ['events'],
    ].map((args) => this.kubectl(...args).catch(String));
    return (await Promise.all(parts)).join('\n');
  }

  async pods(role: Role): Promise<Pod[]> {
    const selector = `pushcluster.dev/cluster=live,app.kubernetes.io/component=${role}`;
    const { items } = Pods.parse(JSON.parse(await this.kubectl('get', 'pods', '-l', selector, '-o', 'json')));
    return items.map(({ metadata, spec, status }) => ({
      ...{ name: metadata.name, uid: metadata.uid, labels: metadata.labels, annotations: metadata.annotations },
      ...{ node: spec.nodeName, image: spec.containers[0]?.image ?? '', ip: status.podIP },
      ready: status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True'),
      ending: metadata.deletionTimestamp !== undefined,
      restarts: status.containerStatuses[0]?.restartCount ?? 0,
    }));
  }

  /**
   * The address of the gateways for external clients: the load balancer, which distributes connections over all
   * gateways.
   */
  async address(): Promise<{ host: string; port: number }> {
    let host = '';
    await until('the Service has an address', async () => {
      const path = '-o=jsonpath={.status.loadBalancer.ingress[0].ip}';
      host = await this.kubectl('get', 'service', 'live-gateway', path);
      return host !== '';
    });
    const address = { host, port: 7_777 };
    const tries: Connection[] = [];
    const pods = await this.pods('gateway');
    try {
      await until('the load balancer reaches all gateways', async () => {
        const one = await Connection.open(address).catch(() => undefined);
        if (one) tries.push(one);
        const counts = await Promise.all(pods.map((pod) => this.connections(pod)));
        return counts.every((count) => count > 0);
      });
    } finally {
      cutAll(tries);
    }
    return address;
  }

  /** Connects to one gateway pod. */
  connect({ ip }: Pod, form: WireForm = 'v1'): Promise<Connection> {
    return Connection.open({ host: ip, port: 7_777, form });
  }

  /** Connects to each gateway pod with each wire form, twice: one of the two connections joins a room. */
  async connectEach(room: string): Promise<Connection[]> {
    const made: Connection[] = [];
    for (const pod of await this.pods('gateway'))
      for (const form of WIRE_FORMS) {
        const [joins, other] = await Promise.all([this.connect(pod, form), this.connect(pod, form)]);
        await joins.join(room);
        made.push(joins, other);
      }
    return made;
  }

  /** Two writers for each logic pod, one to all and one to a room, because each logic pod counts its own messages. */
  async writers(ledger: Ledger, room: string): Promise<Writer[]> {
    return (await this.pods('logic')).flatMap((pod, index) => [
      ledger.writer(`all${index}`, { all: true }, this.by(pod)),
      ledger.writer(`room${index}`, { room }, this.by(pod)),
    ]);
  }

  /** Connections of a gateway pod, according to its metrics; NaN if it does not answer: it starts or ends. */
  async connections({ ip }: Pod): Promise<number> {
    const text = await fetch(`http://${inUrl(ip)}:9090/metrics`).then(
      (response) => response.text(),
      () => '',
    );
    return Number(/^pushcluster_gateway_connections (\d+)$/m.exec(text)?.[1]);
  }

  /**
   * Pushes as a backend does: through the Service, with the key from the Secret. 503 and broken connections are
   * results, not errors.
   */
  push(to: Target, items: readonly string[]): Promise<PushAnswer> {
    return this.ask('/v1/push', bodyOf(to, items));
  }

  /**
   * Pushes through one logic pod. Each logic pod counts its messages, and a gap in its count shows with its next item.
   */
  by({ ip }: Pod): Pushes {
    return { push: (to, items) => this.ask('/v1/push', bodyOf(to, items), ip) };
  }

  /**
   * The address of a Service in the cluster, once it accepts connections: nodes learn of ready pods a moment after the
   * operator does.
   */
  async service(role: keyof typeof PORTS): Promise<string> {
    const known = this.#services.get(role);
    if (known !== undefined) return known;
    const host = await this.kubectl('get', 'service', `live-${role}`, '-o', 'jsonpath={.spec.clusterIP}');
    await until(`the Service of ${role} pods accepts connections`, () => accepts(host, PORTS[role]));
    this.#services.set(role, host);
    return host;
  }

  /** Makes a request to logic: through its Service by default, and as POST if there is a body. */
  async ask(path: string, body?: string, address?: string): Promise<PushAnswer> {
    const began = performance.now();
    const response = await fetch(`http://${inUrl(address ?? (await this.service('logic')))}:7799${path}`, {
      headers: { authorization: `Bearer ${await this.key()}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { method: 'POST', body }),
      signal: AbortSignal.timeout(PUSH_TIMEOUT_MS),
    });
    const answer: unknown = await response.json();
    const { code } = z.object({ code: z.string().optional() }).catch({ code: undefined }).parse(answer);
    return { status: response.status, code, ms: performance.now() - began, body: answer };
  }

  /** The generated API key. */
  async key(): Promise<string> {
    if (this.#key === '') {
      const data = await this.kubectl('get', 'secret', 'live-api-key', '-o', 'jsonpath={.data.key}');
      this.#key = Buffer.from(data, 'base64').toString();
      assert.ok(this.#key.length > 20);
    }
    return this.#key;
  }

  /** Deletes the PushCluster and its namespace. */
  async end(): Promise<void> {
    await this.#kubectl(['delete', 'namespace', this.namespace, '--wait=false', '--ignore-not-found']);
  }
}

function accepts(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port, timeout: CONNECT_MS });
  return new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    for (const event of ['error', 'timeout']) socket.once(event, () => resolve(false));
  }).finally(() => socket.destroy());
}

function bodyOf(to: Target, items: readonly string[]): string {
  return `{"to":${JSON.stringify(to)},"items":[${items.join(',')}]}`;
}
