import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { type Authority, type Certificate, createAuthority } from '../harness/certificates.ts';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Ledger } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const folder = mkdtempSync(join(tmpdir(), 'pushcluster-tls-'));
/** What the gateway is set to: the test puts other pairs there. */
const [certFile, keyFile] = [join(folder, 'tls.crt'), join(folder, 'tls.key')];

let authority: Authority;
let ca: Buffer;
let nats: NatsServer;
let logic: LogicProcess;
let gateway: GatewayProcess;

before(async () => {
  authority = await createAuthority();
  ca = readFileSync(authority.caFile);
  install(await authority.issue('IP:127.0.0.1'));
  nats = await startNatsServer();
  logic = await startLogic({ nats: [nats.url] });
  gateway = await startGateway({
    settings: { gateway: { shards: 2, tls: { certFile, keyFile }, batching: { maxDelay: 50 } } },
    nats: [nats.url],
  });
});
after(async () => {
  await Promise.all([gateway, logic].map((process) => process.stop()));
  await nats.stop();
  await authority.remove();
  rmSync(folder, { recursive: true });
});

describe('a gateway with certificate files', () => {
  it('shows a new certificate to new handshakes once the files change; connections stay', async (t) => {
    const connections = await crowd();
    const ledger = new Ledger();
    const writer = ledger.writer('w', { room: 'r' }, logic);
    await writer.push(5, 500);
    const before = await fingerprint();

    // Half of a new pair: the former pair stays until the other half is there.
    const next = await authority.issue('IP:127.0.0.1,DNS:next.example');
    copyFileSync(next.certFile, certFile);
    await until('both shards complain', () => complaints() >= 2);
    assert.deepEqual(await fingerprints(), new Set([before]));

    copyFileSync(next.keyFile, keyFile);
    await until('new handshakes see it', async () => {
      const seen = await fingerprints();
      return seen.size === 1 && !seen.has(before);
    });
    const newer = await crowd();
    await writer.push(5, 500);
    const everyone = [...connections, ...newer];
    assert.ok(everyone.every(({ closed }) => closed === undefined));
    await ledger.settle(t, connections);
    await until('newer ones get items too', () => newer.every(({ received }) => received >= 6));
    cutAll(everyone);
  });

  it('keeps what it has where the files become useless', async () => {
    const before = await fingerprints();
    const complained = complaints();
    writeFileSync(certFile, 'no certificate');
    await until('both shards complain', () => complaints() >= complained + 2);
    assert.deepEqual(await fingerprints(), before);
  });

  it('says when the certificate expires that it uses: not one whose key is not there', async (t) => {
    const longer = await createAuthority('longer', { days: 30 });
    t.after(() => longer.remove());
    const next = await longer.issue('IP:127.0.0.1');
    const told = async () => {
      const values = [...(await gateway.metrics()).by('pushcluster_certificate_expiry_timestamp_seconds', 'use')];
      return JSON.stringify(values);
    };
    const expiry = (file: string) =>
      JSON.stringify([['gateway', Date.parse(new X509Certificate(readFileSync(file)).validTo) / 1_000]]);
    const own = await authority.issue('IP:127.0.0.1');
    install(own);
    await until('that of the pair is told', async () => (await told()) === expiry(own.certFile));
    const complained = complaints();
    copyFileSync(next.certFile, certFile);
    await until('both shards complain', () => complaints() >= complained + 2);
    assert.equal(await told(), expiry(own.certFile));
    copyFileSync(next.keyFile, keyFile);
    await until('that of the new pair is told', async () => (await told()) === expiry(next.certFile));
    assert.equal((await gateway.metrics()).sum('pushcluster_certificate_lifetime_seconds'), 30 * 86_400);
  });

  it('does not start with a pair that does not fit', async () => {
    const one = await authority.issue('IP:127.0.0.1');
    for (const type of ['ec', 'rsa'] as const) {
      const other = await authority.issue('IP:127.0.0.1', '/CN=test', type);
      const tls = { certFile: one.certFile, keyFile: other.keyFile };
      await assert.rejects(
        startGateway({ settings: { gateway: { tls } }, nats: [nats.url] }),
        /can.t be used: both must be readable PEM files/,
        type,
      );
    }
  });
});

