import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { inUrl } from '../../harness/cluster/addressPlan.ts';
import { Audience } from '../../harness/cluster/audience.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { busGoneAndBack } from '../../harness/cluster/outage.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { type Connection, cutAll } from '../../harness/connection.ts';
import { Ledger } from '../../harness/ledger.ts';
import { until } from '../../harness/until.ts';

/** Of a pod on a busy machine, milliseconds. */
const START_MS = 300_000;

describe('pushes through the logic Service', () => {
  let cluster: OpenCluster;
  let live: Live;
  const connections: Connection[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'pushes', { gateway: { batching: { maxDelay: '200ms' } } });
  });
  after(async () => {
    cutAll(connections);
    await live?.end();
    await cluster.close();
  });

  /** Some to each gateway pod, half of them in a room. */
  async function connect(): Promise<Connection[]> {
    const made = await live.connectEach('match');
    connections.push(...made);
    return made;
  }

  it('reach the sockets of every gateway pod, each item once and in order', async (t) => {
    const audience = await connect();
    assert.equal(new Set(audience.map(({ peer }) => peer)).size, 2);
    const ledger = new Ledger();
    const writers = [ledger.writer('toAll', { all: true }, live), ledger.writer('toRoom', { room: 'match' }, live)];
    for (let i = 0; i < 20; i++) await Promise.all(writers.map((writer) => writer.push(5)));
    await ledger.settle(t, audience);
    const { body } = await live.ask('/v1/stats');
    t.diagnostic(`stats: ${JSON.stringify(body).slice(0, 200)}`);
  });

  it('are refused without the key', async () => {
    const address = await live.service('logic');
    const response = await fetch(`http://${inUrl(address)}:7799/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"to":{"all":true},"items":[1]}',
    });
    assert.equal(response.status, 401);
  });

  it('come to clients of the load balancer, which spreads them over the gateways', async (t) => {
    const audience = new Audience(await live.address());
    t.after(() => audience.end());
    await audience.come({ fans: 20, regulars: 20 });
    audience.write(live, 100);
    await until('everyone got items of both', () => audience.fans.every((fan) => fan.got.size === 2));
    await audience.quiet();
    for (const fan of audience.fans) for (const writer of audience.ledger.writers) assert.equal(fan.missed(writer), 0);
    assert.deepEqual(audience.codes, {});
    for (const pod of await live.pods('gateway')) {
      let count = 0;
      // Six are there already. Shards tell the hub now and then.
      await until(`${pod.name} has some of them`, async () => {
        count = await live.connections(pod);
        return count > 6;
      });
      t.diagnostic(`${pod.name}: ${count} connections`);
    }
  });

  it('of which NATS got nothing are told so while its pod is killed; connections stay, and what was lost is told', async (t) => {
    const audience = await connect();
    const ledger = new Ledger();
    const writers = await live.writers(ledger, 'match');
    for (const writer of writers) await writer.push(3);
    await live.kubectl('delete', 'pod', 'live-nats-0', '--grace-period=0', '--force', '--wait=false');
    await busGoneAndBack(t, writers, audience);
    await ledger.settle(t, audience, { lossy: true });
    for (const { closed } of audience) assert.equal(closed, undefined);
    await live.whenReady();
  });

  it('reach the others while a gateway pod is killed, whose clients come back', async (t) => {
    const audience = new Audience(await live.address());
    t.after(() => audience.end());
    await audience.come({ fans: 20 });
    const stay = await connect();
    audience.write(live, 100);
    const [killed] = await live.pods('gateway');
    const theirs = stay.filter(({ peer }) => peer === killed!.ip);
    const others = stay.filter(({ peer }) => peer !== killed!.ip);
    await live.kubectl('delete', 'pod', killed!.name, '--grace-period=0', '--force', '--wait=false');
    await until('its connections are cut', () => theirs.every(({ closed }) => closed !== undefined));
    await until(
      'a new one is there',
      async () => {
        const pods = await live.pods('gateway');
        return pods.length === 2 && pods.every(({ uid, ready }) => ready && uid !== killed!.uid);
      },
      START_MS,
    );
    await until('all clients are back', () => audience.fans.every((fan) => fan.isOpen));
    await audience.quiet();
    for (const fan of audience.fans)
      for (const writer of audience.ledger.writers) assert.equal(fan.got.get(writer.name)?.at(-1), writer.next - 1);
    await audience.ledger.settle(
      t,
      others.filter((connection) => connection.rooms.has('match') || connection.rooms.size === 0),
    );
    for (const { closed } of others) assert.equal(closed, undefined);
    t.diagnostic(
      `of 20 clients by the load balancer ${audience.fans.filter(({ closes }) => closes.length > 0).length} had to come back`,
    );
  });
});
