import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { median } from '../../bench/measure.ts';
import { Chance } from '../../harness/chance.ts';
import { drainNode } from '../../harness/cluster/drainNode.ts';
import { COUNTS, HistoryLoad, SPEC } from '../../harness/cluster/historyLoad.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { type Operation, operations } from '../../harness/cluster/operations.ts';
import { installChart, RELEASE } from '../../harness/cluster/product.ts';

/**
 * `make soak [OPERATIONS=108] [SEED=1]`: a month of operations on a PushCluster with rooms that have a history, one after the
 * other. Clients stay over all of it. The same seed gives the same operations in the same order.
 */

const COUNT = Number(process.env.OPERATIONS ?? 20);
const SEED = Number(process.env.SEED ?? 1);
const DRAIN_MS = 300_000;
/**
 * The most memory of a role in the last third of the operations, relative to that in the second one, in which all is warm.
 * The least is that of a pod which has just started. Settings that change make NATS keep up to two thirds more.
 */
const GROWTH = 1.5;

const chance = new Chance(SEED);
const plan = operations(chance, COUNT);

describe(`over ${COUNT} operations (seed ${SEED}), clients of rooms with history get every item once and in order, and are told of nothing, while`, () => {
  let cluster: OpenCluster;
  let live: Live;
  let load: HistoryLoad | undefined;
  const counts = { gateway: COUNTS.gateway, logic: COUNTS.logic };
  /** MiB of the largest container of each role after each operation. */
  const memory: Map<string, number>[] = [];
  /** Milliseconds for which a client got nothing while publishers pushed. */
  const silences = new Map<Operation, number[]>();

  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'soak', SPEC);
    load = await HistoryLoad.start(live);
  });
  after(async () => {
    load?.end();
    await live?.end();
    await cluster.close();
  });

  for (const [index, operation] of plan.entries())
    it(`${index + 1} of ${COUNT}: ${operation}`, async (t) => {
      await load!.during(t, () => perform(operation));
      silences.set(operation, [...(silences.get(operation) ?? []), load!.silence]);
      await lookAtMemory(t);
    });

  it('and no role needs more memory at the end', (t) => {
    for (const [operation, all] of silences)
      t.diagnostic(
        `${operation}: ${all.length} times, longest silence ${Math.max(...all)} ms, median ${median(all)} ms, above a second ${all.filter((ms) => ms > 1_000).length} times`,
      );
    const third = Math.floor(memory.length / 3);
    assert.ok(third > 0, 'three operations at least');
    const roles = new Set(memory.flatMap((each) => [...each.keys()]));
    for (const role of roles) {
      const all = memory.map((each) => each.get(role) ?? 0);
      const [early, late] = [Math.max(...all.slice(third, 2 * third)), Math.max(...all.slice(-third))];
      t.diagnostic(`${role}: ${early} MiB at most in the second third, ${late} MiB in the last`);
      assert.ok(late <= early * GROWTH, `${role}: ${early} → ${late} MiB`);
    }
  });

  async function perform(operation: Operation): Promise<void> {
    switch (operation) {
      case 'roll gateways out':
        return live.rollOut('gateway');
      case 'roll logic out':
        return live.rollOut('logic');
      case 'upgrade NATS one by one':
        return live.rollOut('nats');
      case 'scale gateways':
        return scale('gateway', [2, 3, 4]);
      case 'scale logic':
        return scale('logic', [2, 3]);
      case 'change settings':
        return changeSettings();
      case 'drain a node':
        return drainSomeNode();
    }
  }

  async function scale(role: 'gateway' | 'logic', choices: readonly number[]): Promise<void> {
    counts[role] = chance.pick(choices.filter((count) => count !== counts[role]));
    await live.patch({ [role]: { replicas: counts[role] } });
    await live.served(role, counts[role]);
  }

  /** Resolves when all pods run the new settings. */
  async function changeSettings(): Promise<void> {
    const history = { messages: chance.pick([6_000, 8_000, 10_000]), replicas: 3 };
    const maxDelay = chance.pick(['20ms', '50ms', '100ms', '200ms']);
    await live.patch({
      rooms: [{ match: 'h-*', history, batching: { maxDelay } }],
      gateway: { drain: { rate: chance.pick([30, 40, 50]) }, batching: { maxItems: chance.pick([500, 1_000]) } },
    });
    const isStable = (status?: string) => status === 'False';
    await live.when('all pods run the settings', (found) => isStable(live.condition(found, 'Progressing')?.status));
  }

  async function drainSomeNode(): Promise<void> {
    const node = (await live.pods(chance.pick(['gateway', 'logic', 'nats'])))[0]!.node;
    try {
      await drainNode(cluster, node, DRAIN_MS);
      for (const role of ['gateway', 'logic'] as const) await live.served(role, counts[role]);
      await live.served('nats', COUNTS.nats);
    } finally {
      await cluster.kubectl(['uncordon', node]);
    }
  }

  /** As `kubectl top` tells it: that of the last scrape of the kubelet, some seconds ago. */
  async function lookAtMemory(t: TestContext): Promise<void> {
    const found = new Map<string, number>();
    for (const namespace of [live.namespace, RELEASE.namespace]) {
      const text = await cluster
        .kubectl(['top', 'pods', '-n', namespace, '--containers', '--no-headers'])
        .catch(() => '');
      for (const line of text.split('\n')) {
        const [, container = '', , size = ''] = line.trim().split(/\s+/);
        const mib = Number(/^(\d+)Mi$/.exec(size)?.[1]);
        if (Number.isFinite(mib)) found.set(container, Math.max(found.get(container) ?? 0, mib));
      }
    }
    if (found.size > 0) memory.push(found);
    t.diagnostic([...found].map(([container, mib]) => `${container} ${mib} MiB`).join(', '));
  }
});
