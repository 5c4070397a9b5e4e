import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEADLINE_MS, NatsRollouts } from './natsRollouts.ts';

const KEY = 'shop/live';
const first = { generation: 2, updated: 0, ready: 3 };

function rollouts() {
  let now = 5_000;
  const all = new NatsRollouts({ now: () => now });
  return { all, pass: (ms: number) => (now += ms), look: (progress?: typeof first) => all.look(KEY, progress) };
}

describe('a rollout of NATS', () => {
  it('is given up once it has made no progress until its deadline', () => {
    const { look, pass } = rollouts();
    assert.deepEqual(look(first), { isActive: true, againIn: DEADLINE_MS });
    pass(DEADLINE_MS - 1);
    assert.deepEqual(look(first), { isActive: true, againIn: 1 });
    pass(1);
    assert.deepEqual(look(first), { isActive: false });
    pass(DEADLINE_MS);
    assert.deepEqual(look(first), { isActive: false });
  });

  it('makes progress when a server is updated, or becomes ready again', () => {
    const { look, pass } = rollouts();
    look(first);
    for (const progress of [
      { ...first, updated: 1, ready: 2 },
      { ...first, updated: 1, ready: 3 },
      { ...first, updated: 2, ready: 2 },
    ]) {
      pass(DEADLINE_MS - 1);
      assert.deepEqual(look(progress), { isActive: true, againIn: DEADLINE_MS });
    }
  });

  it('makes none by a server that is ready again and again', () => {
    const { look, pass } = rollouts();
    const [down, up] = [
      { ...first, updated: 1, ready: 2 },
      { ...first, updated: 1, ready: 3 },
    ];
    look(first);
    look(down);
    look(up);
    pass(DEADLINE_MS / 2);
    look(down);
    assert.deepEqual(look(up), { isActive: true, againIn: DEADLINE_MS / 2 });
    pass(DEADLINE_MS / 2);
    assert.deepEqual(look(down), { isActive: false });
  });

  it('counts again from a change of the StatefulSet, and after it has ended', () => {
    const { look, pass } = rollouts();
    look(first);
    pass(DEADLINE_MS);
    assert.deepEqual(look({ ...first, generation: 3 }), { isActive: true, againIn: DEADLINE_MS });
    pass(DEADLINE_MS);
    assert.deepEqual(look(), { isActive: false });
    assert.deepEqual(look({ ...first, generation: 3 }), { isActive: true, againIn: DEADLINE_MS });
  });

  it('is forgotten with its PushCluster', () => {
    const { all, look, pass } = rollouts();
    look(first);
    pass(DEADLINE_MS);
    all.forget(KEY);
    assert.deepEqual(look(first), { isActive: true, againIn: DEADLINE_MS });
  });
});
