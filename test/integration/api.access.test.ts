import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Room, User } from '@pushcluster/protocol/api.ts';
import { assertProblem, PUSH, startApi, startHeardApi, temporaryFolder } from '../harness/api.ts';
import { until } from '../harness/until.ts';

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
    for (const name of ['.', '..', '...', './', '../x', 'a/b', '%2F', '?#&=+ ', '直播'.repeat(21), '%', '\0']) {
      const query = new URLSearchParams({ room: name });
      assert.equal(Room.parse((await api.request(`/v1/rooms?${query}`)).json()).room, name);
      const user = await api.request(`/v1/users?${new URLSearchParams({ user: name })}`);
      assert.equal(User.parse(user.json()).user, name);
    }
    for (const query of ['rooms?room=', 'users?user=', 'users', 'rooms?room=a&room=b', 'rooms?room=a&limit=5'])
      assertProblem(await api.request(`/v1/${query}`), 400, 'invalid_request');
    assertProblem(await api.request('/v1/rooms?room=%ff'), 400, 'bad_request');
    for (const limit of ['1e400', '0x10', '1e2', ' 5', '5.0', '', '-1', '9007199254740993'])
      assertProblem(
        await api.request(`/v1/rooms?limit=${encodeURIComponent(limit)}`),
        400,
        'invalid_request',
        /^limit /,
      );
    assertProblem(await api.request('/v1/rooms?limit=0'), 400, 'invalid_request', /^limit must be at least 1/);
    assertProblem(await api.request('/v1/rooms?limit=many'), 400, 'invalid_request', /^limit must be a number/);
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

  test('two lines of a header that may stand in one only are a problem, with keys and without', async (t) => {
    const file = join(temporaryFolder(t), 'key');
    writeFileSync(file, 'key');
    for (const apiKeys of [[], [{ name: 'a', file }]]) {
      const api = await startApi(t, { logic: { apiKeys } });
      const host = `127.0.0.1:${api.port}`;
      for (const lines of [
        `Host: ${host}\r\nHost: evil.example`,
        `Host: ${host}\r\nhost: ${host}`,
        `Host: ${host}\r\nOrigin: http://${host}\r\nOrigin: https://evil.example`,
        `Host: ${host}\r\nAuthorization: Bearer key\r\nAuthorization: Bearer other`,
        `Host: ${host}\r\nContent-Length: 0\r\nContent-Length: 1`,
        `Host: ${host}\r\nContent-Type: application/json\r\nContent-Type: text/plain`,
      ]) {
        const answer = await raw(api.port, `GET /v1/stats HTTP/1.1\r\n${lines}\r\nConnection: close\r\n\r\n`);
        assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*"bad_request"/, lines);
      }
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

  test('it listens on loopback only, whatever the host, and elsewhere as soon as there are keys', async (t) => {
    const api = await startApi(t, { logic: { host: '0.0.0.0' } });
    // 127.0.0.2 is another address of this machine, which a listener on 127.0.0.1 doesn't have.
    const elsewhere = () => dials(api.port, '127.0.0.2');
    assert.equal((await api.json('/v1/push', PUSH)).status, 202);
    assert.equal(await elsewhere(), false);
    const file = join(temporaryFolder(t), 'key');
    writeFileSync(file, 'key');
    const kept = connect(api.port, '127.0.0.1');
    t.after(() => kept.destroy());
    // Those who come to a listener when it closes are reset: this one was accepted before the next request was.
    await once(kept, 'connect');
    assert.equal((await api.json('/v1/push', PUSH)).status, 202);
    api.configure({ logic: { host: '0.0.0.0', apiKeys: [{ name: 'a', file }] } });
    await until('others get in', elsewhere);
    assertProblem(await api.json('/v1/push', PUSH), 401, 'unauthorized');
    api.configure({ logic: { host: '0.0.0.0' } });
    await until('nobody else gets in any more', async () => !(await elsewhere()));
    assert.equal((await api.json('/v1/push', PUSH)).status, 202);
    assert.equal(kept.destroyed, false);
  });

  test('what a proxy on this machine hands on is refused', async (t) => {
    const api = await startApi(t);
    const host = `127.0.0.1:${api.port}`;
    const proxied = await raw(api.port, `GET /v1/stats HTTP/1.0\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    assert.match(proxied, /^HTTP\/1\.1 403 [\s\S]*"loopback_only"/);
    const plain = `GET /v1/stats HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    assert.match(await raw(api.port, plain), /^HTTP\/1\.1 200 /);
    const sidecar = await raw(api.port, plain, '127.0.0.6');
    assert.match(sidecar, /^HTTP\/1\.1 403 [\s\S]*"loopback_only"/);
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

/** What is answered to bytes, until the server ends the connection. */
async function raw(port: number, bytes: string, localAddress = '127.0.0.1'): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', localAddress });
  socket.write(bytes);
  let answer = '';
  for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
  return answer;
}

/** Whether anybody listens there. */
async function dials(port: number, host: string): Promise<boolean> {
  const socket = connect(port, host);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
