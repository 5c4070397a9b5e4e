import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { API_VERSION, KIND, PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { Client } from '@pushcluster/operator/kube/client.ts';
import { connect } from '@pushcluster/operator/kube/connection.ts';
import type { Ref } from '@pushcluster/operator/kube/objects.ts';
import { desired } from '@pushcluster/operator/pushcluster/desired/desired.ts';
import { POD_DEFAULTS } from '@pushcluster/operator/pushcluster/desired/pods.ts';
import type { AuditEvent } from '../harness/cluster/audit.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { nodeFlags } from '../harness/nodeFlags.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const CLUSTERS = 200;
const NAMESPACES = 20;
/** What the operator may hold meanwhile. */
const MAX_RSS_MIB = 256;
/** In which all are to be reconciled at the latest. Whether that is fast is asserted by a reference. */
const DEADLINE_MS = 600_000;
/** Between two objects of the bare client. */
const BARE_PAUSE_MS = 100;
/** The operator's: as many requests are under way at a time. */
const WORKERS = 4;
/** How much longer than for its writes alone, one by a bare client, it may take: it works out what it writes, and hears of all. */
const MOST_SLOWER = 3;
/** Of a PushCluster: its status when its objects are made, and as its controllers tell of them. */
const MOST_STATUSES = 4;
const MOST_EVENTS = 4;
const MOST_PER_POD = 2;
/** Of a PushCluster: its Secrets, whose content must be kept, before the reflector has them. */
const MOST_SECRETS_READ = 4;
/** Over which an idle operator is looked at. */
const IDLE_MS = 60_000;
/** By how much a request may come late, and the next one not. */
const LATE_MS = 5_000;

describe(`an operator of ${CLUSTERS} PushClusters`, () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let bare: Bare;

  before(async () => {
    plane = await startControlPlane();
    await OperatorProcess.install(plane);
    await apply(
      plane.kubectl,
      Array.from({ length: NAMESPACES }, (_, i) => namespace(i)),
    );
    const [adminPort = 0] = await freePorts(1);
    operator = new OperatorProcess(plane, { adminPort, flags: nodeFlags('operator') });
    await operator.start();
  });
  after(async () => {
    await bare?.stop();
    await operator?.end('SIGKILL');
    await plane?.stop();
  });

  it(`makes all in time, writes each object once, reads none of them, and holds less than ${MAX_RSS_MIB} MiB`, async () => {
    const clusters = Array.from({ length: CLUSTERS }, (_, i) => ({
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name: `live-${i}`, namespace: `team-${i % NAMESPACES}` },
      spec: {},
    }));
    bare = new Bare(plane);
    const began = performance.now();
    await apply(plane.kubectl, clusters);
    const created = performance.now();
    await until('every PushCluster has a status', async () => (await told()) === CLUSTERS, DEADLINE_MS, 1_000);
    const ended = performance.now();
    await bare.stop();
    const asked = await requests();
    const { writes, reads } = counted(asked);
    const expected = (writes * bare.each) / WORKERS;
    print(
      `${CLUSTERS} PushClusters: created in ${seconds(created - began)}, all reconciled ${seconds(ended - began)} after the first, ` +
        `where a bare client beside it takes ${seconds(expected)} (${bare.each.toFixed(0)} ms an object, ${WORKERS} at a time); ` +
        `${writes} writes and ${reads} reads; CPU ${operatorCpu()}; resident memory at most ${peak()} MiB`,
    );
    for (const [what, count] of byVerbAndKind(asked))
      print(`  ${what}: ${count}, ${(count / CLUSTERS).toFixed(2)} each`);
    const objects = await plane.kubectl(['get', 'deployments', '-A', '-l', 'pushcluster.dev/cluster', '-o=name']);
    assert.equal(objects.trim().split('\n').length, 2 * CLUSTERS);

    const patches = asked.filter(({ verb, resource }) => verb === 'patch' && !resource.endsWith('/status'));
    // Pods are made by controllers, in their time: they are told of their settings, and of a Service that chooses them.
    const [ofPods = [], made = []] = [true, false].map((isPods) =>
      patches.filter(({ resource }) => (resource === 'pods') === isPods),
    );
    assert.equal(made.length, named(made), 'each object is written once');
    assert.equal(made.length, CLUSTERS * bare.ofOne, 'all that is desired, and nothing else');
    assert.ok(ofPods.length <= MOST_PER_POD * named(ofPods), `${ofPods.length} writes of ${named(ofPods)} pods`);
    const statuses = asked.filter(({ resource }) => resource.endsWith('pushclusters/status')).length;
    assert.ok(statuses <= MOST_STATUSES * CLUSTERS, `${statuses} writes of a status`);
    const events = asked.filter(({ resource }) => resource.endsWith('/events')).length;
    assert.ok(events <= MOST_EVENTS * CLUSTERS, `${events} events`);
    // The number of gateways, which an empty spec leaves out.
    const scales = asked.filter(({ resource }) => resource.endsWith('pushclusters/scale')).length;
    assert.ok(scales <= CLUSTERS, `${scales} writes of a number of gateways`);
    assert.equal(writes, patches.length + statuses + events + scales, 'nothing else is written');
    const secrets = asked.filter(({ verb, resource }) => verb === 'get' && resource === 'secrets').length;
    assert.ok(secrets <= MOST_SECRETS_READ * CLUSTERS, `${secrets} reads of Secrets`);
    // What is left are the kinds that it lists, watches and looks for: as many for one PushCluster as for all.
    assert.ok(reads - secrets < CLUSTERS, `${reads - secrets} reads of something else`);

    assert.ok(
      ended - began <= MOST_SLOWER * expected,
      `it took ${seconds(ended - began)}, a bare client ${seconds(expected)}`,
    );
    assert.ok(peak() < MAX_RSS_MIB, `it held ${peak()} MiB`);
  });

  it('writes nothing but its lease when nothing changes, and asks for each kind once a minute at most', async () => {
    let last = -1;
    let since = performance.now();
    await until(
      'nothing is written for 5 s',
      async () => {
        const { writes } = counted(await requests());
        if (writes !== last) since = performance.now();
        last = writes;
        return performance.now() - since > 5_000;
      },
      DEADLINE_MS,
      1_000,
    );
    const from = Date.now();
    // Silence is what is measured: it takes as long as it takes.
    await setTimeout(IDLE_MS);
    // Less than that: on a busy machine one question comes late, and the next one a minute after the time for the first.
    const to = from + IDLE_MS - LATE_MS;
    const all = (await requests()).filter(({ received }) => received >= from && received < to);
    const byKind = new Map<string, number>();
    for (const { resource } of all.filter(({ verb }) => verb !== 'watch'))
      byKind.set(resource, (byKind.get(resource) ?? 0) + 1);
    print(
      `idle for ${IDLE_MS / 1_000} s: ${counted(all).writes} writes; requests beside watches: ${JSON.stringify(Object.fromEntries(byKind))}; ` +
        `resident memory now ${resident('VmRSS')} MiB, at most ${peak()} MiB`,
    );
    assert.equal(counted(all).writes, 0);
    assert.ok(peak() < MAX_RSS_MIB, `it held ${peak()} MiB`);
    for (const [resource, count] of byKind) assert.ok(count <= 1, `${resource} was asked for ${count} times`);
  });

  /** What the operator asked for, but for its lease. */
  async function requests(): Promise<AuditEvent[]> {
    const events = await plane.audit.events();
    return events.filter(({ user, resource }) => user === OPERATOR_USER && !resource.endsWith('/leases'));
  }

  /** How many PushClusters have a status. */
  async function told(): Promise<number> {
    const path = '{range .items[*]}{.status.observedGeneration}{"\\n"}{end}';
    const text = await plane.kubectl(['get', 'pushclusters', '-A', `-o=jsonpath=${path}`]);
    return text.split('\n').filter((line) => line === '1').length;
  }

  /** What the processor gave it so far. */
  function operatorCpu(): string {
    const [nanoseconds = 0] = readFileSync(`/proc/${operator.pid}/schedstat`, 'utf8').split(' ').map(Number);
    return seconds(nanoseconds / 1e6);
  }

  function peak(): number {
    return resident('VmHWM');
  }

  /** MiB, as the kernel says. */
  function resident(field: 'VmHWM' | 'VmRSS'): number {
    const status = readFileSync(`/proc/${operator.pid}/status`, 'utf8');
    const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1];
    assert.ok(kib !== undefined, 'the operator has ended');
    return Math.round(Number(kib) / 1_024);
  }
});

