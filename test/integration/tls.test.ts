import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
    const [one, other] = [await authority.issue('IP:127.0.0.1'), await authority.issue('IP:127.0.0.1')];
    const tls = { certFile: one.certFile, keyFile: other.keyFile };
    await assert.rejects(
      startGateway({ settings: { gateway: { tls } }, nats: [nats.url] }),
      /can.t be used: both must be readable PEM files/,
    );
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
  copyFileSync(certificate.certFile, certFile);
  copyFileSync(certificate.keyFile, keyFile);
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
