import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { type Api, listen, startApi, temporaryFolder } from '../harness/api.ts';
import { dialRaw, repliesIn } from '../harness/rawHttp.ts';
import { until } from '../harness/until.ts';

/**
 * `POST /v1/push` has two ways through logic: requests as backends send them are answered ahead of fastify
 * (logic/routes/directPush.ts), all others by its route. Nobody may see which.
 */
const KEY = 'Authorization: Bearer key\r\n';
const HOST = 'Host: localhost\r\n';
const JSON_TYPE = 'Content-Type: application/json\r\n';
const LINE = 'POST /v1/push HTTP/1.1\r\n';

/** The parts of one request, in turn; what is written at once is one element. */
type Send = (headers: string, body: Buffer) => (string | Buffer)[];

const lengthOf = (body: Buffer) => `Content-Length: ${body.length}\r\n`;

const DIRECT: Record<string, Send> = {
  'as one piece': (headers, body) => [
    Buffer.concat([Buffer.from(`${LINE}${HOST}${JSON_TYPE}${headers}${lengthOf(body)}\r\n`), body]),
  ],
  'in pieces': (headers, body) => [
    LINE,
    `${HOST}${JSON_TYPE}${headers}${lengthOf(body)}`,
    '\r\n',
    body.subarray(0, 3),
    body.subarray(3),
  ],
  'with another header': (headers, body) => [
    `${LINE}${HOST}X-Request-Id: 1\r\nUser-Agent: backend\r\nAccept: */*\r\n${JSON_TYPE}${headers}${lengthOf(body)}\r\n`,
    body,
  ],
  'with its charset': (headers, body) => [
    `${LINE}${HOST}Content-Type: application/json; charset=utf-8\r\n${headers}${lengthOf(body)}\r\n`,
    body,
  ],
  'that waits for 100 Continue': (headers, body) => [
    `${LINE}${HOST}${JSON_TYPE}${headers}${lengthOf(body)}Expect: 100-continue\r\n\r\n`,
    body,
  ],
};

const ROUTED: Record<string, Send> = {
  'in chunks': (headers, body) => [
    `${LINE}${HOST}${JSON_TYPE}${headers}Transfer-Encoding: chunked\r\n\r\n`,
    ...[body.subarray(0, 5), body.subarray(5)]
      .filter(({ length }) => length > 0)
      .flatMap((part) => [`${part.length.toString(16)}\r\n`, part, '\r\n']),
    '0\r\n\r\n',
  ],
  'with another spelling of its type': (headers, body) => [
    `${LINE}${HOST}Content-Type: Application/JSON;charset=utf-8\r\n${headers}${lengthOf(body)}\r\n`,
    body,
  ],
  'as a proxy gets it': (headers, body) => [
    `POST http://localhost/v1/push HTTP/1.1\r\n${HOST}${JSON_TYPE}${headers}${lengthOf(body)}\r\n`,
    body,
  ],
  'with a query': (headers, body) => [
    `POST /v1/push? HTTP/1.1\r\n${HOST}${JSON_TYPE}${headers}${lengthOf(body)}\r\n`,
    body,
  ],
};

type Row = {
  body: string | Buffer;
  headers?: string;
  status: number;
  code?: string;
  prepare?: (api: Api) => unknown;
  /** How long logic accepts connections while it is leaving. */
  settle?: string;
};

const push = (changes: object = {}) => JSON.stringify({ to: { room: 'r' }, items: [1], ...changes });