/**
 * A bare client that applies what PushClusters need, now and then: what the API server takes for it is the reference for what it
 * takes for the operator, which works beside it.
 */
class Bare {
  /** Objects that one PushCluster needs. */
  readonly ofOne: number;
  readonly #client: Client;
  readonly #stop = new AbortController();
  readonly #working: Promise<void>;
  #objects = 0;
  #ms = 0;

  constructor(plane: ControlPlane) {
    this.#client = new Client(connect({ KUBECONFIG: plane.kubeconfig }), { fieldManager: 'reference' });
    this.ofOne = objectsOf('bare').length;
    this.#working = this.#work();
  }

  /** Milliseconds for an object, on average. */
  get each(): number {
    return this.#ms / this.#objects;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    const { signal } = this.#stop;
    for (let i = 0; !signal.aborted; i++)
      for (const object of objectsOf(`bare-${i}`)) {
        if (signal.aborted) return;
        const began = performance.now();
        await this.#client.apply(object);
        this.#ms += performance.now() - began;
        this.#objects++;
        await setTimeout(BARE_PAUSE_MS, undefined, { signal }).catch(() => {});
      }
  }
}

/** All that an empty PushCluster needs, but nobody's, and nothing for the operator to see. */
function objectsOf(name: string): Ref[] {
  const metadata = { name, namespace: 'team-0', uid: name, generation: 1 };
  const cluster = PushCluster.parse({ apiVersion: API_VERSION, kind: KIND, metadata, spec: {} });
  return desired(cluster, {
    images: { gateway: 'gateway:1', logic: 'logic:1', nats: 'nats:1', natsExporter: 'exporter:1' },
    podDefaults: POD_DEFAULTS,
    gatewayReplicas: 2,
    releasesOld: false,
    holdsOld: false,
    leaving: [],
    logicReplicas: 2,
    serviceMonitors: false,
    secrets: new Map(),
    random: randomBytes,
  }).map((object) => {
    const free = { ...object, metadata: { ...object.metadata, ownerReferences: undefined } };
    return JSON.parse(JSON.stringify(free).replaceAll('pushcluster.dev/cluster', 'reference/cluster'));
  });
}

/** How many different objects. */
function named(events: readonly AuditEvent[]): number {
  return new Set(events.map(({ resource, namespace, name }) => `${resource} ${namespace}/${name}`)).size;
}

/** How often each kind was asked for by each verb, the most frequent first. */
function byVerbAndKind(events: readonly AuditEvent[]): [string, number][] {
  const counts = Map.groupBy(events, ({ verb, resource }) => `${verb} ${resource}`);
  return Array.from(counts, ([what, { length }]): [string, number] => [what, length]).sort(([, a], [, b]) => b - a);
}

function counted(events: readonly AuditEvent[]): { writes: number; reads: number } {
  const reads = events.filter(({ verb }) => ['get', 'list', 'watch'].includes(verb)).length;
  return { writes: events.length - reads, reads };
}

function namespace(i: number) {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name: `team-${i}` } };
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

function print(text: string): void {
  process.stdout.write(`  ${text}\n`);
}
