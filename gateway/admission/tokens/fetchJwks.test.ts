import assert from 'node:assert/strict';
import { copyFileSync, readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { describe, it, type TestContext } from 'node:test';
import { createAuthority } from '@pushcluster/test/harness/certificates.ts';
import { fetchJwks } from './fetchJwks.ts';

describe('the fetch of a JWKS', () => {
  async function serve(
    t: TestContext,
    listener: RequestListener,
    server = createServer(listener),
    scheme = 'http',
  ): Promise<string> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    return `${scheme}://127.0.0.1:${address.port}/keys`;
  }

  /** However late this machine is, no fetch is given up. */
  const neverLate = (t: TestContext) => t.mock.method(AbortSignal, 'timeout', () => new AbortController().signal);

  it('brings what is there', async (t) => {
    neverLate(t);
    const url = await serve(t, (_request, response) => response.end('{"keys":[]}'));
    assert.equal(await fetchJwks(url), '{"keys":[]}');
  });

  it('says why it brings nothing: a status, a redirect, too much, nobody there', async (t) => {
    neverLate(t);
    const url = await serve(t, ({ url }, response) => {
      if (url === '/500') response.writeHead(500).end('oops');
      else if (url === '/302') response.writeHead(302, { location: '/keys' }).end();
      else if (url === '/big') response.end(Buffer.alloc(10 * 1024 * 1024, ' '));
      else response.end('{"keys":[]}');
    });
    const at = (path: string) => fetchJwks(new URL(path, url).href);
    await assert.rejects(at('/500'), { message: 'is answered with 500' });
    await assert.rejects(at('/302'), { message: 'is answered with 302: redirects are not followed' });
    await assert.rejects(at('/big'), { message: 'is larger than 1048576 bytes' });
    await assert.rejects(fetchJwks('http://127.0.0.1:1/'), { message: /^can't be fetched: / });
  });

  it('trusts the authorities of a file and no others, also once the file has changed', async (t) => {
    neverLate(t);
    const [authority, other] = [await createAuthority(), await createAuthority('another authority')];
    t.after(() => Promise.all([authority.remove(), other.remove()]));
    const { certFile, keyFile } = await authority.issue('IP:127.0.0.1');
    const options = { cert: readFileSync(certFile), key: readFileSync(keyFile) };
    const server = createSecureServer(options, (_request, response) => response.end('{"keys":[]}'));
    const url = await serve(t, () => {}, server, 'https');
    await assert.rejects(fetchJwks(url), { message: /^can't be fetched: / });
    await assert.rejects(fetchJwks(url, other.caFile), { message: /^can't be fetched: / });
    copyFileSync(authority.caFile, other.caFile);
    assert.equal(await fetchJwks(url, other.caFile), '{"keys":[]}');
    await assert.rejects(fetchJwks(url, '/nowhere/ca.crt'), { message: /^can't be fetched: ENOENT/ });
  });

  it('is given up after 5 s, in the middle of a body too', async (t) => {
    t.mock.method(AbortSignal, 'timeout', () => AbortSignal.abort());
    const url = await serve(t, (_request, response) => response.write('{'));
    await assert.rejects(fetchJwks(url), { message: 'did not arrive within 5 s' });
  });
});
