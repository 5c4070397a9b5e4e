import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { API_VERSION, KIND } from '@pushcluster/operator/api/pushCluster.ts';
import { parse } from 'yaml';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { Lateness } from '../harness/lateness.ts';
import { MemoryCgroup } from '../harness/memoryCgroup.ts';
import { Metrics } from '../harness/metrics.ts';
import { nodeFlags } from '../harness/nodeFlags.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const CLUSTERS = Number(process.env.CLUSTERS ?? 1_000);
const NAMESPACES = 20;
/** Two gateways and two logic pods each report their status. */
const REPORTING = 4 * CLUSTERS;
const MIB = 1_048_576;
/** What the chart allows the operator by default. */
const LIMIT_MIB = Number(/^(\d+)Mi$/.exec(limitOf('../../charts/pushcluster/values.yaml'))?.[1]);
const DEADLINE_MS = 3_600_000;
/** How long reports come in from pods whose numbers change, and how often these change. */
const LIFE_MS = 120_000;
const CHANGE_MS = 10_000;
const QUESTIONS = 'pushcluster_operator_pod_questions_total';

describe(`an operator of ${CLUSTERS} PushClusters whose pods report`, () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let pods: PlayedPods;
  let cgroup: MemoryCgroup | undefined;

  before(async () => {
    plane = await startControlPlane();
    await OperatorProcess.install(plane);
    await apply(
      plane.kubectl,
      Array.from({ length: NAMESPACES }, (_, i) => ({
        ...{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: `team-${i}` } },
      })),
    );
    const [adminPort = 0, podPort = 0] = await freePorts(2);
    const env = { POD_PORT: String(podPort) };
    pods = new PlayedPods(plane, podPort, { withNats: true });
    pods.startsWith = () => 1_000;
    cgroup = MemoryCgroup.create(`pushcluster-test-${process.pid}`, LIMIT_MIB * MIB);
    operator = new OperatorProcess(plane, { adminPort, env, flags: nodeFlags('operator'), cgroup });
    await Promise.all([pods.start(), operator.start()]);
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await pods?.stop();
    await plane?.stop();
    cgroup?.remove();
  });

  it(`makes all ready within the memory that the chart allows: ${LIMIT_MIB} MiB`, async () => {
    const clusters = Array.from({ length: CLUSTERS }, (_, i) => ({
      apiVersion: API_VERSION,
      kind: KIND,
      metadata: { name: `live-${i}`, namespace: `team-${i % NAMESPACES}` },
      spec: {},
    }));
    const began = performance.now();
    for (let i = 0; i < CLUSTERS; i += 100) await apply(plane.kubectl, clusters.slice(i, i + 100));
    await until('every PushCluster is Ready', async () => (await ready()) === CLUSTERS, DEADLINE_MS, 5_000);
    print(`all Ready after ${seconds(performance.now() - began)}; ${memory()}; CPU ${seconds(cpu())}`);
    held();
  });

  it('hears all pods every ten seconds, and stays within it', async (t) => {
    const lateness = Lateness.during(t);
    const [before, from] = [await answered(), cpu()];
    const began = performance.now();
    for (let passed = 0; passed < LIFE_MS; passed += CHANGE_MS) {
      for (let i = 0; i < NAMESPACES; i++)
        for (const pod of pods.of(`team-${i}`)) pod.says.connections = Math.round(1_000 * (0.8 + 0.4 * Math.random()));
      await setTimeout(CHANGE_MS);
    }
    const took = performance.now() - began;
    const { yes, no } = await answered();
    const each = (yes - before.yes) / REPORTING;
    print(
      `${REPORTING} pods whose connections change, for ${seconds(took)}: each asked every ${seconds(took / each)}, ` +
        `${no - before.no} without an answer; ${memory()}; CPU ${((100 * (cpu() - from)) / took).toFixed(0)} %`,
    );
    assert.ok(took / each < 15_000 + lateness.total, 'pods are asked in time');
    held();
  });

  it('stays within it when it starts anew, and lists all', async () => {
    await operator.end('SIGTERM');
    const began = performance.now();
    await operator.start();
    await until('all pods were asked', async () => (await answered()).yes >= REPORTING, DEADLINE_MS);
    print(`started anew: all pods asked after ${seconds(performance.now() - began)}; ${memory()}`);
    assert.equal(await ready(), CLUSTERS);
    held();
  });

  /** Not killed for want of memory, and below the limit also where this process may create no cgroup. */
  function held(): void {
    assert.ok(operator.isRunning, operator.output.slice(-3_000));
    assert.ok(resident('VmHWM') < LIMIT_MIB, memory());
  }

  /** How many PushClusters are Ready. */
  async function ready(): Promise<number> {
    const path = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}';
    const text = await plane.kubectl(['get', 'pushclusters', '-A', `-o=jsonpath=${path}`]);
    return text.split('\n').filter((line) => line === 'True').length;
  }

  async function answered(): Promise<{ yes: number; no: number }> {
    const metrics = new Metrics(await (await fetch(`http://127.0.0.1:${operator.adminPort}/metrics`)).text());
    return {
      yes: metrics.sum(QUESTIONS, { answer: 'yes' }),
      no: metrics.sum(QUESTIONS, { answer: 'no' }),
    };
  }

  /** Milliseconds that the processor gave it since its start. */
  function cpu(): number {
    const fields = readFileSync(`/proc/${operator.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return 10 * (Number(fields[11]) + Number(fields[12]));
  }

  /** MiB, as the kernel says. */
  function resident(field: 'VmHWM' | 'VmRSS'): number {
    const status = readFileSync(`/proc/${operator.pid}/status`, 'utf8');
    return Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1_024);
  }

  function memory(): string {
    const used = cgroup ? `, working set ${Math.round(cgroup.used / MIB)} MiB of ${LIMIT_MIB}` : '';
    return `resident memory now ${resident('VmRSS')} MiB, at most ${resident('VmHWM')} MiB${used}`;
  }
});

function limitOf(values: string): string {
  const Values = z.object({
    operator: z.object({ resources: z.object({ limits: z.object({ memory: z.string() }) }) }),
  });
  return Values.parse(parse(readFileSync(new URL(values, import.meta.url), 'utf8'))).operator.resources.limits.memory;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

function print(text: string): void {
  process.stdout.write(`  ${text}\n`);
}
