import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { type Connection, cutAll } from '../../harness/connection.ts';
import { Lateness } from '../../harness/lateness.ts';
import { until } from '../../harness/until.ts';

/** From the change of the spec to every pod. */
const LIVE_MS = 10_000;
const REPLACED_MS = 300_000;

describe('settings that change live', () => {
  let cluster: OpenCluster;
  let live: Live;
  const connections: Connection[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'settings');
  });
  after(async () => {
    cutAll(connections);
    await live?.end();
    await cluster.close();
  });

  it('reach every pod within 10 s, replace none, and close no connection', async (t) => {
    const before = await live.pods('gateway');
    for (const pod of before) connections.push(await live.connect(pod));
    for (const connection of connections) {
      await connection.join('one');
      await connection.join('two');
      await connection.leave('two');
    }
    const lateness = Lateness.during(t);
    const began = performance.now();
    await live.patch({ gateway: { rooms: { maxPerConnection: 1 } } });
    let slowest = 0;
    await Promise.all(
      connections.map(async (connection) => {
        await until('a second room is one too many', async () => {
          const reply = await connection.ask('JOIN', { room: 'two' });
          if (reply.type === 'ERROR') return true;
          await connection.leave('two');
          // Faster than 50 frames a second is closed.
          await setTimeout(100);
          return false;
        });
        slowest = Math.max(slowest, performance.now() - began);
      }),
    );
    t.diagnostic(`a changed limit counted in every gateway after ${Math.round(slowest)} ms`);
    assert.ok(slowest <= LIVE_MS + lateness.total, `${slowest} ms`);
    const after = await live.pods('gateway');
    assert.deepEqual(after.map(({ uid }) => uid).sort(), before.map(({ uid }) => uid).sort());
    assert.ok(after.every(({ restarts }) => restarts === 0));
    for (const { closed } of connections) assert.equal(closed, undefined);
    await live.whenReady();
  });

  it('reach logic: a key that is no longer named opens nothing', async (t) => {
    assert.equal((await live.push({ all: true }, ['1'])).status, 202);
    const key = 'a-key-of-the-tests-that-is-long-enough';
    await live.kubectl('create', 'secret', 'generic', 'keys', `--from-literal=backend=${key}`);
    const before = await live.pods('logic');
    const began = performance.now();
    await live.patch({
      logic: { apiKeys: [{ name: 'backend', secretRef: { name: 'keys', key: 'backend' }, scope: { all: true } }] },
    });
    // A Secret more is a volume more: these pods are replaced.
    await until(
      'the former key is refused',
      async () => (await live.push({ all: true }, ['1'])).status === 401,
      REPLACED_MS,
    );
    t.diagnostic(`another key in force after ${Math.round(performance.now() - began)} ms`);
    await live.whenReady();
    assert.notDeepEqual((await live.pods('logic')).map(({ uid }) => uid).sort(), before.map(({ uid }) => uid).sort());
  });
});
