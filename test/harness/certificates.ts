import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const openssl = (...args: string[]) => promisify(execFile)('openssl', args);

export type Certificate = { certFile: string; keyFile: string };
export type Authority = {
  /** The authority's own certificate: what a client is to trust. */
  caFile: string;
  /** Issues a certificate. @param names such as `DNS:localhost,IP:127.0.0.1` */
  issue(names: string): Promise<Certificate>;
  remove(): Promise<void>;
};

/** A certificate authority of a test, by Debian's openssl. Remove it at the end. */
export async function createAuthority(name = 'test authority'): Promise<Authority> {
  const folder = await mkdtemp(join(tmpdir(), 'pushcluster-ca-'));
  const [caFile, caKey] = [join(folder, 'ca.pem'), join(folder, 'ca.key')];
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...ec, '-keyout', caKey, '-out', caFile, '-days', '2', '-subj', `/CN=${name}`);
  let issued = 0;
  return {
    caFile,
    async issue(names) {
      const base = join(folder, `cert${issued++}`);
      const [certFile, keyFile, request, extensions] = [`${base}.pem`, `${base}.key`, `${base}.csr`, `${base}.ext`];
      await writeFile(extensions, `subjectAltName=${names}\nextendedKeyUsage=serverAuth,clientAuth\n`);
      await openssl('req', ...ec, '-keyout', keyFile, '-out', request, '-subj', '/CN=test');
      const signing = ['-CA', caFile, '-CAkey', caKey, '-CAcreateserial', '-days', '2', '-extfile', extensions];
      await openssl('x509', '-req', '-in', request, '-out', certFile, ...signing);
      return { certFile, keyFile };
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
