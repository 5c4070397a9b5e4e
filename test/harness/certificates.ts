import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const openssl = (...args: string[]) => promisify(execFile)('openssl', args);

export type Certificate = { certFile: string; keyFile: string };
export type Authority = {
  /** The authority's own certificate (PEM), for clients to trust. */
  caFile: string;
  /** The authority's private key, for a program that issues certificates itself. */
  caKeyFile: string;
  /**
   * Issues a certificate.
   * @param names such as `DNS:localhost,IP:127.0.0.1`; empty for a client certificate
   * @param subject such as `/O=system:masters/CN=admin`
   * @param type of its key
   */
  issue(names: string, subject?: string, type?: keyof typeof KEYS): Promise<Certificate>;
  remove(): Promise<void>;
};

/** Arguments of openssl for a new key, by type. */
const KEYS = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
  rsa: ['-newkey', 'rsa:2048', '-nodes'],
};

export type AuthorityOptions = {
  /** Days for which the certificates are valid; 2 by default. */
  days?: number;
  /** A folder for the authority's files only; a new temporary folder by default. */
  folder?: string;
};

/** Creates a certificate authority with Debian's openssl. Remove the authority at the end of the test. */
export async function createAuthority(name = 'test authority', options: AuthorityOptions = {}): Promise<Authority> {
  const { days = 2, folder = await mkdtemp(join(tmpdir(), 'pushcluster-ca-')) } = options;
  await mkdir(folder, { recursive: true });
  const valid = ['-days', String(days)];
  const [caFile, caKey] = [join(folder, 'ca.pem'), join(folder, 'ca.key')];
  await openssl('req', '-x509', ...KEYS.ec, '-keyout', caKey, '-out', caFile, ...valid, '-subj', `/CN=${name}`);
  let issued = 0;
  return {
    caFile,
    caKeyFile: caKey,
    async issue(names, subject = '/CN=test', type = 'ec') {
      const base = join(folder, `cert${issued++}`);
      const [certFile, keyFile, request, extensions] = [`${base}.pem`, `${base}.key`, `${base}.csr`, `${base}.ext`];
      const alternatives = names === '' ? '' : `subjectAltName=${names}\n`;
      await writeFile(extensions, `${alternatives}extendedKeyUsage=serverAuth,clientAuth\n`);
      const serial = `0x01${randomBytes(15).toString('hex')}`;
      await openssl('req', ...KEYS[type], '-keyout', keyFile, '-out', request, '-subj', subject);
      const signing = ['-CA', caFile, '-CAkey', caKey, '-set_serial', serial, ...valid, '-extfile', extensions];
      await openssl('x509', '-req', '-in', request, '-out', certFile, ...signing);
      return { certFile, keyFile };
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
