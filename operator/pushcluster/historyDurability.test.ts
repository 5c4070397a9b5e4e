import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf } from './desired/fixture.ts';
import { historyDurability } from './historyDurability.ts';

const rooms = (...replicas: (1 | 3)[]) => replicas.map((each) => ({ match: 'a', history: { replicas: each } }));
const managed = (storage: 'memory' | 'file') => ({ managed: { replicas: 3 as const, jetstream: { storage } } });
const url = { url: 'nats://n', prefix: 'p' };

describe('what a restart of NATS costs histories', () => {
  it('is not told where there are none, or by servers that the operator does not run', () => {
    assert.equal(historyDurability(clusterOf()), undefined);
    assert.equal(historyDurability(clusterOf({ rooms: [{ match: 'a' }], nats: managed('memory') })), undefined);
    assert.equal(historyDurability(clusterOf({ rooms: rooms(3), nats: url })), undefined);
  });

  it('is nothing where servers have volumes', () => {
    assert.equal(historyDurability(clusterOf({ rooms: rooms(1), nats: managed('file') }))?.isTrue, true);
  });

  it('is what a power failure costs where servers with volumes confirm pushes before they are on the disk', () => {
    const of = (sync: 'always' | 'interval') =>
      historyDurability(
        clusterOf({ rooms: rooms(1), nats: { managed: { replicas: 3, jetstream: { storage: 'file', sync } } } }),
      );
    assert.match(of('interval')!.message, /sync interval.*power failure.*two minutes/);
    assert.doesNotMatch(of('always')!.message, /power failure/);
  });

  it('is the history where it is in memory, according to its copies', () => {
    const of = (...replicas: (1 | 3)[]) =>
      historyDurability(clusterOf({ rooms: rooms(...replicas), nats: managed('memory') }));
    assert.equal(of(1)?.isTrue, false);
    assert.match(of(1)!.message, /^histories are in the memory .* one copy begins anew [^;]*; clients are told$/);
    assert.match(of(3)!.message, /three copies/);
    assert.doesNotMatch(of(3)!.message, /one copy/);
    assert.match(of(3, 1)!.message, /one copy.*three copies/);
    const external = clusterOf({ rooms: rooms(1), nats: url, history: { storage: 'memory' } });
    assert.equal(historyDurability(external)?.reason, 'InMemory');
  });
});
