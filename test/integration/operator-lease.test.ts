import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { Client } from '@pushcluster/operator/kube/client.ts';
import { connect } from '@pushcluster/operator/kube/connection.ts';
import { Elector } from '@pushcluster/operator/kube/elector.ts';
import { LEASE_TIMES, type LeaseTimes } from '@pushcluster/operator/kube/lease.ts';
import { KINDS } from '@pushcluster/operator/kube/objects.ts';
import { Reflector } from '@pushcluster/operator/kube/reflector.ts';
import type { AuditEvent } from '../harness/cluster/audit.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { Lateness } from '../harness/lateness.ts';
import type { LeaderMessage } from '../harness/leader.ts';
import { looksInVain } from '../harness/leaseLooks.ts';
import { until } from '../harness/until.ts';

const PROGRAM = new URL('../harness/leader.ts', import.meta.url).pathname;
/** As the operator's, five times as fast. */
const FAST: LeaseTimes = { duration: 3_000, renewDeadline: 2_000, retryPeriod: 400 };
const FAST_ROUNDS = 3;

/** A process that wants a lease and writes while it has it. */
class Candidate {
  readonly user: string;
  readonly messages: LeaderMessage[] = [];
  readonly child: ChildProcess;

  constructor(lease: string, user: string, kubeconfig: string, times: LeaseTimes) {
    this.user = user;
    this.child = fork(PROGRAM, [lease, user, JSON.stringify(times)], {
      env: { ...process.env, KUBECONFIG: kubeconfig },
    });
    this.child.on('message', (message: LeaderMessage) => this.messages.push(message));
  }

  get leads(): boolean {
    return this.messages.includes('leading');
  }

