import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { ReconcileTrigger } from './reconcileTrigger.ts';

const status = (change: Partial<PodStatus>): PodStatus => ({
  version: '1',
  role: 'gateway',
  name: 'g',
  draining: false,
  connections: 1_000,
  settings: { generation: 1, file: 'a'.repeat(64) },
  fds: { limit: 1_000, open: 10 },
  pressure: {},
  bus: { connected: true },
  ...change,
});

describe('what a pod says', () => {
  it('is news at once where it is the first, or about its settings, its files, its drain, or that it is empty', () => {
    const reconcileTrigger = new ReconcileTrigger();
    assert.equal(reconcileTrigger.delayAfter('a', status({})), 0);
    assert.equal(reconcileTrigger.delayAfter('a', status({})), undefined);
    assert.equal(reconcileTrigger.delayAfter('b', status({})), 0);
    const refused = { generation: 1, file: 'a'.repeat(64), refused: 'no' };
    assert.equal(reconcileTrigger.delayAfter('a', status({ settings: refused })), 0);
    assert.equal(reconcileTrigger.delayAfter('a', status({ settings: refused, draining: true })), 0);
    assert.equal(reconcileTrigger.delayAfter('a', status({ settings: refused, draining: true, connections: 0 })), 0);
    assert.equal(
      reconcileTrigger.delayAfter('a', status({ settings: refused, draining: true, connections: 0 })),
      undefined,
    );
  });

  it('is news soon where its connections have moved by 5 % and 20, in steps too, or it comes near a limit', () => {
    const reconcileTrigger = new ReconcileTrigger();
    reconcileTrigger.delayAfter('a', status({}));
    assert.equal(reconcileTrigger.delayAfter('a', status({ connections: 1_030 })), undefined);
    assert.equal(reconcileTrigger.delayAfter('a', status({ connections: 1_060 })), 5_000);
    assert.equal(reconcileTrigger.delayAfter('a', status({ connections: 1_000 })), 5_000);
    assert.equal(reconcileTrigger.delayAfter('a', status({ pressure: { memory: 0.7 } })), undefined);
    assert.equal(reconcileTrigger.delayAfter('a', status({ pressure: { memory: 0.82 } })), 5_000);
    assert.equal(reconcileTrigger.delayAfter('a', status({ pressure: { memory: 0.83 } })), undefined);
    reconcileTrigger.delayAfter('few', status({ connections: 10 }));
    assert.equal(reconcileTrigger.delayAfter('few', status({ connections: 20 })), undefined);
  });

  it('is news after a silence, even where it is what the pod said before', () => {
    const reconcileTrigger = new ReconcileTrigger();
    reconcileTrigger.delayAfter('a', status({}));
    reconcileTrigger.forget('a');
    assert.equal(reconcileTrigger.delayAfter('a', status({})), 0);
    assert.equal(reconcileTrigger.delayAfter('a', status({})), undefined);
  });
});
