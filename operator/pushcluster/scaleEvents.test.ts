import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { GatewayPod } from './gatewayPod.ts';
import { eventOf } from './scaleEvents.ts';
import type { Step } from './scalePolicy.ts';

const NOW = Date.UTC(2026, 0, 2);
const pod = (name: string, connections?: number, more: Partial<GatewayPod> = {}): GatewayPod => ({
  uid: name,
  name,
  isCurrent: true,
  isReady: true,
  readySince: 0,
  state: 'running',
  isServing: false,
  drainSince: NOW - 12_000,
  deletionCost: undefined,
  counted: connections === undefined ? undefined : { connections, at: NOW },
  unknownSince: undefined,
  isFuller: undefined,
  isAsked: true,
  isSilent: false,
  ...more,
});
const note = (step: Step, wanted = 2) => eventOf(step, wanted, NOW).note;

describe('the event of a step', () => {
  it('names the gateways that drain, with their connections, and those that did not respond', () => {
    const drain = { type: 'drain', pods: [pod('a', 1_204)], silent: [] } as const;
    assert.equal(note(drain), 'Scaling down to 2 gateways: draining a (1,204 connections)');
    assert.equal(
      note({ ...drain, silent: [pod('b')] }, 1),
      'Scaling down to 1 gateway: draining a (1,204 connections); b did not respond and is considered full',
    );
  });

  it('names three gateways at most', () => {
    const pods = ['a', 'b', 'c', 'd', 'e'].map((name) => pod(name));
    assert.equal(note({ type: 'undo', pods }), 'Scaling to 2 gateways: no longer draining a, b, c and 2 more');
  });

  it('says how each removed gateway ended, and warns if connections were left', () => {
    const remove = (...pods: GatewayPod[]) => ({ type: 'remove', pods, late: false }) as const;
    assert.equal(note(remove(pod('a', 0))), 'Removed a (empty after 12 seconds)');
    assert.equal(note(remove(pod('a', 1))), 'Removed a (1 connection left after 12 seconds)');
    assert.equal(note(remove(pod('a'))), 'Removed a (number of connections unknown after 12 seconds)');
    const [pending, stopped] = [pod('a', 0, { state: 'pending' }), pod('b', 0, { state: 'stopped' })];
    assert.equal(note(remove(pending, stopped)), 'Removed a (not started), b (stopped after 12 seconds)');
    const late = eventOf({ ...remove(pod('a', 40)), late: true }, 2, NOW);
    assert.equal(late.type, 'Warning');
    assert.match(late.note, /\(40 connections left after 12 seconds\) at the end of gateway\.drain\.timeout/);
  });

  it('counts gateways that are added, and those that were removed without a drain', () => {
    assert.equal(note({ type: 'drop', count: 1 }), 'Scaled down: removed 1 gateway that was not running');
    assert.equal(note({ type: 'drop', count: 2 }), 'Scaled down: removed 2 gateways that were not running');
    assert.equal(note({ type: 'add', from: 2, to: 4 }), 'Scaled up from 2 to 4 gateways');
  });
});
