import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { type Logic, startLogic } from '@pushcluster/logic/logic.ts';
import { CATALOGUE } from '@pushcluster/logic/problems.ts';
import {
  Accepted,
  Disconnected,
  GoPushStats,
  ProblemDocument,
  Room,
  Rooms,
  Stats,
  User,
} from '@pushcluster/protocol/api.ts';
import { type Answer, Command, type GatewayStats, type Question } from '@pushcluster/protocol/control.ts';
import { decodePush, decodeUserPush, type Items, sliceItems } from '@pushcluster/protocol/push.ts';
import { roomOfToken, Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/local.ts';
import { NatsBus } from '@pushcluster/runtime/bus/nats.ts';
import { SettingsFile } from '@pushcluster/runtime/settings.ts';
import { Registry } from 'prom-client';
import { logLines } from '../harness/logLines.ts';
import { startNatsServer } from '../harness/natsServer.ts';
import { until } from '../harness/until.ts';

const SUBJECTS = new Subjects('pushcluster');

type Reply = { status: number; headers: IncomingHttpHeaders; text: string; json: () => unknown };
type RequestOptions = {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** Send the body in chunks, without its length. */
  chunked?: boolean;
};

/** What a subscriber saw: the items as text, per message. */
type Seen = { to: string; items: string[]; id: string; urgent: boolean; users?: string[] };

class Api {
  readonly port: number;
  readonly logic: Logic;
  readonly bus: Bus;
  readonly registry: Registry;
  readonly seen: Seen[] = [];
  readonly lines: ReturnType<typeof logLines>['lines'];
  readonly #folder: string;

  constructor(parts: { logic: Logic; bus: Bus; registry: Registry; folder: string; lines: Api['lines'] }) {
    this.logic = parts.logic;
    this.port = parts.logic.port;
    this.bus = parts.bus;
    this.registry = parts.registry;
    this.#folder = parts.folder;
    this.lines = parts.lines;
  }

  request(path: string, options: RequestOptions = {}): Promise<Reply> {
    const { method = options.body === undefined ? 'GET' : 'POST', headers = {}, body, chunked = false } = options;
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const length = body === undefined || chunked ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const request = httpRequest({
      host: '127.0.0.1',
      port: this.port,
      path,
      method,
      headers: { ...length, ...headers },
    });
    request.on('error', reject).on('response', async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: () => JSON.parse(text) });
    });
    if (chunked && body !== undefined) request.write(body);
    request.end(chunked ? undefined : body);
    return promise;
  }

  json(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    const text = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
    return this.request(path, { body: text, headers: { 'content-type': 'application/json', ...headers } });
  }

  form(path: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Reply> {
    return this.request(path, { body, headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers } });
  }

  /** Replaces the settings file in one step. */
  configure(settings: object) {
    configure(this.#folder, settings);
  }

  metrics(): Promise<string> {
    return this.registry.metrics();
  }
}

function configure(folder: string, settings: object) {
  const whole = { logic: { host: '127.0.0.1', port: 0, drain: { settle: 0 } }, log: { level: 'info' } };
  const { logic = {}, ...others } = settings as { logic?: object };
  writeFileSync(join(folder, 'next'), JSON.stringify({ ...whole, ...others, logic: { ...whole.logic, ...logic } }));
  renameSync(join(folder, 'next'), join(folder, 'settings.json'));
}

async function startApi(t: TestContext, settings: object = {}, bus: Bus = new LocalBus()): Promise<Api> {
  const folder = temporaryFolder(t);
  configure(folder, settings);
  const file = SettingsFile.open(join(folder, 'settings.json'), { pollInterval: 20 });
  const registry = new Registry();
  const { log, lines } = logLines();
  const logic = await startLogic({ settings: file, bus, log, registry });
  const api = new Api({ logic, bus, registry, folder, lines });
  t.after(async () => {
    await logic.leave();
    file.close();
    await bus.close();
  });
  return api;
}

/** Starts an API whose bus a subscriber listens to. */
async function startHeardApi(t: TestContext, settings: object = {}): Promise<Api> {
  const bus = new LocalBus();
  const api = await startApi(t, settings, bus);
  listen(bus, api.seen);
  return api;
}

function listen(bus: Bus, seen: Seen[]) {
  const push = (to: (subject: string) => string) => (bytes: Uint8Array, subject: string) => {
    const { items, id, urgent } = decodePush(bytes);
    seen.push({ to: to(subject), items: textsOf(items), id, urgent });
  };
  bus.subscribe(
    SUBJECTS.all,
    push(() => 'all'),
  );
  bus.subscribe(
    'pushcluster.out.room.*',
    push((subject) => `room ${roomOfToken(subject.split('.').at(-1)!)}`),
  );
  bus.subscribe(SUBJECTS.user, (bytes) => {
    for (const { users, items, id, urgent } of decodeUserPush(bytes).entries)
      seen.push({ to: 'users', users, items: textsOf(items), id, urgent });
  });
}

