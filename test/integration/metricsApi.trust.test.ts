import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { after, before, describe, it } from 'node:test';
import { connect } from 'node:tls';
import { renewed } from '@pushcluster/operator/certificates/certificates.ts';
import { Client } from '@pushcluster/operator/kube/client.ts';
import { AccessReviews } from '@pushcluster/operator/metricsApi/accessReviews.ts';
import { CONNECTIONS_METRIC, METRICS_API_VERSION } from '@pushcluster/operator/metricsApi/api.ts';
import { frontProxyIn } from '@pushcluster/operator/metricsApi/frontProxy.ts';
import { MetricsServer } from '@pushcluster/operator/metricsApi/metricsServer.ts';
import { type Authority, type Certificate, createAuthority } from '../harness/certificates.ts';

const NAME = 'metrics.ops.svc';
const PATH = `/apis/${METRICS_API_VERSION}/namespaces/shop/pods/*/${CONNECTIONS_METRIC}`;

describe('the metrics API, when those whom it believes change', () => {
  let [older, newer]: Authority[] = [];
  let [olderProxy, newerProxy]: Certificate[] = [];
  const purpose = { name: 'test', lasts: 90 * 86_400_000, isForPeers: false };
  const made = (now: number) => renewed({ purpose, kept: undefined, published: undefined, dnsNames: [NAME], now });
  const first = made(Date.now());
  const second = made(Date.now());
  let server: MetricsServer;
  let port = 0;

  before(async () => {
    [older, newer] = await Promise.all([createAuthority('older front proxy'), createAuthority('newer front proxy')]);
    [olderProxy, newerProxy] = await Promise.all([older, newer].map((each) => each!.issue('', '/CN=front-proxy')));
    // Everybody here may do everything: the API server is not asked.
    const client = new Client({ namespace: 'ops', send: () => Promise.reject(new Error('nobody is asked')) });
    server = new MetricsServer({
      ...{ host: '127.0.0.1', port: 0, serving: first.serving, reviews: new AccessReviews(client) },
      source: { pods: () => [], value: () => undefined },
    });
    server.trust(believed(older!));
    port = await server.listen();
  });
  after(async () => {
    await server.close();
    await Promise.all([older?.remove(), newer?.remove()]);
  });

  const believed = (...authorities: Authority[]) =>
    frontProxyIn({
      data: {
        'requestheader-client-ca-file': authorities.map(({ caFile }) => readFileSync(caFile, 'utf8')).join(''),
        'requestheader-allowed-names': '["front-proxy"]',
        'requestheader-username-headers': '["X-Remote-User"]',
        'requestheader-group-headers': '["X-Remote-Group"]',
      },
    });
  const agentOf = (client: Certificate, ca = first.bundle) =>
    new Agent({
      ...{ keepAlive: true, maxSockets: 1, ca, servername: NAME },
      ...{ cert: readFileSync(client.certFile), key: readFileSync(client.keyFile) },
    });
  /** Rejects where the connection that was kept is closed. */
  function ask(agent: Agent): Promise<{ status: number; reused: boolean }> {
    const headers = { 'x-remote-user': 'admin', 'x-remote-group': 'system:masters' };
    return new Promise((resolve, reject) => {
      const asked = request({ host: '127.0.0.1', port, path: PATH, agent, headers }, (response) => {
        response.resume();
        response.once('end', () => resolve({ status: response.statusCode ?? 0, reused: asked.reusedSocket }));
      });
      asked.once('error', reject).end();
    });
  }
  async function statusFor(client: Certificate, ca?: string): Promise<number> {
    const agent = agentOf(client, ca);
    const { status } = await ask(agent);
    agent.destroy();
    return status;
  }

  it('believes the newer one from then on, and the older one no more, on connections that are open either', async () => {
    const kept = agentOf(olderProxy!);
    after(() => kept.destroy());
    assert.deepEqual(await ask(kept), { status: 200, reused: false });
    assert.deepEqual(await ask(kept), { status: 200, reused: true });
    assert.equal(await statusFor(newerProxy!), 401);
    server.trust(believed(older!, newer!));
    assert.equal(await statusFor(olderProxy!), 200);
    assert.equal(await statusFor(newerProxy!), 200);
    const between = agentOf(olderProxy!);
    after(() => between.destroy());
    assert.equal((await ask(between)).status, 200);
    server.trust(believed(newer!));
    // What was open is closed, or is believed no more.
    assert.notEqual(
      await ask(between).then(
        ({ status }) => status,
        () => 0,
      ),
      200,
    );
    assert.equal(await statusFor(olderProxy!), 401);
    assert.equal(await statusFor(newerProxy!), 200);
  });

  it('believes nobody where there is no authority, not those whom all the world trusts', async () => {
    server.trust(frontProxyIn({ data: { 'requestheader-username-headers': '["X-Remote-User"]' } }));
    assert.equal(await statusFor(newerProxy!), 401);
    server.trust(believed(newer!));
  });

  it('answers a stranger who sends a large body before it reads', async () => {
    const socket = connect({ host: '127.0.0.1', port, ca: first.bundle, servername: NAME });
    const chunks: Buffer[] = [];
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject).on('close', () => resolve());
      const body = Buffer.alloc(20_000_000);
      socket.write(`POST ${PATH} HTTP/1.1\r\nHost: ${NAME}\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.end(body, () => socket.on('data', (chunk) => chunks.push(chunk)));
    });
    assert.match(String(Buffer.concat(chunks)), /^HTTP\/1\.1 405 /);
  });

  it('serves with a renewed certificate from the next connection on, and lets those that are open be', async () => {
    const kept = agentOf(newerProxy!);
    after(() => kept.destroy());
    assert.equal((await ask(kept)).status, 200);
    server.serveWith(second.serving);
    assert.deepEqual(await ask(kept), { status: 200, reused: true });
    await assert.rejects(statusFor(newerProxy!, first.bundle), /certificate/);
    assert.equal(await statusFor(newerProxy!, second.bundle), 200);
  });
});
