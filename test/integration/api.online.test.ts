import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ERROR_CATALOGUE } from '@pushcluster/logic/errors/errorCatalogue.ts';
import { Disconnected, Room, Rooms, Stats, User } from '@pushcluster/protocol/api.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { assertProblem, startApi } from '../harness/api.ts';
import { FakeGateway } from '../harness/fakeGateway.ts';

describe('who is online', () => {
  test('is asked of the gateways, and every answer says how many answered', async (t) => {
    const bus = new LocalBus();
    // Longer than a busy machine takes for an answer.
    const api = await startApi(t, { logic: { askTimeout: '3s' } }, bus);
    const gateways = [new FakeGateway(bus, 'g1', { r: 3, s: 1 }, { u: 2 }), new FakeGateway(bus, 'g2', { r: 4 }, {})];
    /** Gateways that report themselves need not be waited for. */
    const ask = (path: string) => {
      for (const gateway of gateways) gateway.report();
      return api.request(path);
    };
    const both = { asked: 2, answered: 2 };
    assert.deepEqual(Rooms.strict().parse((await ask('/v1/rooms?limit=1')).json()), {
      rooms: [{ room: 'r', connections: 7 }],
      gateways: both,
    });
    assert.deepEqual(Room.strict().parse((await ask('/v1/rooms/r')).json()), {
      room: 'r',
      connections: 7,
      gateways: both,
    });
    assert.deepEqual(User.strict().parse((await ask('/v1/users/u')).json()), {
      user: 'u',
      connections: 2,
      byGateway: [{ gateway: 'g1', connections: 2 }],
      gateways: both,
    });
    const stats = Stats.strict().parse((await ask('/v1/stats')).json());
    assert.equal(stats.totals.connections, 20);
    assert.deepEqual(
      stats.byGateway.map(({ gateway }) => gateway),
      ['g1', 'g2'],
    );
    gateways[1]!.silent = true;
    assert.deepEqual(Room.parse((await ask('/v1/rooms/r')).json()), {
      room: 'r',
      connections: 3,
      gateways: { asked: 2, answered: 1 },
      partial: true,
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
      'get /v1/history',
      'get /v1/rooms',
      'get /v1/rooms/{room}',
      'get /v1/rooms/{room}/history',
      'get /v1/stats',
      'get /v1/users',
      'get /v1/users/{user}',
      'post /push/all',
      'post /push/room',
      'post /v1/disconnect',
      'post /v1/push',
      'post /v1/push/batch',
    ]);
    const asked = (path: string) =>
      document.paths[path]?.get?.parameters?.map(({ name, in: place }) => `${place} ${name}`);
    assert.deepEqual(asked('/v1/rooms'), ['query limit', 'query room']);
    assert.deepEqual(asked('/v1/users'), ['query user']);
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
          assert.equal(media?.schema.type, path.endsWith('/batch') ? 'array' : 'object', name);
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

  test('/docs loads nothing from elsewhere and lists every error code', async (t) => {
    const api = await startApi(t);
    const { status, headers, text } = await api.request('/docs');
    assert.equal(status, 200);
    assert.match(
      String(headers['content-security-policy']),
      /^default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'/,
    );
    assert.doesNotMatch(text, /(src|href)="(https?:)?\/\//);
    assert.doesNotMatch(
      text,
      /\son\w+=|style="|<script>|<style>/,
      'inline scripts, handlers and styles would be blocked',
    );
    for (const code of Object.keys(ERROR_CATALOGUE)) assert.ok(text.includes(`<tr id="${code}">`), code);
    const files = Array.from(text.matchAll(/(?:src|href)="(\/docs\/[^"]+)"/g), ([, path]) => path!);
    assert.equal(files.length, 4);
    for (const path of files) {
      const file = await api.request(path);
      assert.deepEqual([file.status, file.headers['x-content-type-options']], [200, 'nosniff'], path);
    }
  });
});