function textsOf(items: Items): string[] {
  return Array.from(items.lengths, (_, i) => Buffer.from(sliceItems(items, i, i + 1).bytes).toString());
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-api-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function assertProblem(reply: Reply, status: number, code: string, detail?: RegExp) {
  const problem = ProblemDocument.parse(reply.json());
  assert.deepEqual([reply.status, problem.status, problem.code], [status, status, code], reply.text);
  assert.equal(reply.headers['content-type'], 'application/problem+json');
  if (detail) assert.match(problem.detail, detail);
  return problem;
}

const PUSH = { to: { room: 'r' }, items: [1] };

describe('POST /v1/push', () => {
  test('publishes to all, a room, rooms, a user and users', async (t) => {
    const api = await startHeardApi(t);
    for (const to of [
      { all: true },
      { room: 'r' },
      { rooms: ['a', 'b', 'a'] },
      { user: 'u' },
      { users: ['v', 'w', 'v'] },
    ]) {
      const reply = await api.json('/v1/push', { to, items: [1, 2] });
      assert.equal(reply.status, 202);
      assert.deepEqual(Accepted.strict().parse(reply.json()), { accepted: 2 });
    }
    const plain = { items: ['1', '2'], id: '', urgent: false };
    assert.deepEqual(api.seen, [
      { to: 'all', ...plain },
      { to: 'room r', ...plain },
      { to: 'room a', ...plain },
      { to: 'room b', ...plain },
      { to: 'users', users: ['u'], ...plain },
      { to: 'users', users: ['v', 'w'], ...plain },
    ]);
  });

  test('carries items byte for byte, from 1 byte to 32 KiB', async (t) => {
    const api = await startHeardApi(t);
    const items = [
      '0',
      '123456789012345678901234567890.10',
      '-0.0e-7',
      '"\\u00e9\\ud83d\\ude00\\/\\ud800"',
      '"😀 中文\u2028"',
      '{ "a" : [ 1 ,\t{"items":[]} ] ,\r\n"a":2 }',
      `"${'x'.repeat(32_766)}"`,
    ];
    const body = `{"to":{"room":"r"},\n "\\u0069tems" : [ ${items.join(' ,\n')} ] }`;
    assert.equal((await api.json('/v1/push', body)).status, 202);
    assert.deepEqual(
      api.seen.map((seen) => seen.items),
      [items],
    );
  });

  test('carries urgent and the id, and the same id again on a retry', async (t) => {
    const api = await startHeardApi(t);
    for (let i = 0; i < 2; i++) await api.json('/v1/push', { ...PUSH, urgent: true, id: 'k-1' });
    assert.deepEqual(api.seen, Array(2).fill({ to: 'room r', items: ['1'], id: 'k-1/0', urgent: true }));
  });

  test('takes rooms of any UTF-8', async (t) => {
    const api = await startHeardApi(t);
    const rooms = ['a.b*>', '直播间', 'x'.repeat(128), ' ', '__proto__', '"\\'];
    await api.json('/v1/push', { to: { rooms }, items: [1] });
    assert.deepEqual(
      api.seen.map(({ to }) => to),
      rooms.map((room) => `room ${room}`),
    );
  });

  test('refuses what does not fit, naming the place, and publishes nothing of it', async (t) => {
    const api = await startHeardApi(t);
    const cases: [body: unknown, code: string, detail: RegExp][] = [
      ['', 'malformed_body', /not JSON/],
      ['{"to":', 'malformed_body', /not JSON/],
      ['\ufeff{}', 'malformed_body', /not JSON/],
      [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'malformed_body', /not valid UTF-8: byte 2/],
      [[], 'invalid_request', /^must be an object/],
      ['null', 'invalid_request', /^must be an object/],
      [{ items: [1] }, 'invalid_request', /^to: is missing/],
      [{ to: {}, items: [1] }, 'invalid_request', /^to: needs exactly one of/],
      [{ to: { all: true, room: 'r' }, items: [1] }, 'invalid_request', /^to: needs exactly one of/],
      [{ to: { all: false }, items: [1] }, 'invalid_request', /^to\.all: must be true/],
      [{ to: { rom: 'r' }, items: [1] }, 'invalid_request', /^to: .*"rom"/],
      [{ to: { room: '' }, items: [1] }, 'invalid_request', /^to\.room: must not be empty/],
      [{ to: { room: 'x'.repeat(129) }, items: [1] }, 'invalid_request', /^to\.room: must be at most 128 bytes/],
      ['{"to":{"room":"\\ud800"},"items":[1]}', 'invalid_request', /^to\.room: must be well-formed/],
      [{ to: { rooms: [] }, items: [1] }, 'invalid_request', /^to\.rooms: /],
      [{ to: { users: ['u', 7] }, items: [1] }, 'invalid_request', /^to\.users\.1: must be a string/],
      [{ to: { room: 'r' } }, 'invalid_request', /^items: is missing/],
      [{ to: { room: 'r' }, itmes: [1] }, 'invalid_request', /^unknown "itmes"; items: is missing\.$/],
      [{ to: { room: 'r' }, items: [] }, 'invalid_request', /^items: must not be empty/],
      [{ to: { room: 'r' }, items: { 0: 1 } }, 'invalid_request', /^items: /],
      [{ ...PUSH, urgnt: true }, 'invalid_request', /"urgnt"/],
      ['{"to":{"room":"r"},"items":[1],"__proto__":{}}', 'invalid_request', /"__proto__"/],
      [{ ...PUSH, urgent: 'yes' }, 'invalid_request', /^urgent: must be true or false/],
      [{ ...PUSH, id: '' }, 'invalid_request', /^id: must not be empty/],
      [{ ...PUSH, id: 'é'.repeat(101) }, 'invalid_request', /^id: must be well-formed Unicode of at most 200 bytes/],
    ];
    for (const [body, code, detail] of cases)
      assertProblem(await api.json('/v1/push', body as string), 400, code, detail);
    assert.deepEqual(api.seen, []);
  });

  test('answers a request of a megabyte of nonsense briefly', async (t) => {
    const api = await startApi(t);
    const long = await api.json('/v1/push', { ...PUSH, ['k'.repeat(900_000)]: 1 });
    assertProblem(long, 400, 'invalid_request');
    assert.ok(long.text.length < 2_000);
    const many = await api.json('/v1/push', { to: { rooms: Array(1_000).fill(7) }, items: [1] });
    assert.equal(assertProblem(many, 400, 'invalid_request').errors?.length, 10);
  });

  test('is limited in body, items and item size, and names the item', async (t) => {
    const api = await startHeardApi(t, { logic: { limits: { body: 4_096, items: 5, item: 100 } } });
    const large = { to: { room: 'r' }, items: ['x'.repeat(5_000)] };
    assertProblem(await api.json('/v1/push', large), 413, 'body_too_large');
    const chunked = await api.request('/v1/push', {
      body: JSON.stringify(large),
      chunked: true,
      headers: { 'content-type': 'application/json' },
    });
    assertProblem(chunked, 413, 'body_too_large');
    assertProblem(
      await api.json('/v1/push', { ...PUSH, items: [1, 2, 3, 4, 5, 6] }),
      413,
      'too_many_items',
      /6 items; at most 5/,
    );
    const item = await api.json('/v1/push', { ...PUSH, items: [1, 2, 'x'.repeat(99)] });
    const problem = assertProblem(item, 413, 'item_too_large', /^items\[2\] has 101 bytes; at most 100/);
    assert.deepEqual(problem.errors, [{ pointer: '#/items/2', detail: 'has 101 bytes; at most 100 are allowed' }]);
    assert.deepEqual(api.seen, []);
    assert.equal((await api.json('/v1/push', { ...PUSH, items: [1, 2, 3, 4, 'x'.repeat(98)] })).status, 202);
  });

  test('follows changed limits at once', async (t) => {
    const api = await startApi(t, { logic: { limits: { items: 1 } } });
    const body = { ...PUSH, items: [1, 2] };
    assert.equal((await api.json('/v1/push', body)).status, 413);
    api.configure({ logic: { limits: { items: 2 } } });
    await until('the new limit counts', async () => (await api.json('/v1/push', body)).status === 202);
  });

  test('answers 429 with Retry-After to too many urgent pushes, and follows the rate', async (t) => {
    const api = await startApi(t, { logic: { urgentRate: 2 } });
    const urgent = () => api.json('/v1/push', { ...PUSH, urgent: true });
    assert.deepEqual([(await urgent()).status, (await urgent()).status], [202, 202]);
    const refused = await urgent();
    assertProblem(refused, 429, 'urgent_rate');
    assert.match(refused.headers['retry-after'] ?? '', /^[1-4]$/);
    assert.equal((await api.json('/v1/push', PUSH)).status, 202);
    api.configure({ logic: { urgentRate: 0 } });
    await until('urgent is off', async () => /turned off/.test((await urgent()).text));
    api.configure({ logic: { urgentRate: 1_000 } });
    await until('urgent is on again', async () => (await urgent()).status === 202);
  });
});

describe('a bus that fails', () => {
  test('makes 503 bus_unavailable with Retry-After', async (t) => {
    const api = await startApi(t);
    await api.bus.close();
    for (const to of [{ all: true }, { room: 'r' }, { rooms: ['a', 'b'] }, { user: 'u' }]) {
      const reply = await api.json('/v1/push', { to, items: [1] });
      assertProblem(reply, 503, 'bus_unavailable');
      assert.match(reply.headers['retry-after'] ?? '', /^[123]$/);
    }
    assertProblem(await api.form('/push/all', 'items=[1]'), 503, 'bus_unavailable');
    assertProblem(await api.request('/v1/stats'), 503, 'bus_unavailable');
    assertProblem(await api.json('/v1/disconnect', { user: 'u' }), 503, 'bus_unavailable');
    assert.equal(GoPushStats.parse((await api.request('/stats')).json()).DispatchFail, 1 + 1 + 1 + 1 + 1);
  });

  test('in part makes 207 that lists the rooms that failed', async (t) => {
    const bus = new LocalBus();
    const flush = bus.flush.bind(bus);
    let calls = 0;
    bus.flush = () => (++calls === 2 ? Promise.reject(new BusUnconfirmed('cut')) : flush());
    const api = await startApi(t, {}, bus);
    const reply = await api.json('/v1/push', { to: { rooms: ['a', 'b', 'c'] }, items: [1, 2] });
    assert.equal(reply.status, 207);
    assert.deepEqual(reply.json(), { accepted: 2, failed: [{ room: 'b', code: 'bus_unconfirmed' }] });
  });

  test('NATS: killed, it makes 503 at once, and what was refused is never delivered', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const open = () =>
      new NatsBus(
        { servers: [server.url], pingInterval: 300 },
        { log: logLines().log, name: t.name, receiptTimeout: 600 },
      );
    const api = await startApi(t, {}, open());
    const listener = open();
    t.after(() => listener.close());
    const seen: Seen[] = [];
    listen(listener, seen);
    await until('both are connected', () => api.bus.connected && listener.connected);
    assert.equal((await api.json('/v1/push', { to: { room: 'r' }, items: ['before'] })).status, 202);
    await server.kill();
    await until('logic has noticed', () => !api.bus.connected);
    const begun = performance.now();
    for (const to of [{ room: 'r' }, { user: 'u' }, { all: true }])
      assertProblem(await api.json('/v1/push', { to, items: ['refused'] }), 503, 'bus_unavailable');
    assert.ok(performance.now() - begun < 1_000);
    await server.restart();
    await until('both are connected again', () => api.bus.connected && listener.connected);
    await until(
      'pushes pass again',
      async () => (await api.json('/v1/push', { to: { room: 'r' }, items: ['after'] })).status === 202,
    );
    await until('the last has arrived', () => seen.some(({ items }) => items[0] === '"after"'));
    assert.deepEqual(new Set(seen.flatMap(({ items }) => items)), new Set(['"before"', '"after"']));
    assert.deepEqual(api.logic.ready(), [], 'a bus that goes away later is no unreadiness');
  });

  test('NATS: stopped in its tracks, it makes 503 bus_unconfirmed within the receipt timeout', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const bus = new NatsBus(
      { servers: [server.url], pingInterval: 10_000 },
      { log: logLines().log, name: t.name, receiptTimeout: 400 },
    );
    const api = await startApi(t, {}, bus);
    await until('logic is connected', () => bus.connected);
    server.pause();
    const begun = performance.now();
    const reply = await api.json('/v1/push', PUSH);
    server.resume();
    assertProblem(reply, 503, 'bus_unconfirmed', /may or may not/);
    assert.ok(performance.now() - begun < 2_000);
  });
});

