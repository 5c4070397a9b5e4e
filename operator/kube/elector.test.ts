import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { Client } from './client.ts';
import { Elector, NotLeading } from './elector.ts';
import { FakeApi } from './fakeApi.ts';

const LEASE = '/apis/coordination.k8s.io/v1/namespaces/default/leases/operator';

function fixture() {
  const clock = new FakeClock();
  const api = new FakeApi();
  const elector = (identity: string, transport = api) =>
    new Elector({
      client: new Client(transport),
      name: 'operator',
      namespace: 'default',
      identity,
      clock,
      random: () => 0.5,
    });
  return { clock, api, elector };
}

describe('an elector', () => {
  it('leads when nobody has the lease, and renews it every two seconds or so', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    a.start();
    await clock.pass(0.1);
    assert.equal(a.isLeading, true);
    assert.equal(a.assertLeading() > 9_000, true);
    await clock.pass(22_000);
    assert.equal(a.isLeading, true);
    assert.equal(api.writes.length, 1 + 10);
  });

  it('waits while another one renews, and leads 15 s after it has fallen silent', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    const b = elector('b');
    a.start();
    await clock.pass(0.1);
    b.start();
    await clock.pass(60_000);
    assert.deepEqual([a.isLeading, b.isLeading], [true, false]);
    assert.throws(b.assertLeading, NotLeading);
    // Its requests get nowhere from now on, as if its network were cut.
    api.onRequest = ({ body }) => {
      if (body?.includes('"holderIdentity":"a"')) throw new Error('cut');
    };
    await clock.pass(9_000);
    assert.deepEqual([a.isLeading, b.isLeading], [true, false]);
    await clock.pass(3_000);
    assert.deepEqual([a.isLeading, b.isLeading], [false, false]);
    assert.equal(await a.whenEnded(), 'lost');
    await clock.pass(8_000);
    assert.equal(b.isLeading, true);
  });

  it('gives the lease back at its end, so that another one has it with its next look', async () => {
    const { clock, elector } = fixture();
    const a = elector('a');
    const b = elector('b');
    a.start();
    await clock.pass(0.1);
    b.start();
    await clock.pass(5_000);
    await a.stop();
    assert.equal(await a.whenEnded(), 'released');
    assert.throws(a.assertLeading, NotLeading);
    await clock.pass(2_400);
    assert.equal(b.isLeading, true);
  });

  it('knows that it was stopped for too long before it asks anybody', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    a.start();
    await clock.pass(0.1);
    const before = api.requests.length;
    clock.freeze(10_001);
    assert.throws(a.assertLeading, /a is not the leader: the write was rejected/);
    assert.equal(await a.whenEnded(), 'lost');
    await clock.pass(10_000);
    assert.equal(api.requests.length, before);
  });

  it('sends no renewal that it had under way when it was stopped for too long', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    a.start();
    await clock.pass(0.1);
    const writes = api.writes.length;
    clock.freeze(12_000);
    await clock.pass(5_000);
    assert.equal(a.isLeading, false);
    assert.equal(api.writes.length, writes);
  });

  it('takes no lease on an answer that was as old as its own standstill', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    const b = elector('b');
    a.start();
    await clock.pass(0.1);
    b.start();
    await clock.pass(100);
    const writes = () => api.writes.length;
    let answer = () => {};
    api.onRequest = ({ method }) => {
      if (method === 'GET')
        return new Promise<void>((resolve) => {
          answer = resolve;
        });
    };
    await clock.pass(2_300);
    const before = writes();
    clock.freeze(30_000);
    api.onRequest = () => {};
    answer();
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(writes(), before);
    assert.equal(b.isLeading, false);
  });

  it('leads on when the answer to a renewal was lost', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    a.start();
    await clock.pass(0.1);
    let lost = 0;
    // Somebody else's change of the lease, which is as good: the version isn't what it was.
    api.onRequest = ({ method }) => {
      const lease = api.objects.get(LEASE);
      if (method !== 'PUT' || lost++ > 0 || !lease) return;
      api.objects.set(LEASE, { ...lease, metadata: { ...lease.metadata, resourceVersion: '999' } });
    };
    await clock.pass(9_000);
    assert.equal(a.isLeading, true);
    assert.ok(lost > 1);
  });

  it('gives up at once when the lease is in other hands', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    a.start();
    await clock.pass(0.1);
    const lease = api.objects.get(LEASE);
    assert.ok(lease);
    const spec = { holderIdentity: 'b', leaseDurationSeconds: 15, renewTime: '2026-01-01T00:00:00.000000Z' };
    api.objects.set(LEASE, { ...lease, metadata: { ...lease.metadata, resourceVersion: '999' }, ...{ spec } });
    await clock.pass(2_500);
    assert.equal(await a.whenEnded(), 'lost');
  });

  it('never was the leader when it is stopped before', async () => {
    const { clock, api, elector } = fixture();
    const a = elector('a');
    const b = elector('b');
    a.start();
    await clock.pass(0.1);
    b.start();
    await clock.pass(100);
    const writes = api.writes.length;
    await b.stop();
    assert.equal(await b.whenElected(), false);
    assert.equal(api.writes.length, writes);
  });
});