const ROWS: Record<string, Row> = {
  'to a room': { body: push(), status: 202 },
  'to everyone': { body: push({ to: { all: true } }), status: 202 },
  'to rooms': { body: push({ to: { rooms: ['r', 's', 'r'] } }), status: 202 },
  'to a user': { body: push({ to: { user: 'u' } }), status: 202 },
  'with strange bytes': {
    body: ' {"id" : "\\u0000", "items":[ 1.0e+1 , "\\ud800", {"a":[]}, "直播" ],"to":{"room":"直播"} }\n',
    status: 202,
  },
  'with a key twice': { body: '{"to":{"room":"x"},"items":[1],"to":{"room":"r"},"\\u0069tems":[2]}', status: 202 },
  'with an unknown field': { body: push({ urgnt: true }), status: 400, code: 'invalid_request' },
  'to nobody': { body: push({ to: {} }), status: 400, code: 'invalid_request' },
  'without items': { body: push({ items: [] }), status: 400, code: 'invalid_request' },
  'that is a list': { body: '[]', status: 400, code: 'invalid_request' },
  'that is null': { body: 'null', status: 400, code: 'invalid_request' },
  'that is cut': { body: '{"to":{"room":"r"},"items":[', status: 400, code: 'malformed_body' },
  'that is white space': { body: ' ', status: 400, code: 'malformed_body' },
  'that is empty': { body: '', status: 400, code: 'malformed_body' },
  'with a mark of byte order': { body: `\ufeff${push()}`, status: 400, code: 'malformed_body' },
  'that is no UTF-8': {
    body: Buffer.from('{"to":{"room":"r"},"items":["a","\xff"]}', 'latin1'),
    status: 400,
    code: 'malformed_body',
  },
  'with too many items': { body: push({ items: [1, 2, 3, 4, 5] }), status: 413, code: 'too_many_items' },
  'with an item too large': { body: push({ items: ['x'.repeat(200)] }), status: 413, code: 'item_too_large' },
  'of the largest size': { body: push().padEnd(2_000), status: 202 },
  'over the largest size': { body: push().padEnd(2_001), status: 413, code: 'body_too_large' },
  'to a room out of scope': { body: push({ to: { room: 'other' } }), status: 403, code: 'forbidden' },
  'that is urgent': { body: push({ urgent: true }), status: 429, code: 'urgent_rate' },
  'with a wrong key': { body: push(), headers: 'Authorization: Bearer no\r\n', status: 401, code: 'unauthorized' },
  'without a key': { body: push(), headers: '', status: 401, code: 'unauthorized' },
  'with two keys': { body: push(), headers: KEY + KEY, status: 400, code: 'bad_request' },
  'of a page': {
    body: push(),
    headers: `${KEY}Origin: https://evil.example\r\n`,
    status: 403,
    code: 'origin_forbidden',
  },
  'of an allowed page': { body: push(), headers: `${KEY}Origin: https://app.example\r\n`, status: 202 },
  'of a form of another site': {
    body: push(),
    headers: `${KEY}Sec-Fetch-Site: cross-site\r\n`,
    status: 403,
    code: 'origin_forbidden',
  },
  'that is compressed': {
    body: push(),
    headers: `${KEY}Content-Encoding: gzip\r\n`,
    status: 415,
    code: 'unsupported_media_type',
  },
  'that is to end the connection': { body: push(), headers: `${KEY}Connection: close\r\n`, status: 202 },
  'that the bus does not confirm': {
    body: push(),
    status: 503,
    code: 'bus_unconfirmed',
    prepare: (api) => {
      failOnce(api, new BusUnconfirmed('cut'));
    },
  },
  'while the bus is away': {
    body: push(),
    status: 503,
    code: 'bus_unavailable',
    prepare: (api) => api.bus.close(),
  },
  'that meets a mistake': {
    body: push(),
    status: 500,
    code: 'internal',
    prepare: (api) => {
      failOnce(api, new Error('a mistake'));
    },
  },
  'while logic is leaving': {
    body: push(),
    status: 202,
    settle: '400ms',
    prepare: (api) => {
      void api.logic.leave();
    },
  },
};

async function startWithKey(t: TestContext, settle = '0s'): Promise<Api> {
  const file = join(temporaryFolder(t), 'key');
  writeFileSync(file, 'key\n');
  const bus = new LocalBus();
  const api = await startApi(
    t,
    {
      logic: {
        apiKeys: [
          { name: 'backend', file, scope: { all: true, rooms: ['r', 's', '直播'], users: ['*'], history: [] } },
        ],
        allowedOrigins: ['https://app.example'],
        limits: { body: 2_000, items: 4, item: 150 },
        urgentRate: 0,
        drain: { settle },
      },
    },
    bus,
  );
  listen(bus, api.seen);
  return api;
}

/** Makes the next receipt of the bus an error. */
function failOnce({ bus }: Api, error: Error) {
  const flush = bus.flush.bind(bus);
  bus.flush = () => {
    bus.flush = flush;
    return Promise.reject(error);
  };
}