describe('the API of go-push', () => {
  test('takes the forms of its README and answers 200 with nothing', async (t) => {
    const api = await startHeardApi(t);
    const replies = [
      await api.form('/push/all', 'items=[{"msg": "hi"},{"msg": "bye"}]'),
      await api.form('/push/room', 'room=default&items=[{"msg": "hi"},{"msg": "bye"}]'),
      await api.form(
        '/push/room',
        new URLSearchParams({ items: '["a b&c=d+e%", "😀"]', room: '直播 1', extra: 'x' }).toString(),
      ),
    ];
    assert.deepEqual(
      replies.map(({ status, text }) => [status, text]),
      Array(3).fill([200, '']),
    );
    assert.deepEqual(
      api.seen.map(({ to, items }) => [to, ...items]),
      [
        ['all', '{"msg": "hi"}', '{"msg": "bye"}'],
        ['room default', '{"msg": "hi"}', '{"msg": "bye"}'],
        ['room 直播 1', '"a b&c=d+e%"', '"😀"'],
      ],
    );
    assert.deepEqual(GoPushStats.strict().parse((await api.request('/stats')).json()), {
      DispatchTotal: 6,
      DispatchFail: 0,
      PushFail: 0,
    });
  });

  test('answers 400 to what is malformed, unlike go-push', async (t) => {
    const api = await startHeardApi(t);
    const cases: [path: string, body: string, code: string, detail: RegExp][] = [
      ['/push/all', '', 'invalid_request', /items/],
      ['/push/all', 'items=', 'malformed_body', /not JSON/],
      ['/push/all', 'items={}', 'malformed_body', /not a JSON array/],
      ['/push/all', 'items=[1', 'malformed_body', /not JSON/],
      ['/push/all', 'items=[]', 'invalid_request', /at least one/],
      ['/push/all', 'items=["%ff"]', 'malformed_body', /not valid UTF-8/],
      ['/push/all', 'items=["100%"]', 'malformed_body', /%25/],
      ['/push/room', 'items=[1]', 'invalid_request', /^room: /],
      ['/push/room', 'room=&items=[1]', 'invalid_request', /^room: must not be empty/],
      ['/push/room', 'room=%ff&items=[1]', 'malformed_body', /not valid UTF-8/],
      ['/push/room', `room=${'x'.repeat(129)}&items=[1]`, 'invalid_request', /^room: must be at most/],
    ];
    for (const [path, body, code, detail] of cases) assertProblem(await api.form(path, body), 400, code, detail);
    const large = await api.form('/push/all', `items=[1,"${'x'.repeat(40_000)}"]`);
    assertProblem(large, 413, 'item_too_large', /^items\[1\]/);
    assert.deepEqual(api.seen, []);
  });
});

