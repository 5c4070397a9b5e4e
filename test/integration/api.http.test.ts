import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { request as httpRequest, METHODS } from 'node:http';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { ProblemDocument } from '@pushcluster/protocol/api.ts';
import { LINGER_MS } from '@pushcluster/runtime/lingeringResponse.ts';
import { type Api, startHeardApi, temporaryFolder } from '../harness/api.ts';
import { dialRaw, type RawReply, readAll, repliesIn } from '../harness/rawHttp.ts';

const ORIGIN = 'https://app.example';
const HOST = 'Host: localhost\r\n';
const CLOSE = 'Connection: close\r\n';
const PAGE = `Origin: ${ORIGIN}\r\n`;
const JSON_TYPE = 'Content-Type: application/json\r\n';
const FORM_TYPE = 'Content-Type: application/x-www-form-urlencoded\r\n';
const PUSH_BODY = '{"to":{"room":"r"},"items":[1]}';

const start = (t: TestContext, logic: object = {}): Promise<Api> =>
  startHeardApi(t, { logic: { allowedOrigins: [ORIGIN], askTimeout: '50ms', ...logic } });

async function ask(api: Api, text: string | Uint8Array): Promise<RawReply[]> {
  return repliesIn(await readAll(await dialRaw(api.port, text)));
}

function assertProblem(reply: RawReply | undefined, status: number, code: string, what: string) {
  assert.ok(reply, what);
  assert.equal(reply.headers.get('content-type'), 'application/problem+json', what);
  const problem = ProblemDocument.parse(JSON.parse(reply.body));
  assert.deepEqual([reply.status, problem.status, problem.code], [status, status, code], `${what}: ${reply.body}`);
}

type Row = [what: string, request: string, status: number, code: string];

/** Refusals of requests that are understood well enough to know whose page they come from. */
const REQUESTS: Row[] = [
  ['no Host', `GET /v1/stats HTTP/1.1\r\n${PAGE}${CLOSE}\r\n`, 400, 'bad_request'],
  ['Expect: foo', `POST /v1/push HTTP/1.1\r\n${HOST}${PAGE}Expect: foo\r\n${CLOSE}\r\n`, 417, 'expectation_failed'],
  ['a bad escape', `GET /v1/rooms/%zz HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 400, 'bad_request'],
  ['bytes that are no UTF-8', `GET /v1/rooms/%ff HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 400, 'bad_request'],
  ['a bad escape in a query', `GET /v1/rooms?room=%f HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 400, 'bad_request'],
  ['no UTF-8 in a query', `GET /v1/rooms?room=%ff HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 400, 'bad_request'],
  ['a fragment', `GET /v1/rooms/a#b HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 400, 'bad_request'],
  ['a name too long', `GET /v1/rooms/${'x'.repeat(999)} HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 400, 'bad_request'],
  ['no such route', `GET /v2 HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 404, 'not_found'],
  ['no path', `OPTIONS * HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 404, 'not_found'],
  [
    'an upgrade',
    `GET /connect HTTP/1.1\r\n${HOST}${PAGE}Upgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n`,
    404,
    'not_found',
  ],
  ['a proxy’s CONNECT', `CONNECT a.example:443 HTTP/1.1\r\n${HOST}${PAGE}\r\n`, 405, 'method_not_allowed'],
  ...METHODS.filter((method) => !['GET', 'HEAD', 'POST', 'OPTIONS', 'CONNECT'].includes(method)).map(
    (method): Row => [method, `${method} /v1/push HTTP/1.1\r\n${HOST}${PAGE}${CLOSE}\r\n`, 405, 'method_not_allowed'],
  ),
  [
    'gzip',
    `POST /v1/push HTTP/1.1\r\n${HOST}${PAGE}Content-Encoding: gzip\r\n${CLOSE}\r\n`,
    415,
    'unsupported_media_type',
  ],
  [
    'no type',
    `POST /v1/push HTTP/1.1\r\n${HOST}${PAGE}Content-Length: 2\r\n${CLOSE}\r\n{}`,
    415,
    'unsupported_media_type',
  ],
  [
    'a broken type',
    `POST /v1/push HTTP/1.1\r\n${HOST}${PAGE}Content-Type: ;;\r\nContent-Length: 2\r\n${CLOSE}\r\n{}`,
    415,
    'unsupported_media_type',
  ],
  ['no body', `POST /v1/push HTTP/1.1\r\n${HOST}${PAGE}${JSON_TYPE}${CLOSE}\r\n`, 400, 'malformed_body'],
  [
    'no JSON',
    `POST /v1/push HTTP/1.1\r\n${HOST}${PAGE}${JSON_TYPE}Content-Length: 1\r\n${CLOSE}\r\n{`,
    400,
    'malformed_body',
  ],
  [
    'a bad chunk',
    `POST /v1/push HTTP/1.1\r\n${HOST}${PAGE}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\nxyz\r\n`,
    400,
    'bad_request',
  ],
  ['HTTP/1.0 from elsewhere', `GET /v1/stats HTTP/1.0\r\nHost: push.example\r\n${PAGE}\r\n`, 403, 'loopback_only'],
  ['HTTP/1.0 without Host', `GET /v1/stats HTTP/1.0\r\n${PAGE}\r\n`, 403, 'loopback_only'],
];

