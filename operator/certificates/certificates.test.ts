import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  AUTHORITY_LASTS_MS,
  type Certificates,
  certificatesIn,
  certificatesOf,
  renewed,
  secretData,
} from './certificates.ts';

const DAY_MS = 86_400_000;
const now = Date.UTC(2026, 10, 23);
const dnsNames = ['metrics.ops.svc', 'metrics.ops.svc.cluster.local'];
const purpose = { name: 'metrics', lasts: 90 * DAY_MS, isForPeers: false };
const made = renewed({ purpose, kept: undefined, published: undefined, dnsNames, now });

describe('certificates', () => {
  it('are what OpenSSL takes for a server of that name, strictly', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pushcluster-x509-'));
    const [ca, leaf] = [join(folder, 'ca.pem'), join(folder, 'leaf.pem')];
    writeFileSync(ca, made.bundle);
    writeFileSync(leaf, made.serving.certificate);
    const at = ['-attime', String(now / 1_000), '-x509_strict', '-purpose', 'sslserver'];
    const verify = (name: string) =>
      execFileSync('openssl', ['verify', ...at, '-CAfile', ca, '-verify_hostname', name, leaf], { stdio: 'pipe' });
    assert.match(verify('metrics.ops.svc').toString(), /OK/);
    assert.throws(() => verify('metrics.shop.svc'));
    rmSync(folder, { recursive: true });
  });

  it('are what OpenSSL takes for a client, too, only where servers are clients of each other', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pushcluster-x509-'));
    const verify = (isForPeers: boolean) => {
      const peers = renewed({
        purpose: { ...purpose, isForPeers },
        kept: undefined,
        published: undefined,
        dnsNames,
        now,
      });
      const [ca, leaf] = [join(folder, 'ca.pem'), join(folder, 'leaf.pem')];
      writeFileSync(ca, peers.bundle);
      writeFileSync(leaf, peers.serving.certificate);
      const at = ['-attime', String(now / 1_000), '-x509_strict', '-CAfile', ca];
      for (const use of ['sslserver', 'sslclient'])
        execFileSync('openssl', ['verify', ...at, '-purpose', use, leaf], { stdio: 'pipe' });
    };
    verify(true);
    assert.throws(() => verify(false), /unsuitable certificate purpose|unsupported certificate purpose/);
    rmSync(folder, { recursive: true });
  });

  it('come back out of their Secret as they went in', () => {
    assert.deepEqual(certificatesIn(secretData(made)), made);
  });

  it('are not taken out of a Secret where a key is another one, or something is missing', () => {
    const other = renewed({ purpose, kept: undefined, published: undefined, dnsNames, now });
    const data = secretData(made);
    assert.equal(certificatesIn({ ...data, 'tls.key': secretData(other)['tls.key']! }), undefined);
    assert.equal(certificatesIn({ ...data, 'ca.crt': secretData(other)['ca.crt']! }), undefined);
    assert.equal(certificatesIn({ ...data, 'ca.key': '' }), undefined);
    assert.equal(certificatesIn({}), undefined);
  });

  it('stay while there is nothing to do', () => {
    const later = now + purpose.lasts - 31 * DAY_MS;
    assert.equal(renewed({ purpose, kept: made, published: made.bundle, dnsNames, now: later }), made);
  });

  it('are issued anew a month before they end, by the same authority', () => {
    const later = now + purpose.lasts - 29 * DAY_MS;
    const next = renewed({ purpose, kept: made, published: made.bundle, dnsNames, now: later });
    assert.equal(next.bundle, made.bundle);
    assert.notEqual(next.serving.certificate, made.serving.certificate);
    assert.ok(isTrusted(next, made.bundle));
  });

  it('are issued anew for another name', () => {
    const next = renewed({ purpose, kept: made, published: made.bundle, dnsNames: ['other.ops.svc'], now });
    assert.equal(new X509Certificate(next.serving.certificate).subjectAltName, 'DNS:other.ops.svc');
  });

  it('change their authority in steps, each of which is trusted by those who were told of the step before', () => {
    const late = now + AUTHORITY_LASTS_MS - 364 * DAY_MS;
    const old = renewed({ purpose, kept: made, published: made.bundle, dnsNames, now: late - 2 * DAY_MS });
    const announced = renewed({ purpose, kept: old, published: old.bundle, dnsNames, now: late });
    assert.equal(certificatesOf(announced.bundle).length, 2);
    assert.equal(announced.serving, old.serving, 'nobody knows the new authority yet');
    assert.equal(renewed({ purpose, kept: announced, published: old.bundle, dnsNames, now: late }), announced);
    const signed = renewed({ purpose, kept: announced, published: announced.bundle, dnsNames, now: late });
    assert.notEqual(signed.serving, old.serving);
    assert.ok(!isTrusted(signed, old.bundle));
    assert.ok(isTrusted(signed, announced.bundle));
    assert.deepEqual(certificatesIn(secretData(signed)), signed);
    const muchLater = late + 370 * DAY_MS;
    const cleaned = renewed({ purpose, kept: signed, published: signed.bundle, dnsNames, now: muchLater });
    assert.deepEqual(certificatesOf(cleaned.bundle), [signed.authority.certificate]);
  });
});

function isTrusted({ serving }: Certificates, bundle: string): boolean {
  const certificate = new X509Certificate(serving.certificate);
  return certificatesOf(bundle).some((each) => certificate.verify(new X509Certificate(each).publicKey));
}
