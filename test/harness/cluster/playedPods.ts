import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { Client } from '@pushcluster/operator/kube/client.ts';
import { connect } from '@pushcluster/operator/kube/connection.ts';
import { ignoring } from '@pushcluster/operator/kube/errors.ts';
import { KINDS, type KubeObject } from '@pushcluster/operator/kube/objects.ts';
import { type Change, Reflector } from '@pushcluster/operator/kube/reflector.ts';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { z } from 'zod';
import type { ControlPlane } from './controlPlane.ts';

/** A gateway or logic pod, and the status that it reports. Tests may change its fields at any time. */
export type PlayedPod = {
  readonly name: string;
  readonly role: 'gateway' | 'logic';
  readonly says: PodStatus;
  /** Whether the pod answers status requests. */
  isUp: boolean;
  /** Whether the pod accepts status requests without answering them. */
  hangs: boolean;
  /** Whether the pod's settings file follows the ConfigMap, as with a kubelet. */
  followsSettings: boolean;
  /** Number of status requests to the pod. */
  readonly asked: number;
};

type Writable = Omit<PlayedPod, 'asked'> & { asked: number; server: Server; address: string };

/**
 * Simulates the gateway and logic pods of a control plane without nodes, as the API server and the operator see them: a
 * pod becomes Ready and reports its status on a loopback address. Everything else is real.
 */
export class PlayedPods {
  /** Whether new pods become Ready. */
  startsReady = true;
  /** Connections of a new gateway, by the number of earlier gateways of its namespace. */
  startsWith: (namespace: string, index: number) => number = () => 0;
  readonly #client: Client;
  readonly #reflector: Reflector;
  readonly #settings: Reflector;
  readonly #port: number;
  /** The first of up to 20 networks of the pods. */
  readonly #network = [64 + Math.floor(Math.random() * 60), Math.floor(Math.random() * 230)] as const;
  readonly #pods = new Map<string, Writable>();
  #last = 0;
  #work: Promise<unknown> = Promise.resolve();
  /** Pods that become Ready, many at a time. */
  #readying: Promise<unknown> = Promise.resolve();

  /** @param port on which pods answer; `withNats`: NATS servers become Ready too */
  constructor(plane: ControlPlane, port: number, options: { withNats?: boolean } = {}) {
    this.#port = port;
    this.#client = new Client(connect({ KUBECONFIG: plane.kubeconfig }));
    const labelSelector = 'pushcluster.dev/cluster';
    this.#settings = new Reflector({ client: this.#client, kind: KINDS.configMaps, labelSelector });
    this.#reflector = new Reflector({
      client: this.#client,
      kind: KINDS.pods,
      labelSelector: `app.kubernetes.io/component in (${['gateway', 'logic', ...(options.withNats ? ['nats'] : [])].join()})`,
      onChange: (change) => {
        this.#work = this.#work.then(() => this.#play(change));
      },
    });
  }

  async start(): Promise<void> {
    for (const each of [this.#settings, this.#reflector]) each.start();
    await Promise.all([this.#settings.whenSynced(), this.#reflector.whenSynced()]);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#settings.stop(), this.#reflector.stop()]);
    await this.#work;
    await this.#readying;
    for (const { server } of this.#pods.values()) close(server);
  }

  /** Running pods of a namespace, oldest first. */
  of(namespace: string, role: 'gateway' | 'logic' = 'gateway'): PlayedPod[] {
    const found = [...this.#pods].filter(([key, pod]) => key.startsWith(`${namespace}/`) && pod.role === role);
    return found.map(([, pod]) => pod);
  }

  /** The pod's object in the API server. */
  object(namespace: string, name: string): KubeObject | undefined {
    return this.#reflector.get(`${namespace}/${name}`);
  }

  async setReady(namespace: string, name: string, isReady: boolean): Promise<void> {
    const now = new Date().toISOString();
    const address = this.#pods.get(`${namespace}/${name}`)?.address;
    const conditions = ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => {
      const status = isReady || type === 'Initialized' || type === 'PodScheduled' ? 'True' : 'False';
      return { type, status, lastTransitionTime: now };
    });
    const ip = address === undefined ? {} : { podIP: address, podIPs: [{ ip: address }] };
    const status = { phase: 'Running', ...ip, startTime: now, conditions };
    const ref = { ...KINDS.pods, metadata: { name, namespace, subresource: 'status' } };
    // The pod may have been deleted meanwhile.
    await this.#client.patch(ref, { status }).catch(ignoring('notFound'));
  }

  #becomesReady(namespace: string, name: string): void {
    this.#readying = Promise.all([this.#readying, this.setReady(namespace, name, true)]);
  }

  async #play({ type, object }: Change): Promise<void> {
    const { namespace = '', name, labels } = object.metadata;
    const key = `${namespace}/${name}`;
    const known = this.#pods.get(key);
    if (type === 'deleted') {
      if (known) close(known.server);
      this.#pods.delete(key);
    }
    if (type !== 'added' || known) return;
    const component = labels?.['app.kubernetes.io/component'];
    if (component === 'nats') {
      if (this.startsReady) this.#becomesReady(namespace, name);
      return;
    }
    const role = component === 'logic' ? 'logic' : 'gateway';
    const [second, third] = this.#network;
    const address = `127.${second}.${third + Math.floor(this.#last / 250)}.${(this.#last++ % 250) + 1}`;
    const says = said(name, role);
    if (role === 'gateway') says.connections = this.startsWith(namespace, this.of(namespace).length);
    const played: Omit<Writable, 'server'> = {
      name,
      role,
      says,
      isUp: true,
      hangs: false,
      followsSettings: true,
      asked: 0,
      address,
    };
    const server = createServer((_, response) => {
      played.asked++;
      if (played.followsSettings) says.settings = this.#settingsOf(object, role);
      if (played.hangs) return;
      if (played.isUp) response.end(JSON.stringify(played.says));
      else response.destroy();
    });
    await new Promise<void>((resolve) => server.listen({ host: address, port: this.#port }, resolve));
    this.#pods.set(key, Object.assign(played, { server }));
    if (this.startsReady) this.#becomesReady(namespace, name);
  }

  #settingsOf({ metadata: { namespace, labels } }: KubeObject, role: 'gateway' | 'logic'): PodStatus['settings'] {
    const found = this.#settings.get(`${namespace}/${labels?.['pushcluster.dev/cluster']}-settings`);
    const text = found ? SettingsMap.parse(found).data[`${role}.yaml`] : '';
    return {
      generation: Number(/^generation: (\d+)$/m.exec(text)?.[1] ?? 0),
      file: createHash('sha256').update(text).digest('hex'),
    };
  }
}

const SettingsMap = z.object({ data: z.object({ 'gateway.yaml': z.string(), 'logic.yaml': z.string() }) });

function said(name: string, role: 'gateway' | 'logic'): PodStatus {
  return {
    version: '1.2.3',
    role,
    name,
    draining: false,
    ...(role === 'gateway' ? { connections: 0, bytesSentTotal: 0 } : {}),
    settings: { generation: 0, file: '0'.repeat(64) },
    fds: { limit: 100_000, open: 20 },
    pressure: {},
    bus: { connected: true },
  };
}

function close(server: Server): void {
  server.closeAllConnections();
  server.close();
}
