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

describe('an elector whose lease had another name', () => {
  function rename() {
    const { clock, api, elector } = fixture();
    const renamed = new Elector({
      ...{ client: new Client(api), name: 'shop-operator', namespace: 'default', identity: 'shop-2', clock },
      random: () => 0.5,
      former: { name: 'operator', isOther: (holder) => holder.startsWith('operator-') },
    });
    return { clock, api, elector, renamed };
  }

  it('does not lead beside one that leads under the former name, nor beside the next that waits for it', async () => {
    const { clock, elector, renamed } = rename();
    const old = [elector('shop-0'), elector('shop-1')];
    for (const each of old) each.start();
    await clock.pass(3_000);
    renamed.start();
    await clock.pass(60_000);
    let leaders = 0;
    const count = () => {
      leaders = Math.max(leaders, [...old, renamed].filter(({ isLeading }) => isLeading).length);
    };
    for (const each of old) {
      await each.stop();
      for (let step = 0; step < 40; step++) {
        await clock.pass(100);
        count();
      }
    }
    assert.deepEqual([leaders, renamed.isLeading], [1, false]);
    await clock.pass(6_000);
    assert.equal(renamed.isLeading, true);
    await renamed.stop();
  });

  it('leads 15 s after one that ended without a word, and at once if that is long ago or the lease is not its own', async () => {
    const { clock, api, elector, renamed } = rename();
    const old = elector('shop-0');
    old.start();
    await clock.pass(0.1);
    api.onRequest = ({ body }) => {
      if (body?.includes('"holderIdentity":"shop-0"')) throw new Error('cut');
    };
    renamed.start();
    await clock.pass(14_000);
    assert.equal(renamed.isLeading, false);
    await clock.pass(4_000);
    assert.equal(renamed.isLeading, true);
    await renamed.stop();

    const later = rename();
    later.api.objects.set(LEASE, { ...api.objects.get(LEASE)! });
    await later.clock.pass(700_000, 10_000);
    later.renamed.start();
    await later.clock.pass(0.1);
    assert.equal(later.renamed.isLeading, true);
    await later.renamed.stop();

    const other = rename();
    const lives = other.elector('operator-7c');
    lives.start();
    await other.clock.pass(0.1);
    other.renamed.start();
    await other.clock.pass(0.1);
    assert.deepEqual([lives.isLeading, other.renamed.isLeading], [true, true]);
    await Promise.all([lives.stop(), other.renamed.stop()]);
  });
});

describe('an elector that may be unable to work', () => {
  function candidate(isUsable: () => boolean) {
    const { clock, api } = fixture();
    let told = 0;
    const elector = new Elector({
      ...{ client: new Client(api), name: 'operator', namespace: 'default', identity: 'a', clock, random: () => 0.5 },
      isUsable,
      onUnusable: () => told++,
    });
    return { clock, api, elector, told: () => told };
  }

  it('leaves the lease to others until it can', async () => {
    let isUsable = false;
    const { clock, api, elector, told } = candidate(() => isUsable);
    elector.start();
    await clock.pass(60_000);
    assert.deepEqual([elector.isLeading, api.requests], [false, []]);
    assert.ok(elector.idleFor < 5_000, 'its loop runs');
    isUsable = true;
    await clock.pass(2_400);
    assert.equal(elector.isLeading, true);
    assert.equal(told(), 0);
    await elector.stop();
  });

  it('says once that it cannot any more, and leads until it is stopped: writes are still under way', async () => {
    let isUsable = true;
    const { clock, api, elector, told } = candidate(() => isUsable);
    elector.start();
    await clock.pass(10_000);
    isUsable = false;
    await clock.pass(10_000);
    assert.deepEqual([elector.isLeading, told()], [true, 1]);
    await elector.stop();
    assert.equal(await elector.whenEnded(), 'released');
    assert.match(JSON.stringify(api.objects.get(LEASE)), /"holderIdentity":""/);
  });
});

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