/** All that one request shows outside: its answer, what is pushed, logged and counted. */
async function outcomeOf(t: TestContext, send: Send, { body, headers = KEY, prepare, settle }: Row) {
  const api = await startWithKey(t, settle);
  const parts = send(headers, Buffer.from(body));
  const socket = await dialRaw(api.port);
  await prepare?.(api);
  for (const part of parts) {
    // As TCP may deliver it: each part is a read of its own.
    socket.write(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const [reply] = repliesIn(await firstReply(socket));
  socket.destroy();
  assert.ok(reply);
  assert.match(reply.headers.get('date') ?? '', /GMT$/);
  reply.headers.delete('date');
  // A random number of seconds.
  if (reply.headers.has('retry-after')) reply.headers.set('retry-after', 'some');
  const counted = () =>
    api.metrics().then((text) => text.match(/^pushcluster_logic_push_requests_total\{.*\} [1-9]\d*$/gm) ?? []);
  await until('the answer is counted', async () => (await counted()).length > 0);
  return {
    status: reply.status,
    headers: Object.fromEntries([...reply.headers].sort()),
    body: reply.body,
    seen: api.seen,
    lines: api.lines
      .filter(({ msg }) => msg.startsWith('request '))
      .map(({ time: _time, pid: _pid, hostname: _hostname, err, ...line }) => ({ ...line, failed: err !== undefined })),
  };
}

/** The first answer; an interim one is left out. */
async function firstReply(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) {
    text = `${text}${chunk}`.replace(/^HTTP\/1\.1 100 .*\r\n\r\n/, '');
    const end = text.indexOf('\r\n\r\n');
    const length = Number(/content-length: (\d+)/i.exec(text)?.[1]);
    if (end >= 0 && Buffer.byteLength(text) >= end + 4 + length) return text;
  }
  throw new Error(`the connection ended after ${JSON.stringify(text)}`);
}

describe('a push', () => {
  for (const [what, row] of Object.entries(ROWS))
    test(`${what} is answered alike, however it is sent`, async (t) => {
      const { 'as one piece': first, ...others } = { ...DIRECT, ...ROUTED };
      const expected = await outcomeOf(t, first!, row);
      assert.equal(expected.status, row.status, expected.body);
      if (row.code !== undefined) assert.equal(JSON.parse(expected.body).code, row.code);
      assert.equal(expected.lines.length, row.status < 400 ? 0 : 1);
      for (const [how, send] of Object.entries(others)) assert.deepEqual(await outcomeOf(t, send, row), expected, how);
    });
});

test('a client that leaves in the middle of a push is logged, and nothing is pushed or counted', async (t) => {
  const body = Buffer.from(push());
  for (const send of [DIRECT['as one piece']!, ROUTED['with another spelling of its type']!]) {
    const api = await startWithKey(t);
    const whole = Buffer.concat(send(KEY, body).map((part) => Buffer.from(part)));
    const socket = await dialRaw(api.port, whole.subarray(0, -1));
    // Its head has arrived once a connection that came later is served.
    assert.equal((await api.request('/v1/stats')).status, 401);
    socket.destroy();
    const lines = () => api.lines.filter(({ msg, path }) => msg === 'request refused' && path === '/v1/push');
    await until('it is logged', () => lines().length > 0);
    assert.deepEqual(
      lines().map(({ code, detail, caller }) => [code, detail, caller]),
      [['bad_request', 'aborted', 'backend']],
    );
    assert.deepEqual(api.seen, []);
    assert.doesNotMatch(await api.metrics(), /^pushcluster_logic_push_requests_total\{.*\} [1-9]/m);
  }
});

test('a client that leaves before its push is confirmed is not counted, for it gets no answer', async (t) => {
  const body = Buffer.from(push());
  for (const send of [DIRECT['as one piece']!, ROUTED['with another spelling of its type']!]) {
    const api = await startWithKey(t);
    const request = Buffer.concat(send(KEY, body).map((part) => Buffer.from(part)));
    const flush = api.bus.flush.bind(api.bus);
    const [asked, confirmed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    api.bus.flush = () => {
      api.bus.flush = flush;
      asked.resolve();
      return confirmed.promise;
    };
    const socket = await dialRaw(api.port, request);
    await asked.promise;
    socket.destroy();
    // Its end has arrived once a connection that came later is served.
    assert.equal((await api.request('/v1/stats')).status, 401);
    confirmed.resolve();
    const next = await dialRaw(api.port, request);
    await firstReply(next);
    next.destroy();
    const counted = () =>
      api.metrics().then((text) => text.match(/^pushcluster_logic_push_requests_total\{.*\} [1-9]\d*$/gm) ?? []);
    await until('the next push is counted', async () => (await counted()).length > 0);
    assert.deepEqual(await counted(), ['pushcluster_logic_push_requests_total{target="room",code="202"} 1']);
  }
});