/** What is no request at all. */
const BROKEN: Row[] = [
  ['HTTP/0.9', 'GET /v1/stats\r\n\r\n', 400, 'bad_request'],
  ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'bad_request'],
  ['a made-up version', `GET /v1/stats HTTP/3.7\r\n${HOST}\r\n`, 400, 'bad_request'],
  ['a made-up method', `FETCH /v1/stats HTTP/1.1\r\n${HOST}\r\n`, 400, 'bad_request'],
  ['a TLS handshake', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400, 'bad_request'],
  ['a header without a colon', `GET /v1/stats HTTP/1.1\r\n${HOST}oops\r\n\r\n`, 400, 'bad_request'],
  [
    'two lengths',
    `POST /v1/push HTTP/1.1\r\n${HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}`,
    400,
    'bad_request',
  ],
  [
    'a length and chunks',
    `POST /v1/push HTTP/1.1\r\n${HOST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
    'bad_request',
  ],
  ['a negative length', `POST /v1/push HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`, 400, 'bad_request'],
  [
    'another transfer coding',
    `POST /v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}Transfer-Encoding: gzip\r\n\r\n`,
    400,
    'bad_request',
  ],
  [
    'headers over 16 KiB',
    `GET /v1/stats HTTP/1.1\r\n${HOST}X: ${'x'.repeat(20_000)}\r\n\r\n`,
    431,
    'headers_too_large',
  ],
  ['a path over 16 KiB', `GET /${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n`, 431, 'headers_too_large'],
];

describe('a request that is refused', () => {
  for (const [what, request, status, code] of REQUESTS)
    test(`for ${what} is answered with the problem ${code}, which an allowed page can read`, async (t) => {
      const api = await start(t);
      const replies = await ask(api, request);
      assert.equal(replies.length, 1);
      assertProblem(replies[0], status, code, what);
      assert.equal(replies[0]?.headers.get('access-control-allow-origin'), ORIGIN);
      assert.equal(replies[0]?.headers.get('vary'), 'Origin');
      if (status === 405) assert.match(replies[0]?.headers.get('allow') ?? '', /POST/);
      const foreign = await ask(api, request.replace(ORIGIN, 'https://evil.example'));
      assert.equal(foreign[0]?.headers.get('access-control-allow-origin'), undefined);
      assert.ok(foreign[0]!.status >= 400);
    });

  for (const [what, request, status, code] of BROKEN)
    test(`as it is ${what} is answered with the problem ${code}`, async (t) => {
      const api = await start(t);
      const replies = await ask(api, Buffer.from(request, 'latin1'));
      assert.equal(replies.length, 1);
      assertProblem(replies[0], status, code, what);
      assert.equal(replies[0]?.headers.get('connection'), 'close');
    });
});

test('what changes nothing is no reason to refuse', async (t) => {
  const api = await start(t);
  const push = (headers: string) =>
    `POST /v1/push HTTP/1.1\r\n${HOST}${headers}${JSON_TYPE}Content-Length: ${PUSH_BODY.length}\r\n${CLOSE}\r\n${PUSH_BODY}`;
  for (const encoding of ['identity', 'Identity', 'IDENTITY', 'identity, Identity', ''])
    assert.equal((await ask(api, push(`Content-Encoding: ${encoding}\r\n`)))[0]?.status, 202, encoding);
  for (const encoding of ['gzip', 'identity, gzip', 'x-identity', 'identity;q=1'])
    assertProblem(
      (await ask(api, push(`Content-Encoding: ${encoding}\r\n`)))[0],
      415,
      'unsupported_media_type',
      encoding,
    );
  const absolute = `GET http://localhost/v1/stats HTTP/1.1\r\n${HOST}${CLOSE}\r\n`;
  assert.equal((await ask(api, absolute))[0]?.status, 200);
  const upgrade = `GET /v1/stats HTTP/1.1\r\n${HOST}Upgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n`;
  assert.equal((await ask(api, upgrade))[0]?.status, 200);
  const replies = repliesIn(
    (await readAll(await dialRaw(api.port, push('Expect: 100-continue\r\n')))).replace(
      /^HTTP\/1\.1 100 .*\r\n\r\n/,
      '',
    ),
  );
  assert.equal(replies[0]?.status, 202);
});