  /** It has ended, and all that it said has come: its last message may come later than its end. */
  get exited(): boolean {
    return !this.child.connected && (this.child.exitCode !== null || this.child.signalCode !== null);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}

/** Of two that write as fast as they can; what the operator itself does is in operator-handover. */
describe('the lease of two operators', { concurrency: 3 }, () => {
  let plane: ControlPlane;
  let client: Client;
  const candidates: Candidate[] = [];

  before(async () => {
    plane = await startControlPlane();
    client = new Client(connect({ KUBECONFIG: plane.kubeconfig }));
  });
  after(async () => {
    for (const each of candidates) each.signal('SIGKILL');
    await plane.stop();
  });

  async function candidate(lease: string, name: string, times = LEASE_TIMES): Promise<Candidate> {
    const user = `${lease}-${name}`;
    const made = new Candidate(lease, user, await plane.kubeconfigFor(`/O=system:masters/CN=${user}`), times);
    candidates.push(made);
    return made;
  }

  /** The first leads and has written; the second waits. */
  async function pair(lease: string, times = LEASE_TIMES) {
    const first = await candidate(lease, 'first', times);
    await until('the first leads', () => first.leads);
    const second = await candidate(lease, 'second', times);
    await until('the second has asked for the lease', async () =>
      (await plane.audit.events()).some(({ user, verb }) => user === second.user && verb === 'get'),
    );
    return { first, second };
  }

  /** What the first still asked to have written after the second had the lease. */
  async function writesAfterHandOver(lease: string, first: Candidate, second: Candidate) {
    const writes = (await plane.audit.writes()).filter(({ name }) => name.endsWith(lease));
    const takeover = writes.find(
      ({ user, resource, code }) => user === second.user && /leases$/.test(resource) && code < 300,
    );
    assert.ok(takeover, 'the second has written its lease');
    assert.ok(writes.some(({ user, resource }) => user === first.user && resource === 'configmaps'));
    return writes.filter(({ user, received }) => user === first.user && received > takeover.received);
  }

  /** Of the lease, in the order of their answers. */
  async function eventsOf(lease: string): Promise<AuditEvent[]> {
    return (await plane.audit.events()).filter(({ resource, name }) => /leases$/.test(resource) && name === lease);
  }

  it('goes over within 3 s, at the next look, when its holder ends in good order', async (t) => {
    const { first, second } = await pair('orderly');
    const lateness = Lateness.during(t);
    const began = performance.now();
    first.signal('SIGTERM');
    await until('the second leads', () => second.leads);
    const took = performance.now() - began;
    console.log(`hand-over after a clean exit: ${Math.round(took)} ms`);
    assert.ok(took <= 3_000 + lateness.total, `${took} ms`);
    await until('the first has ended', () => first.exited);
    assert.equal(looksInVain(await eventsOf('orderly'), first.user, second.user), 0, 'looks in vain');
    assert.deepEqual(first.messages, ['leading', 'released']);
    assert.deepEqual(await writesAfterHandOver('orderly', first, second), []);
    second.signal('SIGTERM');
    await until('the second has ended', () => second.exited);
    assert.equal(holderOf(await lease('orderly')), '');
  });

  it('is lost by a holder that was stopped: when it goes on, it writes nothing any more and ends', async () => {
    const late: unknown[] = [];
    for (let round = 1; round <= FAST_ROUNDS; round++) late.push(...(await stopAndGoOn(`stopped-${round}`)));
    // Between the last question for the right to write and the socket there is a moment in which one may be stopped, seldom.
    assert.ok(late.length <= 1, JSON.stringify(late));
  });

  /** What the first wrote though the second had the lease. */
  async function stopAndGoOn(name: string): Promise<unknown[]> {
    const { first, second } = await pair(name, FAST);
    first.signal('SIGSTOP');
    await until('the second leads', () => second.leads);
    await until('the second writes', async () =>
      (await plane.audit.writes()).some(({ user, resource }) => user === second.user && resource === 'configmaps'),
    );
    first.signal('SIGCONT');
    await until('the first has ended', () => first.exited);
    assert.deepEqual(first.messages, ['leading', 'lost']);
    const late = await writesAfterHandOver(name, first, second);
    second.signal('SIGKILL');
    return late;
  }

  it('is all that is written, and its renewals all that is asked, while nothing happens', async () => {
    const kubeconfig = await plane.kubeconfigFor('/O=system:masters/CN=idle');
    const idle = new Client(connect({ KUBECONFIG: kubeconfig }));
    const elector = new Elector({ client: idle, name: 'idle', namespace: 'default', identity: 'idle' });
    const kinds = [KINDS.deployments, KINDS.services, KINDS.secrets, KINDS.pods, KINDS.statefulSets];
    const reflectors = kinds.map((kind) => new Reflector({ client: idle, kind }));
    elector.start();
    for (const each of reflectors) each.start();
    assert.equal(await elector.whenElected(), true);
    await Promise.all(reflectors.map((each) => each.whenSynced()));
    await until('all watch', () => idle.counts.watches >= kinds.length);
    const before = { ...idle.counts };
    const began = performance.now();
    await until('it has renewed its lease five times', () => idle.counts.writes - before.writes >= 5);
    const seconds = (performance.now() - began) / 1_000;
    assert.deepEqual(
      { reads: idle.counts.reads - before.reads, watches: idle.counts.watches - before.watches },
      { reads: 0, watches: 0 },
    );
    const asked = (await plane.audit.writes()).filter(({ user }) => user === 'idle');
    assert.ok(asked.every(({ resource }) => /leases$/.test(resource)));
    console.log(
      `idle leader with ${kinds.length} kinds: 5 writes of its lease in ${seconds.toFixed(1)} s, nothing else`,
    );
    await Promise.all(reflectors.map((each) => each.stop()));
    await elector.stop();
    assert.equal(await elector.whenEnded(), 'released');
    assert.throws(elector.assertLeading, /idle is not the leader/);
  });

  const lease = (name: string) =>
    client.get({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace: 'default' } });
});

function holderOf(lease: unknown): unknown {
  return JSON.parse(JSON.stringify(lease)).spec.holderIdentity;
}
