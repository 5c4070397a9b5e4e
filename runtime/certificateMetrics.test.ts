import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { reportCertificate, type Validity, validityOf } from './certificateMetrics.ts';

const DAY = 86_400;

describe('the validity of certificates', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-certificate-'));
  after(() => rmSync(folder, { recursive: true }));
  const selfSigned = (days: number) => {
    const [key, out] = [join(folder, 'key'), join(folder, 'certificate')];
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    execFileSync('openssl', [...args, '-keyout', key, '-out', out, '-days', String(days), '-subj', '/CN=a'], {
      stdio: 'ignore',
    });
    return readFileSync(out);
  };

  it('is read from PEM: of the first certificate, which the authorities follow', () => {
    const own = selfSigned(30);
    const validity = validityOf(Buffer.concat([own, selfSigned(3_000)]));
    assert.equal(validity?.lasts, 30 * DAY);
    const stated = execFileSync('openssl', ['x509', '-noout', '-enddate'], { input: own, encoding: 'utf8' });
    assert.equal(validity?.ends, Date.parse(stated.replace('notAfter=', '')) / 1_000);
  });

  it('is that of no certificate where there is none', () => {
    for (const text of ['', 'none', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n'])
      assert.equal(validityOf(text), undefined);
  });

  it('is exported for each use of one, and not once there is none', async () => {
    const registry = new Registry();
    let gateway: Validity | undefined = { ends: 2_000_000_000, lasts: 90 * DAY };
    reportCertificate(registry, 'gateway', () => gateway);
    reportCertificate(registry, 'nats', () => ({ ends: 1_900_000_000, lasts: DAY }));
    const lines = async () => (await registry.metrics()).split('\n').filter((line) => /^pushcluster/.test(line));
    assert.deepEqual(await lines(), [
      'pushcluster_certificate_expiry_timestamp_seconds{use="gateway"} 2000000000',
      'pushcluster_certificate_expiry_timestamp_seconds{use="nats"} 1900000000',
      'pushcluster_certificate_lifetime_seconds{use="gateway"} 7776000',
      'pushcluster_certificate_lifetime_seconds{use="nats"} 86400',
    ]);
    gateway = undefined;
    assert.equal((await lines()).length, 2);
  });
});