describe('HTTP', () => {
  test('unknown routes, wrong methods and wrong types are problems', async (t) => {
    const api = await startApi(t);
    assertProblem(await api.request('/v2/push'), 404, 'not_found');
    assertProblem(await api.request('/v1/rooms/'), 400, 'invalid_request', /must not be empty/);
    const wrong = await api.request('/v1/push', { method: 'PUT', body: '{}' });
    assertProblem(wrong, 405, 'method_not_allowed');
    assert.equal(wrong.headers.allow, 'POST, OPTIONS');
    assertProblem(await api.request('/v1/push'), 405, 'method_not_allowed');
    assertProblem(await api.request('/v1/rooms/r', { method: 'DELETE' }), 405, 'method_not_allowed');
    assertProblem(await api.form('/v1/push', 'items=[1]'), 415, 'unsupported_media_type');
    assertProblem(await api.json('/push/all', '{"items":[1]}'), 415, 'unsupported_media_type');
    assertProblem(await api.request('/v1/push', { body: '{}' }), 415, 'unsupported_media_type');
    assertProblem(await api.json('/v1/push', PUSH, { 'content-encoding': 'gzip' }), 415, 'unsupported_media_type');
    assertProblem(await api.request('/v1/push', { method: 'POST' }), 400, 'malformed_body');
    assert.equal((await api.json('/v1/push', PUSH, { 'content-type': 'application/json; charset=utf-8' })).status, 202);
    const options = await api.request('/v1/stats', { method: 'OPTIONS' });
    assert.deepEqual([options.status, options.headers.allow], [204, 'GET, HEAD, OPTIONS']);
  });

  test('names in a path may be any UTF-8 of 128 bytes, but not more and not broken', async (t) => {
    const api = await startApi(t, { logic: { askTimeout: '50ms' } });
    for (const room of ['a/b?#', '直播'.repeat(21), '%', '..', '😀'.repeat(32)]) {
      const reply = await api.request(`/v1/rooms/${encodeURIComponent(room)}`);
      assert.equal(Room.parse(reply.json()).room, room);
    }
    assertProblem(await api.request(`/v1/rooms/${'x'.repeat(129)}`), 400, 'invalid_request');
    for (const path of ['%ff', '%zz', 'x'.repeat(400)])
      assertProblem(await api.request(`/v1/rooms/${path}`), 400, 'bad_request');
    assertProblem(await api.request('/v1/rooms?limit=0'), 400, 'invalid_request', /^limit: must be at least 1/);
    assertProblem(await api.request('/v1/rooms?limit=many'), 400, 'invalid_request', /^limit: must be a number/);
    assertProblem(await api.request('/v1/rooms?lmit=5'), 400, 'invalid_request', /"lmit"/);
  });

  test('what is not HTTP is told so and cut', async (t) => {
    const api = await startApi(t);
    for (const [text, status] of [
      ['HELLO\r\n\r\n', '400'],
      [`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, '431'],
    ] as const) {
      const socket = connect(api.port, '127.0.0.1');
      socket.write(text);
      let answer = '';
      for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
      assert.match(answer, new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*application/problem\\+json`));
    }
  });

  test('a refusal is logged with who and why, a push is not', async (t) => {
    const api = await startApi(t);
    await api.json('/v1/push', PUSH);
    const before = api.lines.length;
    await api.json('/v1/push', PUSH);
    assert.equal(api.lines.length, before);
    await api.json('/v1/push', { ...PUSH, items: [] });
    const line = api.lines.at(-1);
    assert.deepEqual(
      [line?.code, line?.path, line?.peer, line?.caller],
      ['invalid_request', '/v1/push', '127.0.0.1', 'loopback'],
    );
  });
});