describe('logic with certificate files', () => {
  const place = mkdtempSync(join(tmpdir(), 'pushcluster-tls-'));
  const tls = { certFile: join(place, 'tls.crt'), keyFile: join(place, 'tls.key') };
  let secure: LogicProcess;

  before(async () => {
    copy(await authority.issue('IP:127.0.0.1'), tls);
    secure = await startLogic({ settings: { logic: { tls } }, nats: [nats.url] });
  });
  after(async () => {
    await secure.stop();
    rmSync(place, { recursive: true });
  });

  /** Pushes, over a connection of `agent` or a new one. Returns the HTTP status, and the certificate that it met. */
  async function push(item: number, agent: Agent | false = false): Promise<{ status: number; seen: string }> {
    const body = JSON.stringify({ to: { room: 'secure' }, items: [item] });
    const request = httpsRequest({ host: '127.0.0.1', port: secure.port, path: '/v1/push', method: 'POST', ca, agent });
    request.setHeader('content-type', 'application/json').end(body);
    const [response] = await once(request, 'response');
    const seen: string = response.socket.getPeerCertificate().fingerprint256;
    response.resume();
    await once(response, 'end');
    return { status: response.statusCode, seen };
  }
  const seenNow = async () => (await push(0)).seen;
  const complained = () => secure.output.split('could not be used').length - 1;

  it('shows a new certificate to new connections, and fails no push meanwhile', async (t) => {
    const open = await startGateway({ nats: [nats.url] });
    t.after(() => open.stop());
    const listener = await Connection.open({ port: open.port, form: 'v1' });
    await listener.join('secure');
    const agent = new Agent({ keepAlive: true, maxSockets: 4 });
    const statuses = new Map<number, number>();
    let sent = 0;
    let ended = false;
    const pusher = async (over: Agent | false) => {
      while (!ended) {
        const { status } = await push(++sent, over);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    // An agent that keeps no connection resumes TLS sessions.
    const pushers = [agent, agent, agent, new Agent(), false as const, false as const].map(pusher);
    const met = new Set([await seenNow()]);
    for (let i = 0; i < 5; i++) {
      const before = await seenNow();
      const begun = sent;
      copy(await authority.issue('IP:127.0.0.1'), tls);
      await until('new connections meet it', async () => (await seenNow()) !== before);
      met.add(await seenNow());
      await until('more is pushed', () => sent > begun + 50);
    }
    ended = true;
    await Promise.all(pushers);
    agent.destroy();
    assert.deepEqual([...statuses.keys()], [202], `of ${sent} pushes`);
    assert.equal(met.size, 6);
    await until('all of them arrive', () => listener.received >= sent);
    cutAll([listener]);
  });

  it('keeps the former pair until both files fit, and says when it expires', async (t) => {
    const longer = await createAuthority('longer', { days: 30 });
    t.after(() => longer.remove());
    const next = await longer.issue('IP:127.0.0.1');
    const told = async () =>
      JSON.stringify([...(await secure.metrics()).by('pushcluster_certificate_expiry_timestamp_seconds', 'use')]);
    const expiry = (file: string) =>
      JSON.stringify([['logic', Date.parse(new X509Certificate(readFileSync(file)).validTo) / 1_000]]);
    const before = await seenNow();
    const formerly = expiry(tls.certFile);
    for (const change of [
      () => copyFileSync(next.certFile, tls.certFile),
      () => writeFileSync(tls.certFile, 'no certificate'),
    ]) {
      const complaints = complained();
      change();
      await until('it is said', () => complained() > complaints);
      assert.equal(await seenNow(), before);
      assert.equal(await told(), formerly);
    }
    copyFileSync(next.certFile, tls.certFile);
    copyFileSync(next.keyFile, tls.keyFile);
    ca = Buffer.concat([ca, readFileSync(longer.caFile)]);
    await until('the new pair is met', async () => (await seenNow()) !== before);
    assert.equal(await told(), expiry(next.certFile));
  });

  it('gives no answer to plain HTTP', async () => {
    await assert.rejects(secure.push({ room: 'secure' }, ['1']));
    assert.equal((await push(1)).status, 202);
  });
});

async function crowd(): Promise<Connection[]> {
  const { port } = gateway;
  const connections = await Promise.all(
    WIRE_FORMS.flatMap((form) => Array.from({ length: 5 }, () => Connection.open({ port, form, ca }))),
  );
  await Promise.all(connections.map((connection) => connection.join('r')));
  return connections;
}

function install(certificate: Certificate) {
  copy(certificate, { certFile, keyFile });
}

function copy(from: Certificate, to: Certificate) {
  copyFileSync(from.certFile, to.certFile);
  copyFileSync(from.keyFile, to.keyFile);
}

/** Times that a shard said that it can't use what the files hold now. */
function complaints(): number {
  return gateway.output.split('could not be used').length - 1;
}

/** Which certificates a number of handshakes see: both shards have their share of them. */
async function fingerprints(): Promise<Set<string>> {
  return new Set(await Promise.all(Array.from({ length: 16 }, fingerprint)));
}

/** What one handshake sees. Where a shard is just changing listeners the kernel resets those that wait: they come again. */
async function fingerprint(): Promise<string> {
  for (let tries = 1; ; tries++) {
    const socket = connectTls({ port: gateway.port, host: '127.0.0.1', ca });
    try {
      await once(socket, 'secureConnect');
      return socket.getPeerCertificate().fingerprint256;
    } catch (error) {
      const isReset = error instanceof Error && 'code' in error && error.code === 'ECONNRESET';
      if (!isReset || tries === 20) throw error;
    } finally {
      socket.destroy();
    }
  }
}
