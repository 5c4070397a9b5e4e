import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GatewayPod } from './gatewayPod.ts';
import { rolloutRouting, WAIT_MS } from './rolloutRouting.ts';

const NOW = Date.UTC(2026, 0, 1);

function pod(connections: number | undefined, more: Partial<GatewayPod> = {}): GatewayPod {
  return {
    uid: 'x',
    name: 'x',
    isCurrent: true,
    isReady: true,
    readySince: NOW,
    state: 'running',
    isServing: true,
    drainSince: undefined,
    deletionCost: undefined,
    counted: connections === undefined ? undefined : { connections, at: NOW },
    unknownSince: undefined,
    isFuller: undefined,
    isAsked: true,
    isSilent: false,
    ...more,
  };
}
const many = (count: number, connections: number | undefined, more: Partial<GatewayPod> = {}) =>
  Array.from({ length: count }, () => pod(connections, more));
const old = { isCurrent: false };
const out = { isCurrent: false, isServing: false };
const starting = { isReady: false, readySince: undefined };
const pending = { ...starting, state: 'pending' } as const;
const newOnly = (pods: readonly GatewayPod[], replicas = 12) => rolloutRouting(pods, replicas, NOW).newOnly;

describe('newcomers in a rollout of twelve gateways', () => {
  it('go to new ones alone when all three that come together are ready', () => {
    assert.equal(newOnly([...many(12, 5_000, old), ...many(3, undefined, starting)]), false);
    assert.equal(newOnly([...many(12, 5_000, old), ...many(2, 0), pod(undefined, starting)]), false);
    assert.equal(newOnly([...many(12, 5_000, old), ...many(3, 0)]), true);
    assert.equal(newOnly([...many(12, 5_000, old), ...many(3, undefined)]), true, 'who has yet to be asked is empty');
  });

  it('wait for those that find no place for ten seconds, and go to those that have one then', () => {
    const at = (ago: number) => [
      ...many(12, 5_000, old),
      pod(0, { readySince: NOW - ago }),
      pod(0),
      pod(undefined, pending),
    ];
    assert.deepEqual(rolloutRouting(at(4_000), 12, NOW), { newOnly: false, againIn: WAIT_MS - 4_000 });
    assert.equal(newOnly(at(WAIT_MS)), true);
  });

  it('stay with the new ones where more are wanted meanwhile, or an old one was made anew', () => {
    const pods = [...many(8, 5_000, out), pod(undefined, { ...old, ...pending }), ...many(3, 4_000)];
    assert.equal(newOnly(pods, 48), true);
  });

  it('go to old ones too where none of the new ones is ready, or most of those that hold people are not', () => {
    assert.equal(newOnly([...many(9, 5_000, out), ...many(3, 4_000, starting)]), false);
    assert.equal(newOnly([...many(9, 5_000, out), pod(4_000), ...many(2, 4_000, starting)]), false);
    assert.equal(newOnly([...many(9, 5_000, out), pod(4_000), ...many(2, 0, starting), pod(undefined, pending)]), true);
    assert.equal(newOnly([...many(9, 5_000, out), ...many(3, 4_000), ...many(3, 4_000, starting)]), true);
  });

  it('go to old ones too where the new ones are twice as full as all are, until they are not by half', () => {
    const full = (count: number, state: Partial<GatewayPod>) => [...many(9, 5_000, state), ...many(3, count)];
    assert.equal(newOnly(full(14_000, out)), true);
    assert.equal(newOnly(full(16_000, out)), false);
    assert.equal(newOnly(full(14_000, old)), false);
    assert.equal(newOnly(full(8_000, old)), true);
    const few = (count: number) => [...many(9, 5, out), ...many(3, count)];
    assert.equal(newOnly(few(900)), true, 'so few are no burden');
  });

  it('go to new ones alone once these are half of all, however full', () => {
    assert.equal(newOnly([...many(6, 100, out), ...many(6, 20_000)]), true);
    assert.equal(newOnly([...many(6, undefined, old), ...many(6, undefined)]), true);
  });

  it('go where they went where no gateway says how full it is', () => {
    assert.equal(newOnly([...many(12, undefined, old), ...many(3, undefined)]), false);
    assert.equal(newOnly([...many(9, undefined, out), ...many(3, undefined)]), true);
  });
});
