import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { MAX_BATCH_TARGETS, PushAnswers } from '@pushcluster/protocol/api.ts';
import { BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { assertProblem, listen, PUSH, type Reply, startApi, startHeardApi } from '../harness/api.ts';

const PATH = '/v1/push/batch';
const answersOf = (reply: Reply) => {
  assert.equal(reply.status, 200, reply.text);
  return PushAnswers.parse(reply.json());
};
const codesOf = (reply: Reply) => answersOf(reply).map((answer) => ('code' in answer ? answer.code : answer.status));
const ndjson = { 'content-type': 'application/x-ndjson' };

describe('POST /v1/push/batch', () => {
  test('makes pushes to any targets, in order, from an array and from lines, byte for byte', async (t) => {
    const pushes = [
      '{"to":{"all":true},"items":[1.0]}',
      '{"to":{"room":"r"},"items":[ {"a" : 1} , 12345678901234567890 ],"urgent":true}',
      '{"to":{"rooms":["a","b"]},"items":["x"]}',
      '{"to":{"room":"r"},"\\u0069tems":["\\u00e9"]}',
      '{"to":{"user":"u"},"items":[1]}',
    ];
    for (const lines of [false, true]) {
      const api = await startHeardApi(t);
      const reply = lines
        ? await api.json(PATH, `${pushes.join('\n')}\n`, ndjson)
        : await api.json(PATH, `[${pushes.join(',')}]`);
      assert.deepEqual(
        answersOf(reply),
        [1, 2, 1, 1, 1].map((accepted) => ({ status: 202, accepted })),
      );
      assert.match(String(reply.headers['content-type']), /^application\/json/);
      const toUsers = api.seen.filter(({ to }) => to === 'users');
      assert.deepEqual(
        toUsers.map(({ users, items }) => [users, items]),
        [[['u'], ['1']]],
      );
      assert.deepEqual(
        api.seen.filter(({ to }) => to !== 'users').map(({ to, items, urgent }) => [to, items, urgent]),
        [
          ['all', ['1.0'], false],
          ['room r', ['{"a" : 1}', '12345678901234567890'], true],
          ['room a', ['"x"'], false],
          ['room b', ['"x"'], false],
          ['room r', ['"\\u00e9"'], false],
        ],
      );
    }
  });

  test('has the pushes of one room in order, also around one to many rooms that needs several waves', async (t) => {
    const api = await startHeardApi(t);
    const rooms = Array.from({ length: 1_000 }, (_, i) => `r${i}`);
    const reply = await api.json(PATH, [
      { to: { room: 'r999' }, items: ['first'] },
      { to: { rooms }, items: ['x'.repeat(30_000)] },
      { to: { room: 'r999' }, items: ['last'] },
    ]);
    assert.deepEqual(codesOf(reply), [202, 202, 202]);
    const seen = api.seen.filter(({ to }) => to === 'room r999').map(({ items }) => items[0]!.slice(0, 6));
    assert.deepEqual(seen, ['"first', '"xxxxx', '"last"']);
  });

  test('has them in order on a bus whose messages are small, so that a push takes many', async (t) => {
    class SmallBus extends LocalBus {
      override readonly maxPayload = 4_096;
    }
    const bus = new SmallBus();
    const api = await startApi(t, {}, bus);
    listen(bus, api.seen);
    const rooms = Array.from({ length: 8 }, (_, i) => `r${i}`);
    const reply = await api.json(PATH, [
      { to: { rooms }, items: Array(480).fill('x'.repeat(2_000)) },
      { to: { room: 'r7' }, items: ['after'] },
    ]);
    assert.deepEqual(codesOf(reply), [202, 202]);
    const seen = api.seen.filter(({ to }) => to === 'room r7').flatMap(({ items }) => items);
    assert.equal(seen.length, 481);
    assert.equal(seen.indexOf('"after"'), 480);
  });

  test('has them in order however small the items are that fill the waves', async (t) => {
    const api = await startHeardApi(t);
    const rooms = Array.from({ length: 1_000 }, (_, i) => `r${i}`);
    const reply = await api.json(PATH, [
      { to: { rooms }, items: Array(1_000).fill(1234) },
      { to: { room: 'r999' }, items: ['after'] },
    ]);
    assert.deepEqual(codesOf(reply), [202, 202]);
    const seen = api.seen.filter(({ to }) => to === 'room r999').map(({ items }) => items[0]);
    assert.deepEqual(seen, ['1234', '"after"']);
  });

  test('takes the media type in any case', async (t) => {
    const api = await startHeardApi(t);
    const line = JSON.stringify(PUSH);
    for (const type of ['Application/X-NDJSON', 'application/x-ndjson; charset=utf-8'])
      assert.deepEqual(codesOf(await api.json(PATH, `${line}\n${line}`, { 'content-type': type })), [202, 202]);
  });

  test('answers each push that is refused by itself, with a pointer into that push, and makes the others', async (t) => {
    const api = await startHeardApi(t, { logic: { limits: { items: 2, item: 100 }, urgentRate: 0 } });
    const reply = await api.json(PATH, [
      PUSH,
      7,
      { to: { room: '' }, items: [1] },
      { ...PUSH, itmes: [1] },
      { ...PUSH, items: [1, 2, 3] },
      { ...PUSH, items: ['x'.repeat(200)] },
      { ...PUSH, urgent: true },
      { to: { room: 's' }, items: [2] },
    ]);
    assert.deepEqual(codesOf(reply), [
      202,
      'invalid_request',
      'invalid_request',
      'invalid_request',
      'too_many_items',
      'item_too_large',
      'urgent_rate',
      202,
    ]);
    const answers = answersOf(reply);
    assert.ok('code' in answers[1]! && 'code' in answers[2]! && 'code' in answers[3]! && 'code' in answers[6]!);
    assert.equal(answers[1].detail, 'The push must be an object.');
    assert.deepEqual(answers[2].errors, [{ pointer: '#/to/room', detail: 'must not be empty' }]);
    assert.equal(answers[3].detail, 'The push has an unknown field "itmes".');
    assert.ok((answers[6].retryAfter ?? 0) >= 60);
    assert.deepEqual(
      api.seen.map(({ to, items }) => [to, items]),
      [
        ['room r', ['1']],
        ['room s', ['2']],
      ],
    );
    const metrics = await api.registry.metrics();
    for (const [target, code, count] of [
      ['room', 202, 2],
      ['room', 413, 2],
      ['room', 429, 1],
      ['unknown', 400, 3],
    ])
      assert.ok(
        metrics.includes(`pushcluster_logic_push_requests_total{target="${target}",code="${code}"} ${count}\n`),
        `${target} ${code}`,
      );
    const lines = api.lines.filter(({ msg }) => msg === 'pushes of a batch refused');
    assert.deepEqual(
      lines.map(({ refused, pushes }) => ({ refused, pushes })),
      [
        {
          refused: { invalid_request: 3, too_many_items: 1, item_too_large: 1, urgent_rate: 1 },
          pushes: 8,
        },
      ],
    );
  });

  test('refuses as a whole what is no batch, is too large, or names too many rooms and users', async (t) => {
    const api = await startHeardApi(t);
    const refused = async (body: unknown, status: number, code: string, detail?: RegExp) =>
      assertProblem(await api.json(PATH, body), status, code, detail);
    await refused('', 400, 'malformed_body');
    await refused('[1', 400, 'malformed_body', /not JSON/);
    await refused(Buffer.from('[{"to":{"all":true},"items":["\xff"]}]', 'latin1'), 400, 'malformed_body', /UTF-8/);
    await refused(PUSH, 400, 'invalid_request', /must be an array of pushes/);
    await refused([], 400, 'invalid_request', /at least one push/);
    await refused(Array(1_001).fill(PUSH), 413, 'too_many_pushes', /more than 1000 pushes/);
    const rooms = Array.from({ length: MAX_BATCH_TARGETS / 10 }, (_, i) => `r${i}`);
    await refused(Array(11).fill({ to: { rooms }, items: [1] }), 413, 'too_many_pushes', /names 11000 rooms and users/);
    const nameless = { to: { rooms: Array(331).fill('') }, items: [1] };
    await refused(Array(900).fill(nameless), 413, 'too_many_pushes', /names 297900 rooms and users/);
    await refused(['x'.repeat(2_000_000)], 413, 'body_too_large');
    assertProblem(
      await api.request(PATH, { body: '[]', headers: { 'content-type': 'text/plain' } }),
      415,
      'unsupported_media_type',
    );
    assertProblem(await api.request(PATH), 405, 'method_not_allowed');
    assert.deepEqual(api.seen, []);
  });

  test('checks the scope of the key for each push, and a key at all for the request', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'pushcluster-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'key');
    writeFileSync(file, 'the-key');
    const api = await startHeardApi(t, { logic: { apiKeys: [{ name: 'chat', file, scope: { rooms: ['chat-*'] } }] } });
    const batch = [
      { to: { room: 'chat-1' }, items: [1] },
      { to: { room: 'news' }, items: [1] },
      { to: { all: true }, items: [1] },
    ];
    assertProblem(await api.json(PATH, batch), 401, 'unauthorized');
    const reply = await api.json(PATH, batch, { authorization: 'Bearer the-key' });
    assert.deepEqual(codesOf(reply), [202, 'forbidden', 'forbidden']);
    assert.deepEqual(
      api.seen.map(({ to }) => to),
      ['room chat-1'],
    );
  });

  test('gives the same id to a push of a batch and to its retry alone', async (t) => {
    const api = await startHeardApi(t);
    await api.json(PATH, [PUSH, { ...PUSH, id: 'k-1' }]);
    await api.json('/v1/push', { ...PUSH, id: 'k-1' });
    const ids = api.seen.map(({ id }) => id);
    assert.equal(ids[0], '');
    assert.notEqual(ids[1], '');
    assert.equal(ids[2], ids[1]);
  });

  test('tells a bus that fails by each push: 207, bus_unconfirmed, bus_unavailable with retryAfter', async (t) => {
    const bus = new LocalBus();
    const flush = bus.flush.bind(bus);
    let calls = 0;
    bus.flush = () => (++calls <= 2 ? Promise.reject(new BusUnconfirmed('cut')) : flush());
    const api = await startApi(t, {}, bus);
    const reply = await api.json(PATH, [PUSH, { to: { rooms: ['a', 'b'] }, items: [1] }, PUSH]);
    assert.deepEqual(codesOf(reply), ['bus_unconfirmed', 207, 202]);
    assert.deepEqual(answersOf(reply)[1], {
      status: 207,
      accepted: 1,
      failed: [{ room: 'a', code: 'bus_unconfirmed' }],
    });
    await bus.close();
    const [answer] = answersOf(await api.json(PATH, [PUSH]));
    assert.ok(answer && 'code' in answer && answer.code === 'bus_unavailable' && (answer.retryAfter ?? 0) >= 1);
  });
});