test('requests that come together are answered in order, and garbage behind them last', async (t) => {
  const api = await start(t);
  const push = (id: string) => {
    const body = JSON.stringify({ to: { room: 'r' }, items: [id], id });
    return `POST /v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: ${body.length}\r\n\r\n${body}`;
  };
  // A question to gateways takes its time: what follows must not overtake its answer.
  const slow = `GET /v1/rooms/r HTTP/1.1\r\n${HOST}\r\n`;
  const replies = await ask(api, `${push('a')}${slow}${push('b')}GARBAGE\r\n\r\n`);
  assert.deepEqual(
    replies.map(({ status }) => status),
    [202, 200, 202, 400],
  );
  assert.deepEqual(
    api.seen.map(({ items }) => items),
    [['"a"'], ['"b"']],
  );
  const broken = `POST /v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}Transfer-Encoding: chunked\r\n\r\nzz\r\n`;
  const others = await ask(api, `${slow}${broken}`);
  assert.deepEqual(
    others.map(({ status }) => status),
    [200, 400],
  );
});

describe('an answer that is there before the body', () => {
  const MIB = 1024 * 1024;

  async function startWithKey(t: TestContext) {
    const file = join(temporaryFolder(t), 'key');
    writeFileSync(file, 'key\n');
    return start(t, { apiKeys: [{ name: 'key', file }] });
  }
  const KEY = 'Authorization: Bearer key\r\n';
  const REFUSED: [what: string, head: string, status: number][] = [
    ['over the limit', `POST /v1/push HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}`, 413],
    ['over the limit, of a form', `POST /push/room HTTP/1.1\r\n${HOST}${KEY}${FORM_TYPE}`, 413],
    ['without a key', `POST /v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}`, 401],
    ['of a form without a key', `POST /push/all HTTP/1.1\r\n${HOST}${FORM_TYPE}`, 401],
    ['of another type', `POST /v1/push HTTP/1.1\r\n${HOST}${KEY}Content-Type: text/plain\r\n`, 415],
    ['of a coding', `POST /v1/push HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}Content-Encoding: br\r\n`, 415],
    ['of another method', `PUT /v1/push HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}`, 405],
    ['to nowhere', `POST /v2/push HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}`, 404],
    ['to a bad path', `POST /v1/%zz HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}`, 400],
    ['of a page', `POST /v1/push HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}Origin: https://evil.example\r\n`, 403],
    ['with an expectation', `POST /v1/push HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}Expect: foo\r\n`, 417],
    ['of a GET', `GET /openapi.json HTTP/1.1\r\n${HOST}`, 200],
    ['with two lengths', `POST /v1/push HTTP/1.1\r\n${HOST}Content-Length: 1\r\n`, 400],
    ['with broken headers', `POST /v1/push HTTP/1.1\r\n${HOST}oops\r\n`, 400],
  ];

  for (const [what, head, status] of REFUSED)
    test(`${what} reaches a client that sends 8 MiB first, kept alive or not`, async (t) => {
      const api = await startWithKey(t);
      const body = Buffer.alloc(8 * MIB, 'x');
      for (const connection of [CLOSE, '']) {
        const socket = await dialRaw(api.port, `${head}Content-Length: ${body.length}\r\n${connection}\r\n`);
        // Nothing is read until all is written.
        await new Promise<void>((resolve, reject) =>
          socket.write(body, (error) => (error ? reject(error) : resolve())),
        );
        const first = await once(socket, 'data');
        assert.match(String(first[0]), new RegExp(`^HTTP/1\\.1 ${status} `));
        socket.destroy();
      }
    });

  test('reaches a client that sends chunks without end', async (t) => {
    const api = await startWithKey(t);
    for (const [what, head, status] of REFUSED.slice(0, 12)) {
      const socket = await dialRaw(api.port, `${head}Transfer-Encoding: chunked\r\n${CLOSE}\r\n`);
      const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MIB, 'x'), Buffer.from('\r\n')]);
      for (let i = 0; i < 8; i++)
        await new Promise<void>((resolve, reject) =>
          socket.write(chunk, (error) => (error ? reject(error) : resolve())),
        );
      socket.write('0\r\n\r\n');
      const [reply] = repliesIn(await readAll(socket));
      assert.equal(reply?.status, status, what);
    }
  });

  test('leaves a connection that is kept for the next request, once the body is through', async (t) => {
    const api = await startWithKey(t);
    const body = 'x'.repeat(3 * MIB);
    const refused = `POST /v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: ${body.length}\r\n\r\n${body}`;
    const good = `POST /v1/push HTTP/1.1\r\n${HOST}${KEY}${JSON_TYPE}Content-Length: ${PUSH_BODY.length}\r\n${CLOSE}\r\n${PUSH_BODY}`;
    const replies = await ask(api, refused + good);
    assert.deepEqual(
      replies.map(({ status }) => status),
      [401, 202],
    );
  });

  test('is cut off beyond 64 MiB', async (t) => {
    const api = await startWithKey(t);
    const socket = await dialRaw(
      api.port,
      `POST /v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}Content-Length: 999999999\r\n\r\n`,
    );
    socket.on('error', () => {});
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    let written = 0;
    const began = performance.now();
    const chunk = Buffer.alloc(MIB);
    while (!socket.destroyed && written < 200) {
      await new Promise<void>((resolve) => socket.write(chunk, () => resolve()));
      written++;
    }
    await closed;
    assert.ok(written < 120, `${written} MiB were written`);
    // One who sends more slowly than a busy machine should is cut off by time.
    assert.ok(written > 60 || performance.now() - began >= LINGER_MS, `${written} MiB were written`);
  });

  test('reaches Node’s client', async (t) => {
    const api = await startWithKey(t);
    const body = Buffer.alloc(20 * MIB, 'x');
    for (let i = 0; i < 3; i++) {
      const request = httpRequest({
        port: api.port,
        host: '127.0.0.1',
        path: '/v1/push',
        method: 'POST',
        agent: false,
      });
      request.setHeader('content-type', 'application/json').setHeader('authorization', 'Bearer key');
      request.end(body);
      const [response] = await once(request, 'response');
      assert.equal(response.statusCode, 413);
      response.resume();
      await once(response, 'end');
    }
  });

  test('reaches Python’s urllib, 10 of 10', async (t) => {
    const api = await startWithKey(t);
    const script = `
import urllib.request, urllib.error
codes = []
for i in range(10):
    request = urllib.request.Request("http://127.0.0.1:${api.port}/v1/push", data=b"x" * (20 << 20),
        headers={"Content-Type": "application/json", "Authorization": "Bearer key"})
    try:
        codes.append(urllib.request.urlopen(request).status)
    except urllib.error.HTTPError as error:
        codes.append(error.code if b"body_too_large" in error.read() else 0)
    except Exception as error:
        codes.append(repr(error))
print(codes)
`;
    const python = spawn('python3', ['-c', script], { env: { PATH: process.env.PATH } });
    let output = '';
    python.stdout.on('data', (text) => {
      output += text;
    });
    python.stderr.on('data', (text) => {
      output += text;
    });
    await once(python, 'close');
    assert.equal(output.trim(), `[${new Array(10).fill(413).join(', ')}]`);
  });
});