describe('API keys', () => {
  async function startWithKeys(t: TestContext) {
    const folder = temporaryFolder(t);
    const file = (name: string, text: string) => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const apiKeys = [
      { name: 'root', file: file('root', 'root-key\n') },
      { name: 'comments', file: file('comments', 'old\nnew\n'), scope: { rooms: ['live-*'] } },
      { name: 'viewer', file: file('viewer', 'viewer-key'), scope: { read: true } },
    ];
    const api = await startApi(t, { logic: { apiKeys, askTimeout: '50ms' } });
    return { api, apiKeys, file };
  }
  const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

  test('are needed on every route but the documentation, and no Host is refused then', async (t) => {
    const { api } = await startWithKeys(t);
    const refused = await api.json('/v1/push', PUSH);
    assertProblem(refused, 401, 'unauthorized');
    assert.match(refused.headers['www-authenticate'] ?? '', /^Bearer /);
    for (const path of ['/v1/rooms', '/v1/rooms/r', '/v1/users/u', '/v1/stats', '/stats'])
      assertProblem(await api.request(path), 401, 'unauthorized');
    assertProblem(await api.form('/push/all', 'items=[1]'), 401, 'unauthorized');
    assertProblem(await api.json('/v1/disconnect', { user: 'u' }), 401, 'unauthorized');
    assertProblem(await api.json('/v1/push', PUSH, bearer('wrong')), 401, 'unauthorized');
    for (const path of ['/docs', '/openapi.json']) assert.equal((await api.request(path)).status, 200);
    const named = await api.json('/v1/push', PUSH, { ...bearer('root-key'), host: 'push.example' });
    assert.equal(named.status, 202);
  });

  test('do what their scope names, and a refusal says what it lacks', async (t) => {
    const { api } = await startWithKeys(t);
    const push = (to: object, key: string) => api.json('/v1/push', { to, items: [1] }, bearer(key));
    assert.equal((await push({ room: 'live-1' }, 'new')).status, 202);
    assert.equal((await push({ rooms: ['live-1', 'live-2'] }, 'old')).status, 202);
    assertProblem(await push({ rooms: ['live-1', 'x'] }, 'new'), 403, 'forbidden', /"comments".*rooms.*"x"/);
    assertProblem(await push({ all: true }, 'new'), 403, 'forbidden', /lacks all/);
    assertProblem(await push({ user: 'u' }, 'new'), 403, 'forbidden', /users/);
    assertProblem(await api.form('/push/all', 'items=[1]', bearer('new')), 403, 'forbidden', /lacks all/);
    assert.equal((await api.form('/push/room', 'room=live-1&items=[1]', bearer('new'))).status, 200);
    assertProblem(await api.request('/v1/stats', { headers: bearer('new') }), 403, 'forbidden', /lacks read/);
    assert.equal((await api.request('/v1/stats', { headers: bearer('viewer-key') })).status, 200);
    assertProblem(
      await api.json('/v1/disconnect', { room: 'live-1' }, bearer('new')),
      403,
      'forbidden',
      /lacks disconnect/,
    );
    assert.equal((await api.json('/v1/disconnect', { room: 'x' }, bearer('root-key'))).status, 202);
  });

  test('rotate with their file, and follow the settings', async (t) => {
    const { api, apiKeys, file } = await startWithKeys(t);
    const push = async (key: string) =>
      (await api.json('/v1/push', { to: { room: 'live-1' }, items: [1] }, bearer(key))).status;
    file('comments', 'new\nnewest\n');
    await until('the newest key counts', async () => (await push('newest')) === 202);
    assert.deepEqual([await push('new'), await push('old')], [202, 401]);
    api.configure({ logic: { apiKeys: apiKeys.slice(1) } });
    await until('the removed key is refused', async () => (await push('root-key')) === 401);
    assert.equal(await push('newest'), 202);
  });

  test('of which a file is missing stop the start with a sentence', async (t) => {
    const apiKeys = [{ name: 'a', file: '/nowhere/key' }];
    await assert.rejects(startApi(t, { logic: { apiKeys } }), /\/nowhere\/key/);
  });
});

