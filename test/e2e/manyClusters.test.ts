import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { API_VERSION, KIND } from '@pushcluster/operator/api/pushCluster.ts';
import type { AuditEvent } from '../harness/cluster/audit.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

/** As in the image. */
const FLAGS = flagsOf(readFileSync(new URL('../../Dockerfile', import.meta.url), 'utf8'));
const CLUSTERS = 200;
const NAMESPACES = 20;
/** In which all are to be reconciled, and what the operator may hold meanwhile. */
const DEADLINE_MS = 60_000;
const MAX_RSS_MIB = 256;
/** Over which an idle operator is looked at. */
const IDLE_MS = 60_000;

describe(`an operator of ${CLUSTERS} PushClusters`, () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;

  before(async () => {
    plane = await startControlPlane();
    await OperatorProcess.install(plane);
    await apply(
      plane.kubectl,
      Array.from({ length: NAMESPACES }, (_, i) => namespace(i)),
    );
    const [adminPort = 0] = await freePorts(1);
    operator = new OperatorProcess(plane, { adminPort, flags: FLAGS });
    await operator.start();
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await plane?.stop();
  });

  it(`has reconciled all within ${DEADLINE_MS / 1_000} s, and holds less than ${MAX_RSS_MIB} MiB`, async () => {
    const clusters = Array.from({ length: CLUSTERS }, (_, i) => ({
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name: `live-${i}`, namespace: `team-${i % NAMESPACES}` },
      spec: {},
    }));
    const began = performance.now();
    await apply(plane.kubectl, clusters);
    const created = performance.now();
    await until('every PushCluster has a status', async () => (await told()) === CLUSTERS, 3 * DEADLINE_MS, 1_000);
    const ended = performance.now();
    const { writes, reads } = counted(await requests());
    print(
      `${CLUSTERS} PushClusters: created in ${seconds(created - began)}, all reconciled ${seconds(ended - began)} after the first, ` +
        `with ${writes} writes and ${reads} reads; resident memory at most ${peak()} MiB`,
    );
    const objects = await plane.kubectl(['get', 'deployments', '-A', '-l', 'pushcluster.dev/cluster', '-o=name']);
    assert.equal(objects.trim().split('\n').length, 2 * CLUSTERS);
    assert.ok(ended - began <= DEADLINE_MS, `it took ${seconds(ended - began)}`);
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
      2 * DEADLINE_MS,
      1_000,
    );
    const from = Date.now();
    // Silence is what is measured: it takes as long as it takes.
    await setTimeout(IDLE_MS);
    // No longer than that: on a busy machine the timer, and the log, come late, and with them the next minute's question.
    const all = (await requests()).filter(({ received }) => received >= from && received < from + IDLE_MS);
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

function flagsOf(dockerfile: string): string[] {
  const found = /^ENTRYPOINT \["node", (.*)"operator\/main\.js"\]$/m.exec(dockerfile)?.[1];
  assert.ok(found, 'the Dockerfile starts the operator');
  return [...found.matchAll(/"([^"]+)"/g)].map(([, flag]) => flag!);
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
