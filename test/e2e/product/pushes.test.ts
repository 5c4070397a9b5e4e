import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { after, before, describe, it } from 'node:test';
import type { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { createAuthority } from '../../harness/certificates.ts';
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

  it('come by HTTPS and nothing else where the push API has a certificate, and a renewed one needs no restart', async (t) => {
    const name = 'live-logic.pushes.svc';
    const authority = await createAuthority();
    t.after(() => authority.remove());
    const ca = await readFile(authority.caFile);
    const [first, second] = [await authority.issue(`DNS:${name}`), await authority.issue(`DNS:${name}`)];
    const host = await live.service('logic');
    const authorization = `Bearer ${await live.key()}`;
    /** The certificate's serial number, if a push is accepted. */
    const push = async () => {
      const headers = { authorization, 'content-type': 'application/json' };
      const options = { host, port: 7_799, path: '/v1/push', method: 'POST', headers, servername: name, ca } as const;
      const sent = request({ ...options, agent: false }).end('{"to":{"all":true},"items":[1]}');
      const [response] = await once(sent, 'response');
      const { serialNumber } = response.socket.getPeerCertificate();
      assert.equal(response.resume().statusCode, 202);
      return serialNumber;
    };
    const serialOf = async ({ certFile }: typeof first) => new X509Certificate(await readFile(certFile)).serialNumber;
    const files = [`--cert=${first.certFile}`, `--key=${first.keyFile}`];
    const former = await live.pods('logic');
    await live.patch({ logic: { service: { tls: { secretName: 'push-api' } } } });
    const missing = 'volume tls (logic.service.tls) cannot be mounted: secret "push-api" not found';
    const isTold = (found: PushCluster) => live.condition(found, 'Degraded')?.message.includes(missing) ?? false;
    await live.when('the status tells what is missing', isTold, START_MS);
    await live.push({ all: true }, ['1']);
    await live.kubectl('create', 'secret', 'tls', 'push-api', ...files);
    await live.served('logic', former.length, former);
    const serial = await serialOf(first);
    // Nodes learn a moment later that the former pods are gone.
    await until('the certificate is served', () =>
      push().then(
        (served) => served === serial,
        () => false,
      ),
    );
    await assert.rejects(live.push({ all: true }, ['1']), 'HTTP without TLS');
    const before = await live.pods('logic');
    const base64 = (file: string) => readFile(file, 'base64');
    const data = { 'tls.crt': await base64(second.certFile), 'tls.key': await base64(second.keyFile) };
    await live.kubectl('patch', 'secret', 'push-api', '-p', JSON.stringify({ data }));
    const renewed = await serialOf(second);
    await until('the renewed certificate is served', async () => (await push()) === renewed, START_MS);
    const after = await live.pods('logic');
    assert.deepEqual(after.map(({ uid }) => uid).sort(), before.map(({ uid }) => uid).sort());
    assert.ok(after.every(({ restarts }) => restarts === 0));
  });
});