describe('without API keys', () => {
  test('a Host that is not loopback, and what a proxy forwards, is refused', async (t) => {
    const api = await startApi(t);
    assertProblem(await api.json('/v1/push', PUSH, { host: 'evil.example' }), 403, 'loopback_only');
    assertProblem(await api.json('/v1/push', PUSH, { 'x-forwarded-for': '10.0.0.1' }), 403, 'loopback_only');
    assertProblem(await api.request('/docs', { headers: { host: 'evil.example' } }), 403, 'loopback_only');
    assert.equal((await api.json('/v1/push', PUSH, { host: `localhost:${api.port}` })).status, 202);
  });

  test('pages of other origins are refused, forms too, before anything is published', async (t) => {
    const api = await startHeardApi(t);
    const origin = { origin: 'https://evil.example' };
    assertProblem(await api.json('/v1/push', PUSH, origin), 403, 'origin_forbidden');
    assertProblem(await api.form('/push/all', 'items=[1]', origin), 403, 'origin_forbidden');
    assertProblem(await api.form('/push/all', 'items=[1]', { origin: 'null' }), 403, 'origin_forbidden');
    assertProblem(
      await api.form('/push/all', 'items=[1]', { 'sec-fetch-site': 'cross-site' }),
      403,
      'origin_forbidden',
    );
    const preflight = await api.request('/v1/push', {
      method: 'OPTIONS',
      headers: { ...origin, 'access-control-request-method': 'POST' },
    });
    assertProblem(preflight, 403, 'origin_forbidden');
    assert.equal(preflight.headers['access-control-allow-origin'], undefined);
    assert.deepEqual(api.seen, []);
  });

  test('pages of a listed origin may push, after a preflight', async (t) => {
    const origin = 'http://127.0.0.1:7777';
    const api = await startApi(t, { logic: { allowedOrigins: [origin] } });
    const preflight = await api.request('/v1/push', {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type',
        'access-control-request-private-network': 'true',
      },
    });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers['access-control-allow-origin'], origin);
    assert.match(preflight.headers['access-control-allow-headers'] ?? '', /content-type/);
    assert.match(preflight.headers['access-control-allow-methods'] ?? '', /POST/);
    assert.equal(preflight.headers['access-control-allow-private-network'], 'true');
    assert.equal(preflight.headers.vary, 'Origin');
    const push = await api.json('/v1/push', PUSH, { origin });
    assert.deepEqual([push.status, push.headers['access-control-allow-origin']], [202, origin]);
    const wrong = await api.json('/v1/push', {}, { origin });
    assert.deepEqual([wrong.status, wrong.headers['access-control-allow-origin']], [400, origin]);
  });
});

describe('who is online', () => {
  test('is asked of the gateways, and every answer says how many answered', async (t) => {
    const bus = new LocalBus();
    const api = await startApi(t, { logic: { askTimeout: '300ms' } }, bus);
    const gateways = [new FakeGateway(bus, 'g1', { r: 3, s: 1 }, { u: 2 }), new FakeGateway(bus, 'g2', { r: 4 }, {})];
    const both = { asked: 2, answered: 2 };
    assert.deepEqual(Rooms.strict().parse((await api.request('/v1/rooms?limit=1')).json()), {
      rooms: [{ room: 'r', connections: 7 }],
      gateways: both,
    });
    assert.deepEqual(Room.strict().parse((await api.request('/v1/rooms/r')).json()), {
      room: 'r',
      connections: 7,
      gateways: both,
    });
    assert.deepEqual(User.strict().parse((await api.request('/v1/users/u')).json()), {
      user: 'u',
      connections: 2,
      byGateway: [{ gateway: 'g1', connections: 2 }],
      gateways: both,
    });
    const stats = Stats.strict().parse((await api.request('/v1/stats')).json());
    assert.equal(stats.totals.connections, 20);
    assert.deepEqual(
      stats.byGateway.map(({ gateway }) => gateway),
      ['g1', 'g2'],
    );
    gateways[1]!.silent = true;
    for (const gateway of gateways) gateway.report();
    assert.deepEqual(Room.parse((await api.request('/v1/rooms/r')).json()), {
      room: 'r',
      connections: 3,
      gateways: { asked: 2, answered: 1 },
    });
  });

  test('POST /v1/disconnect tells every gateway', async (t) => {
    const bus = new LocalBus();
    const api = await startApi(t, {}, bus);
    const gateway = new FakeGateway(bus, 'g1', {}, {});
    gateway.report();
    await bus.flush();
    const reply = await api.json('/v1/disconnect', { user: 'u', reason: 'spam' });
    assert.equal(reply.status, 202);
    assert.deepEqual(Disconnected.strict().parse(reply.json()), { gateways: { told: 1 } });
    assert.equal((await api.json('/v1/disconnect', { room: 'r' })).status, 202);
    assert.deepEqual(gateway.commands, [
      { type: 'disconnect_user', user: 'u', reason: 'spam' },
      { type: 'disconnect_room', room: 'r', reason: 'disconnected by the API' },
    ]);
    for (const body of [{}, { user: 'u', room: 'r' }, { user: 'u', reason: 'x'.repeat(124) }, { usr: 'u' }])
      assertProblem(await api.json('/v1/disconnect', body), 400, 'invalid_request');
  });
});

