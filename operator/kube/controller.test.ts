import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { Registry } from 'prom-client';
import { Client } from './client.ts';
import { Controller, type ControllerOptions, itself, ownersOfKind } from './controller.ts';
import { NotLeading } from './elector.ts';
import { KubeError } from './errors.ts';
import { FakeApi } from './fakeApi.ts';
import { Metrics, type Outcome } from './metrics.ts';
import { KINDS } from './objects.ts';

function fixture(reconcile: ControllerOptions['reconcile'], more: Partial<ControllerOptions> = {}) {
  const clock = new FakeClock();
  const outcomes: Outcome[] = [];
  const waits: number[] = [];
  const controller = new Controller({
    reconcile,
    clock,
    onReconciled: (_key, outcome) => outcomes.push(outcome),
    onError: (_key, _error, wait) => waits.push(wait),
    ...more,
  });
  controller.start();
  return { clock, controller, outcomes, waits };
}

describe('a controller', () => {
  it('reconciles a key again after growing waits until it does well', async () => {
    let tries = 0;
    const { clock, controller, outcomes, waits } = fixture(async () => {
      if (++tries <= 3) throw new Error('not yet');
      return {};
    });
    controller.queue.add('shop/live');
    await clock.pass(100, 5);
    assert.deepEqual(outcomes, ['error', 'error', 'error', 'done']);
    assert.deepEqual(waits, [5, 10, 20]);
    assert.equal(controller.queue.failures('shop/live'), 0);
    await controller.stop();
  });

  it('looks again after the time that a reconcile asks for', async () => {
    let tries = 0;
    const { clock, controller, outcomes } = fixture(async () => (++tries === 1 ? { againIn: 2_000 } : {}));
    controller.queue.add('shop/live');
    await clock.pass(1_900);
    assert.deepEqual(outcomes, ['again']);
    await clock.pass(200);
    assert.deepEqual(outcomes, ['again', 'done']);
    await controller.stop();
  });

  it('waits as long as the API server asks for, and tells conflicts from errors', async () => {
    const errors = [
      new KubeError('unavailable', 'slow down', { retryAfter: 3_000 }),
      new KubeError('conflict', 'changed'),
    ];
    const { clock, controller, outcomes, waits } = fixture(async () => {
      const error = errors.shift();
      if (error) throw error;
      return {};
    });
    controller.queue.add('shop/live');
    await clock.pass(3_300);
    assert.deepEqual(waits, [3_000, 10]);
    assert.deepEqual(outcomes, ['error', 'conflict', 'done']);
    await controller.stop();
  });

  it('works on as many keys at once as it has workers, and on no key twice', async () => {
    let atOnce = 0;
    let most = 0;
    const gate = Promise.withResolvers<void>();
    const { clock, controller, outcomes } = fixture(
      async () => {
        most = Math.max(most, ++atOnce);
        await gate.promise;
        atOnce--;
        return {};
      },
      { workers: 2 },
    );
    for (const key of ['a', 'b', 'c', 'a', 'b']) controller.queue.add(key);
    await clock.pass(10);
    for (const key of ['a', 'b']) controller.queue.add(key);
    assert.equal(controller.queue.depth, 3);
    gate.resolve();
    await clock.pass(10);
    assert.equal(most, 2);
    assert.equal(outcomes.length, 5);
    await controller.stop();
  });

  it('lets what is under way finish when it is stopped, and begins nothing more', async () => {
    const gate = Promise.withResolvers<void>();
    let finished = 0;
    const { clock, controller } = fixture(
      async () => {
        await gate.promise;
        finished++;
        return {};
      },
      { workers: 1 },
    );
    for (const key of ['a', 'b']) controller.queue.add(key);
    await clock.pass(10);
    const stopped = controller.stop();
    gate.resolve();
    await stopped;
    assert.equal(finished, 1);
  });

  it('drops a key of which not everything is known, until it is added again', async () => {
    const known = new Set<string>();
    const done: string[] = [];
    const { clock, controller, outcomes } = fixture(
      async (key) => {
        done.push(key);
        return {};
      },
      { isKnown: (key) => known.has(key) },
    );
    for (const key of ['shop/live', 'chat/live']) controller.queue.add(key);
    await clock.pass(100);
    assert.deepEqual([done, outcomes, controller.queue.depth], [[], [], 0]);
    known.add('chat/live');
    for (const key of ['shop/live', 'chat/live']) controller.queue.add(key);
    await clock.pass(100);
    assert.deepEqual([done, outcomes], [['chat/live'], ['done']]);
    await controller.stop();
  });

  it('counts nothing and tries nothing again when the process has lost its lease', async () => {
    const { clock, controller, outcomes, waits } = fixture(async () => {
      throw new NotLeading('a is not the leader: nothing is written');
    });
    controller.queue.add('a');
    await clock.pass(1_000);
    assert.deepEqual([outcomes, waits, controller.queue.depth], [[], [], 0]);
    await controller.stop();
  });
});

describe('the key of a change', () => {
  const owner = { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster', name: 'live', uid: 'u' };
  const object = (owners?: (typeof owner)[]) => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'live-gateway', namespace: 'shop', ...(owners ? { ownerReferences: owners } : {}) },
  });

  it("is the object's own, or its owners' before and after", () => {
    assert.deepEqual(itself({ type: 'added', object: object() }), ['shop/live-gateway']);
    const ofClusters = ownersOfKind('PushCluster');
    assert.deepEqual(ofClusters({ type: 'added', object: object([owner]) }), ['shop/live']);
    assert.deepEqual(ofClusters({ type: 'changed', object: object(), before: object([owner]) }), ['shop/live']);
    assert.deepEqual(ofClusters({ type: 'added', object: object([{ ...owner, kind: 'Deployment' }]) }), []);
  });
});

describe('the metrics of the operator', () => {
  it('have the names of the contract', async () => {
    const registry = new Registry();
    const client = new Client(new FakeApi());
    const counts = { expired: 0, silences: 0, failures: 0 };
    const watchOf = (namespace: string | undefined, failingFor: number) => ({
      ...{ kind: KINDS.pods, counts, namespace, failingFor },
    });
    const metrics = new Metrics(registry, {
      isLeading: () => true,
      depth: () => 3,
      failing: () => 2,
      client,
      reflectors: [watchOf('shop', 0), watchOf('gone', 5_000), watchOf('gone', 1), watchOf(undefined, 0)],
    });
    metrics.reconciled('done', 0.02);
    const text = await registry.metrics();
    for (const line of [
      'pushcluster_operator_reconcile_total{outcome="done"} 1',
      'pushcluster_operator_reconcile_total{outcome="error"} 0',
      'pushcluster_operator_reconcile_seconds_count 1',
      'pushcluster_operator_leader 1',
      'pushcluster_operator_workqueue_depth 3',
      'pushcluster_operator_clusters_failing 2',
      'pushcluster_operator_watches_failing{watched_namespace="shop"} 0',
      'pushcluster_operator_watches_failing{watched_namespace="gone"} 2',
      'pushcluster_operator_watches_failing{watched_namespace=""} 0',
      'pushcluster_operator_requests_total{verb="writes"} 0',
    ])
      assert.ok(text.includes(line), `${line} is not in\n${text}`);
  });
});
