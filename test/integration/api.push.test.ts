import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Accepted, GoPushStats } from '@pushcluster/protocol/api.ts';
import { BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { NatsBus } from '@pushcluster/runtime/bus/natsBus.ts';
import { assertProblem, listen, PUSH, type Seen, startApi, startHeardApi } from '../harness/api.ts';
import { Lateness } from '../harness/lateness.ts';
import { logLines } from '../harness/logLines.ts';
import { startNatsServer } from '../harness/natsServer.ts';
import { until } from '../harness/until.ts';

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
    const [first, again] = api.seen;
    assert.ok(first && again);
    assert.deepEqual({ ...first, id: '' }, { to: 'room r', items: ['1'], id: '', urgent: true });
    assert.deepEqual(again, first);
    await api.json('/v1/push', { ...PUSH, items: [1], urgent: true, id: 'k-2' });
    assert.notEqual(api.seen[2]?.id, first.id);
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
      [
        Buffer.from('{"to":{"all":true},"items":[1,"\xff"]}', 'latin1'),
        'malformed_body',
        /byte 31 is wrong, in items\[1\]/,
      ],
      [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'malformed_body', /not valid UTF-8: byte 2/],
      [[], 'invalid_request', /^The body must be an object/],
      ['null', 'invalid_request', /^The body must be an object/],
      [{ items: [1] }, 'invalid_request', /^to is missing/],
      [{ to: {}, items: [1] }, 'invalid_request', /^to needs exactly one of/],
      [{ to: { all: true, room: 'r' }, items: [1] }, 'invalid_request', /^to needs exactly one of/],
      [{ to: { all: false }, items: [1] }, 'invalid_request', /^to\.all must be true/],
      [{ to: { rom: 'r' }, items: [1] }, 'invalid_request', /^to .*"rom"/],
      [{ to: { room: '' }, items: [1] }, 'invalid_request', /^to\.room must not be empty/],
      [{ to: { room: 'x'.repeat(129) }, items: [1] }, 'invalid_request', /^to\.room must be at most 128 bytes/],
      ['{"to":{"room":"\\ud800"},"items":[1]}', 'invalid_request', /^to\.room must be well-formed/],
      [{ to: { rooms: [] }, items: [1] }, 'invalid_request', /^to\.rooms /],
      [{ to: { users: ['u', 7] }, items: [1] }, 'invalid_request', /^to\.users\.1 must be a string/],
      [{ to: { room: 'r' } }, 'invalid_request', /^items is missing/],
      [
        { to: { room: 'r' }, itmes: [1] },
        'invalid_request',
        /^The body has an unknown field "itmes"; items is missing, must be an array\.$/,
      ],
      [{ to: { room: 'r' }, items: [] }, 'invalid_request', /^items must not be empty/],
      [{ to: { room: 'r' }, items: { 0: 1 } }, 'invalid_request', /^items /],
      [{ ...PUSH, urgnt: true }, 'invalid_request', /"urgnt"/],
      ['{"to":{"room":"r"},"items":[1],"__proto__":{}}', 'invalid_request', /"__proto__"/],
      [{ ...PUSH, urgent: 'yes' }, 'invalid_request', /^urgent must be true or false/],
      [{ ...PUSH, id: '' }, 'invalid_request', /^id must not be empty/],
      [{ ...PUSH, id: 'é'.repeat(101) }, 'invalid_request', /^id must be well-formed Unicode of at most 200 bytes/],
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

  test('is limited in body, items and item size, and names the limit and the item', async (t) => {
    const api = await startHeardApi(t, { logic: { limits: { body: 4_096, items: 5, item: 100 } } });
    const large = { to: { room: 'r' }, items: ['x'.repeat(5_000)] };
    const { detail } = assertProblem(await api.json('/v1/push', large), 413, 'body_too_large');
    assert.match(detail ?? '', /4096 bytes/);
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
    // All at once: one after the other they might be no faster than the rate.
    const replies = await Promise.all(Array.from({ length: 20 }, urgent));
    assert.ok(replies.filter(({ status }) => status === 202).length >= 2);
    const refused = replies.find(({ status }) => status !== 202);
    assert.ok(refused, 'some are refused');
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
    // So long they would wait that waited for a receipt.
    const receiptTimeout = 60_000;
    const open = () =>
      new NatsBus(
        { servers: [server.url], pingInterval: 60_000 },
        { log: logLines().log, name: t.name, receiptTimeout },
      );
    const api = await startApi(t, {}, open());
    const listener = open();
    t.after(() => listener.close());
    const seen: Seen[] = [];
    listen(listener, seen);
    await until('both are connected', () => api.bus.connected && listener.connected);
    await until('the listener hears', async () => {
      assert.equal((await api.json('/v1/push', { to: { room: 'r' }, items: ['before'] })).status, 202);
      return seen.length > 0;
    });
    await server.kill();
    await until('logic has noticed', () => !api.bus.connected);
    const begun = performance.now();
    for (const to of [{ room: 'r' }, { user: 'u' }, { all: true }])
      assertProblem(await api.json('/v1/push', { to, items: ['refused'] }), 503, 'bus_unavailable');
    assert.ok(performance.now() - begun < receiptTimeout / 2, 'they waited');
    await server.restart();
    await until('both are connected again', () => api.bus.connected && listener.connected);
    // The listener may be back a moment later than its connection.
    await until('pushes pass again, and arrive', async () => {
      const { status } = await api.json('/v1/push', { to: { room: 'r' }, items: ['after'] });
      return status === 202 && seen.some(({ items }) => items[0] === '"after"');
    });
    assert.deepEqual(new Set(seen.flatMap(({ items }) => items)), new Set(['"before"', '"after"']));
    assert.deepEqual(api.logic.ready(), [], 'a bus that goes away later is no unreadiness');
  });

  test('NATS: stopped in its tracks, it makes 503 bus_unconfirmed within the receipt timeout', async (t) => {
    const server = await startNatsServer();
    t.after(() => server.stop());
    const bus = new NatsBus(
      { servers: [server.url], pingInterval: 60_000 },
      { log: logLines().log, name: t.name, receiptTimeout: 400 },
    );
    const api = await startApi(t, {}, bus);
    await until('logic is connected', () => bus.connected);
    await server.pause();
    const lateness = Lateness.during(t);
    const begun = performance.now();
    const reply = await api.json('/v1/push', PUSH);
    const tookMs = performance.now() - begun;
    server.resume();
    assertProblem(reply, 503, 'bus_unconfirmed', /may or may not/);
    assert.ok(tookMs < 5_000 + lateness.total, `${tookMs} ms`);
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
      ['/push/all', 'items=[1,"%ff"]', 'malformed_body', /^items is not valid UTF-8: byte 4 is wrong, in items\[1\]/],
      ['/push/all', 'items=["100%"]', 'malformed_body', /%25/],
      ['/push/room', 'items=[1]', 'invalid_request', /^room /],
      ['/push/room', 'room=&items=[1]', 'invalid_request', /^room must not be empty/],
      ['/push/room', 'room=%ff&items=[1]', 'malformed_body', /not valid UTF-8/],
      ['/push/room', `room=${'x'.repeat(129)}&items=[1]`, 'invalid_request', /^room must be at most/],
    ];
    for (const [path, body, code, detail] of cases) assertProblem(await api.form(path, body), 400, code, detail);
    const large = await api.form('/push/all', `items=[1,"${'x'.repeat(40_000)}"]`);
    assertProblem(large, 413, 'item_too_large', /^items\[1\]/);
    assert.deepEqual(api.seen, []);
  });
});