describe('the documentation', () => {
  test('/openapi.json is OpenAPI 3.1 and lists every route', async (t) => {
    const api = await startApi(t);
    const reply = await api.request('/openapi.json');
    const document = reply.json() as {
      openapi: string;
      info: { title: string; version: string };
      paths: Record<string, Record<string, Operation>>;
      components: { securitySchemes: object };
    };
    type Operation = {
      operationId: string;
      summary: string;
      security: object[];
      parameters?: { name: string; in: string; required: boolean; schema: object }[];
      requestBody?: { content: Record<string, { schema: { type: string; properties: object } }> };
      responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
    };
    assert.match(document.openapi, /^3\.1\./);
    assert.ok(document.info.title && document.info.version);
    const listed = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    assert.deepEqual(listed.sort(), [
      'get /stats',
      'get /v1/rooms',
      'get /v1/rooms/{room}',
      'get /v1/stats',
      'get /v1/users/{user}',
      'post /push/all',
      'post /push/room',
      'post /v1/disconnect',
      'post /v1/push',
    ]);
    const ids = new Set<string>();
    for (const [path, methods] of Object.entries(document.paths))
      for (const [method, operation] of Object.entries(methods)) {
        const name = `${method} ${path}`;
        ids.add(operation.operationId);
        assert.ok(operation.summary, name);
        assert.deepEqual(operation.security, [{ key: [] }], name);
        for (const [, parameter] of path.matchAll(/\{(\w+)\}/g))
          assert.ok(
            operation.parameters?.some((one) => one.name === parameter && one.in === 'path' && one.required),
            name,
          );
        if (method === 'post') {
          const [type, media] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
          assert.equal(type, path.startsWith('/v1/') ? 'application/json' : 'application/x-www-form-urlencoded', name);
          assert.equal(media?.schema.type, 'object', name);
        }
        const statuses = Object.keys(operation.responses);
        assert.ok(statuses.some((status) => status.startsWith('2')) && statuses.includes('401'), name);
        for (const [status, { description, content }] of Object.entries(operation.responses)) {
          assert.ok(description && description !== 'Default Response', `${name} ${status}`);
          if (Number(status) >= 400)
            assert.deepEqual(Object.keys(content ?? {}), ['application/problem+json'], `${name} ${status}`);
        }
      }
    assert.equal(ids.size, listed.length);
    // Everything that is referred to is there.
    for (const [, reference] of reply.text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      const target = reference!
        .split('/')
        .reduce<unknown>((part, key) => (part as Record<string, unknown>)?.[key], document);
      assert.ok(target, reference);
    }
  });

  test('/docs is one page that loads nothing from elsewhere and lists every error code', async (t) => {
    const api = await startApi(t);
    const { status, headers, text } = await api.request('/docs');
    assert.equal(status, 200);
    assert.match(
      String(headers['content-security-policy']),
      /^default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'/,
    );
    assert.doesNotMatch(text, /(src|href)="(https?:)?\/\//);
    assert.doesNotMatch(text, /\son\w+=|style="/, 'inline handlers and styles would be blocked');
    for (const code of Object.keys(CATALOGUE)) assert.ok(text.includes(`<tr id="${code}">`), code);
  });
});

describe('logic as a process', () => {
  test('counts pushes by target and status, in labels that no caller chooses', async (t) => {
    const api = await startApi(t);
    await api.json('/v1/push', { to: { rooms: ['a', 'b'] }, items: [1, 2] });
    await api.json('/v1/push', { to: { room: 'secret' }, items: [] });
    await api.form('/push/all', 'items=[1]');
    await api.form('/push/all', 'items=');
    const metrics = await api.metrics();
    for (const line of [
      'pushcluster_logic_push_requests_total{target="rooms",code="202"} 1',
      'pushcluster_logic_push_requests_total{target="unknown",code="400"} 1',
      'pushcluster_logic_push_requests_total{target="all",code="200"} 1',
      'pushcluster_logic_push_requests_total{target="all",code="400"} 1',
      'pushcluster_logic_messages_total{target="rooms"} 4',
      'pushcluster_logic_messages_total{target="all"} 1',
      'pushcluster_logic_publish_seconds_count 2',
    ])
      assert.ok(metrics.includes(`${line}\n`), `${line} in\n${metrics}`);
    assert.doesNotMatch(metrics, /secret/);
    assert.match(await api.metrics(), /target="rooms",code="202"} 1\n/, 'a scrape does not count twice');
  });

  test('leaving: unready at once, finishes what is under way, and waits for nobody else', async (t) => {
    const bus = new LocalBus();
    const receipt = Promise.withResolvers<void>();
    const flush = bus.flush.bind(bus);
    let flushes = 0;
    bus.flush = () => {
      flushes++;
      return receipt.promise.then(flush);
    };
    const api = await startApi(t, { logic: { drain: { settle: '300ms', timeout: '10s' } } }, bus);
    const silent = connect(api.port, '127.0.0.1');
    t.after(() => silent.destroy());
    await once(silent, 'connect');
    const underWay = api.json('/v1/push', PUSH);
    await until('the push waits for its receipt', () => flushes === 1);
    assert.deepEqual(api.logic.ready(), []);
    const left = api.logic.leave();
    assert.deepEqual(api.logic.ready(), ['leaving']);
    const settling = await api.request('/docs');
    assert.deepEqual([settling.status, settling.headers.connection], [200, 'close']);
    await until('new connections are refused', async () => {
      try {
        await api.request('/docs');
        return false;
      } catch {
        return true;
      }
    });
    receipt.resolve();
    assert.equal((await underWay).status, 202);
    const answered = performance.now();
    await left;
    assert.ok(performance.now() - answered < 2_000, 'it waited for a connection that never said anything');
    bus.flush = flush;
  });

  test('leaving ends by its timeout though a request never ends', async (t) => {
    const bus = new LocalBus();
    bus.flush = () => new Promise(() => {});
    const api = await startApi(t, { logic: { drain: { settle: 0, timeout: '1s' } } }, bus);
    const cut = assert.rejects(api.json('/v1/push', PUSH));
    await until(
      'the push is under way',
      async () => !(await api.metrics()).includes('logic_publish_in_flight_bytes 0\n'),
    );
    const begun = performance.now();
    await api.logic.leave();
    await cut;
    assert.ok(performance.now() - begun < 5_000);
    bus.flush = () => Promise.resolve();
  });

  test('a port that is taken is said in a sentence', async (t) => {
    const api = await startApi(t);
    await assert.rejects(startApi(t, { logic: { port: api.port } }), /port \d+ is taken/);
  });

  test('follows the log level', async (t) => {
    const api = await startApi(t);
    api.configure({ log: { level: 'error' } });
    await until('refusals are no longer logged', async () => {
      const before = api.lines.length;
      await api.request('/nope');
      return api.lines.length === before;
    });
  });

  test('starts by its command line, is ready, and ends with 0 on SIGTERM', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(
      join(folder, 'settings.yaml'),
      'logic: { host: 127.0.0.1, port: 0, drain: { settle: 0 } }\nadmin: { host: 127.0.0.1, port: 0 }\n',
    );
    const process_ = startMain(['--config', join(folder, 'settings.yaml')]);
    t.after(() => process_.child.kill('SIGKILL'));
    await until('logic is up', () => process_.output.includes('logic is up'));
    const { port, admin } = JSON.parse(
      process_.output.split('\n').find((line) => line.includes('logic is up')) ?? '{}',
    );
    assert.equal((await fetch(`http://127.0.0.1:${admin}/readyz`)).status, 200);
    const push = await fetch(`http://127.0.0.1:${port}/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(PUSH),
    });
    assert.equal(push.status, 202);
    assert.match(await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text(), /pushcluster_bus_connected 1\n/);
    process_.child.kill('SIGTERM');
    const [code] = await once(process_.child, 'exit');
    assert.equal(code, 0, process_.output);
  });

  test('does not start with wrong settings, and says which', async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(join(folder, 'settings.yaml'), 'logic: { prot: 1 }\n');
    const process_ = startMain(['--config', join(folder, 'settings.yaml')]);
    const [code] = await once(process_.child, 'exit');
    assert.equal(code, 1);
    assert.match(process_.output, /^logic: .*prot/m);
  });
});

function startMain(parameters: string[]) {
  const main = new URL(import.meta.resolve('@pushcluster/logic/main.ts')).pathname;
  const child = spawn(process.execPath, [main, ...parameters], { stdio: ['ignore', 'pipe', 'pipe'] });
  const started = { child, output: '' };
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      started.output += text;
    });
  return started;
}

/** Answers questions on the bus as a gateway with these rooms and users. */
class FakeGateway {
  silent = false;
  readonly commands: Command[] = [];
  readonly #bus: Bus;
  readonly #name: string;

  constructor(bus: Bus, name: string, rooms: Record<string, number>, users: Record<string, number>) {
    this.#bus = bus;
    this.#name = name;
    bus.subscribe(SUBJECTS.command, (bytes) => {
      const command = Command.parse(JSON.parse(Buffer.from(bytes).toString()));
      if (!('ask' in command)) this.commands.push(command);
      else if (!this.silent) this.#say(command.reply, this.#answer(command, rooms, users));
    });
  }

  report() {
    this.#say(SUBJECTS.stat(this.#name), { ...this.#stats(), leaving: false });
  }

  #answer(question: Question, rooms: Record<string, number>, users: Record<string, number>): Answer {
    const head = { ask: question.ask, gateway: this.#name };
    switch (question.type) {
      case 'rooms': {
        const list = Object.entries(rooms).map(([room, connections]) => ({ room, connections }));
        return { type: 'rooms', ...head, rooms: list.slice(0, question.limit) };
      }
      case 'room':
        return { type: 'room', ...head, connections: rooms[question.room] ?? 0 };
      case 'user':
        return { type: 'user', ...head, connections: users[question.user] ?? 0 };
      case 'stats':
        return { type: 'stats', ...head, stats: this.#stats() };
    }
  }

  #stats(): GatewayStats {
    return {
      gateway: this.#name,
      connections: 10,
      rooms: 2,
      shards: 1,
      messagesDelivered: 5,
      framesSent: 4,
      bytesSent: 300,
      messagesDropped: 0,
      draining: false,
      startedAt: 1,
    };
  }

  #say(subject: string, value: object) {
    this.#bus.publish(subject, Buffer.from(JSON.stringify(value)));
  }
}
