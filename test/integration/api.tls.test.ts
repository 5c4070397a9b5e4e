import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { type Api, PUSH, startApi } from '../harness/api.ts';
import { type Authority, type Certificate, createAuthority } from '../harness/certificates.ts';
import { Lateness } from '../harness/lateness.ts';
import { readAll, repliesIn } from '../harness/rawHttp.ts';
import { until } from '../harness/until.ts';

const MIB = 1024 * 1024;
const HOST = 'Host: localhost\r\n';
const CLOSE = 'Connection: close\r\n';
const JSON_TYPE = 'Content-Type: application/json\r\n';

let authority: Authority;
let certificate: Certificate;
let ca: Buffer;

before(async () => {
  authority = await createAuthority();
  ca = readFileSync(authority.caFile);
  certificate = await authority.issue('IP:127.0.0.1,DNS:localhost');
});
after(() => authority.remove());

const start = (t: TestContext, logic: object = {}): Promise<Api> =>
  startApi(t, { logic: { tls: certificate, ...logic } });

async function dial(
  { port }: Api,
  text: string | Uint8Array = '',
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', ca, ...options });
  await once(socket, 'secureConnect');
  socket.write(text);
  return socket;
}

async function ask(api: Api, text: string): Promise<{ status: number; body: string }[]> {
  return repliesIn(await readAll(await dial(api, text)));
}

/** What a client hears that sends `text` without TLS, until the server closes the connection. */
async function plain({ port }: Api, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(text);
  let heard = '';
  socket
    .on('error', () => {})
    .on('data', (data) => {
      heard += data.toString('latin1');
    });
  await once(socket, 'close');
  return heard;
}

const push = (head: string, body = JSON.stringify(PUSH)) =>
  `POST /v1/push HTTP/1.1\r\n${head}${JSON_TYPE}Content-Length: ${body.length}\r\n${CLOSE}\r\n${body}`;

describe('the push API over TLS', () => {
  test('is HTTP/1.1, for clients that would speak HTTP/2 as well', async (t) => {
    const api = await start(t);
    const socket = await dial(api, push(HOST), { ALPNProtocols: ['h2', 'http/1.1'] });
    assert.equal(socket.alpnProtocol, 'http/1.1');
    assert.deepEqual(
      repliesIn(await readAll(socket)).map(({ status, body }) => [status, body]),
      [[202, '{"accepted":1}']],
    );
    await assert.rejects(dial(api, '', { ALPNProtocols: ['h2'] }));
  });

  test('without keys serves this machine only', async (t) => {
    const api = await start(t, { host: '0.0.0.0' });
    assert.ok(
      api.lines.some(
        ({ msg, scheme, host }) => msg === 'push API listens' && scheme === 'https' && host === '127.0.0.1',
      ),
    );
    const [evil] = await ask(api, push('Host: evil.example\r\n'));
    assert.deepEqual([evil?.status, JSON.parse(evil?.body ?? '').code], [403, 'loopback_only']);
    const [proxied] = await ask(api, push(`${HOST}X-Forwarded-For: 10.0.0.1\r\n`));
    assert.equal(proxied?.status, 403);
    const [whole] = await ask(api, `GET https://localhost/v1/stats HTTP/1.1\r\n${HOST}${CLOSE}\r\n`);
    assert.equal(whole?.status, 200);
  });

  test('answers what is not HTTP, and requests that break off', async (t) => {
    const api = await start(t);
    for (const text of ['nonsense\r\n\r\n', `GET /v1/stats HTTP/1.1\r\n${HOST}oops\r\n\r\n`]) {
      const [reply] = await ask(api, text);
      assert.deepEqual([reply?.status, JSON.parse(reply?.body ?? '').code], [400, 'bad_request']);
    }
    const [proxy] = await ask(api, `CONNECT a.example:443 HTTP/1.1\r\n${HOST}\r\n`);
    assert.equal(proxy?.status, 405);
  });

  test('gives its answer to a client that sends 8 MiB first', async (t) => {
    const api = await start(t);
    const body = Buffer.alloc(8 * MIB, 'x');
    for (const connection of [CLOSE, '']) {
      const head = `POST /v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: ${body.length}\r\n${connection}\r\n`;
      const socket = await dial(api, head);
      // Nothing is read until all is written.
      await new Promise<void>((resolve, reject) => socket.write(body, (error) => (error ? reject(error) : resolve())));
      const [first] = await once(socket, 'data');
      assert.match(String(first), /^HTTP\/1\.1 413 /);
      socket.destroy();
    }
    for (let i = 0; i < 3; i++) {
      const options = {
        port: api.port,
        host: '127.0.0.1',
        path: '/v1/push',
        method: 'POST',
        agent: false,
        ca,
      } as const;
      const request = httpsRequest(options).setHeader('content-type', 'application/json');
      request.end(body);
      const [response] = await once(request, 'response');
      assert.equal(response.statusCode, 413);
      response.resume();
      await once(response, 'end');
    }
  });

  test('closes connections that do not begin with TLS, and goes on', async (t) => {
    const api = await start(t);
    assert.doesNotMatch(await plain(api, `GET /docs HTTP/1.1\r\n${HOST}\r\n`), /HTTP/);
    assert.doesNotMatch(await plain(api, '\0\0\0\0 no TLS either'), /HTTP/);
    const stranger = connectTls({ port: api.port, host: '127.0.0.1', maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1' });
    await assert.rejects(once(stranger, 'secureConnect'));
    const [reply] = await ask(api, push(HOST));
    assert.equal(reply?.status, 202);
  });

  test('leaving waits for no connection on which nothing was asked, before or after the handshake', async (t) => {
    const api = await start(t, { drain: { settle: 0, timeout: '60s' } });
    const silent = connect(api.port, '127.0.0.1');
    await once(silent, 'connect');
    const shaken = await dial(api);
    const idle = await dial(api, `GET /openapi.json HTTP/1.1\r\n${HOST}\r\n`);
    await once(idle, 'data');
    for (const socket of [silent, shaken, idle]) {
      t.after(() => socket.destroy());
      socket.on('error', () => {}).resume();
    }
    const begun = performance.now();
    const lateness = Lateness.during(t);
    await api.logic.leave();
    assert.ok(performance.now() - begun < 5_000 + lateness.total, `it took ${performance.now() - begun} ms`);
  });

  test('leaving ends although a handshake never does', async (t) => {
    const api = await start(t, { drain: { settle: 0, timeout: '1s' } });
    const stuck = connect(api.port, '127.0.0.1');
    t.after(() => stuck.destroy());
    stuck.on('error', () => {}).resume();
    // A record of 512 bytes begins.
    stuck.write(Buffer.from([0x16, 3, 1, 2, 0]));
    await until('the server has read it', () => stuck.bytesWritten > 0 && stuck.writableLength === 0);
    await api.logic.leave();
  });
});

describe('the push API', () => {
  test('does not start with a pair that does not fit, and says so', async (t) => {
    // OpenSSL itself takes a key of another type.
    for (const type of ['ec', 'rsa'] as const) {
      const { keyFile } = await authority.issue('IP:127.0.0.1', '/CN=test', type);
      await assert.rejects(
        start(t, { tls: { certFile: certificate.certFile, keyFile } }),
        /^Error: logic\.tls: .* can.t be used: both must be readable PEM files/,
        type,
      );
    }
    await assert.rejects(
      start(t, { tls: { ...certificate, keyFile: '/nowhere' } }),
      /logic\.tls: .*\/nowhere does not exist/,
    );
  });
});
