import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { validityOf } from '@pushcluster/runtime/certificateMetrics.ts';
import { type Authority, type Certificate, createAuthority } from '@pushcluster/test/harness/certificates.ts';
import { logLines } from '@pushcluster/test/harness/logLines.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import { ServingCertificate } from './servingCertificate.ts';

/** Files as in the volume of a Secret: links into a folder that is replaced as a whole. */
class SecretVolume {
  readonly files: Certificate;
  readonly #path: string;
  #versions = 0;

  constructor(path: string, certificate: Certificate) {
    this.#path = path;
    this.files = { certFile: join(path, 'tls.crt'), keyFile: join(path, 'tls.key') };
    mkdirSync(path);
    this.swap(certificate);
    for (const name of ['tls.crt', 'tls.key']) symlinkSync(`..data/${name}`, join(path, name));
  }

  swap({ certFile, keyFile }: Certificate): void {
    const version = `..version_${++this.#versions}`;
    mkdirSync(join(this.#path, version));
    copyFileSync(certFile, join(this.#path, version, 'tls.crt'));
    copyFileSync(keyFile, join(this.#path, version, 'tls.key'));
    symlinkSync(version, join(this.#path, '..data_tmp'));
    renameSync(join(this.#path, '..data_tmp'), join(this.#path, '..data'));
  }
}

describe('the certificate of the push API', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-serving-'));
  let authority: Authority;
  before(async () => {
    authority = await createAuthority();
  });
  after(async () => {
    await authority.remove();
    rmSync(folder, { recursive: true });
  });

  it('is replaced once, and without a complaint, when the volume of its Secret is', async (t) => {
    const volume = new SecretVolume(join(folder, 'volume'), await authority.issue('DNS:a'));
    const { log, lines } = logLines();
    const certificate = new ServingCertificate(volume.files, log);
    t.after(() => certificate.close());
    const shown: Buffer[] = [];
    certificate.onChange(({ cert }) => shown.push(cert));
    const next = await authority.issue('DNS:a');
    volume.swap(next);
    await until('the new one is shown', () => shown.length > 0);
    assert.deepEqual(certificate.pair.cert, readFileSync(next.certFile));
    const last = await authority.issue('DNS:a');
    volume.swap(last);
    await until('the last one is shown', () => shown.length > 1);
    assert.deepEqual(
      shown,
      [next, last].map(({ certFile }) => readFileSync(certFile)),
    );
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['certificate reloaded', 'certificate reloaded'],
    );
  });

  it('stays while the files hold another key, a broken one, or are gone', async (t) => {
    const volume = new SecretVolume(join(folder, 'other'), await authority.issue('DNS:a'));
    const { log, lines } = logLines();
    const certificate = new ServingCertificate(volume.files, log);
    t.after(() => certificate.close());
    const former = certificate.pair.cert;
    const rsa = await authority.issue('DNS:a', '/CN=test', 'rsa');
    const broken = { ...rsa, keyFile: join(folder, 'broken') };
    writeFileSync(broken.keyFile, '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n');
    const complaints = () => lines.filter(({ level }) => level >= 50).length;
    for (const change of [
      () => volume.swap({ certFile: volume.files.certFile, keyFile: rsa.keyFile }),
      () => volume.swap(broken),
      () => rmSync(volume.files.keyFile),
    ]) {
      const before = complaints();
      change();
      await until('it is logged', () => complaints() > before);
      assert.equal(certificate.pair.cert, former);
      assert.deepEqual(certificate.validity, validityOf(former));
    }
  });
});
