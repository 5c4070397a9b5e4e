import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createLog } from '@pushcluster/runtime/log.ts';
import { ApiKeys } from '../access/apiKeys.ts';
import { acceptJson } from './bodyParsers.ts';
import { createServer, type ServerOptions } from './server.ts';

async function start(t: TestContext, options: Partial<ServerOptions> = {}) {
  const lines: { err?: Error; message: string }[] = [];
  const add = (fields: object, message: string) => lines.push({ ...fields, message });
  const app = await createServer({
    keys: new ApiKeys([], createLog('test', 'error')),
    allowedOrigins: () => [],
    log: { info: add, warn: add, error: add },
    bodyLimit: 1_024,
    leaving: () => false,
    onConnectionRefused: () => assert.fail('no connection is refused here'),
    onUnread: () => assert.fail('every response is read here'),
    ...options,
  });
  acceptJson(app);
  app.post('/body', () => 'read');
  app.get('/broken', () => {
    throw new Error('the reason');
  });
  const url = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
  t.after(() => app.close());
  return { port: Number(url.port), url, lines };
}

async function everything(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.write(text);
  let answer = '';
  for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
  return answer;
}

test('a request that does not arrive whole in time is answered 408 and cut', async (t) => {
  const { port } = await start(t, { requestTimeout: 120 });
  for (const text of [
    'GET /broken HTTP/1.1\r\nHost: local',
    'POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"to"',
  ])
    assert.match(
      await everything(port, text),
      /^HTTP\/1\.1 408 [\s\S]*application\/problem\+json[\s\S]*"request_timeout"/,
    );
});

test('a mistake of the server is a 500 whose reason is in the log alone', async (t) => {
  const { url, lines } = await start(t);
  const reply = await fetch(new URL('/broken', url));
  assert.equal(reply.status, 500);
  const text = await reply.text();
  assert.equal(JSON.parse(text).code, 'internal');
  assert.doesNotMatch(text, /the reason/);
  assert.deepEqual([lines[0]?.message, lines[0]?.err?.message], ['request failed', 'the reason']);
});

test('connections over the limit are closed and counted', async (t) => {
  const refused = Promise.withResolvers<void>();
  const { port } = await start(t, { maxConnections: 1, onConnectionRefused: () => refused.resolve() });
  const first = connect(port, '127.0.0.1');
  await once(first, 'connect');
  const second = connect(port, '127.0.0.1');
  await Promise.all([refused.promise, once(second, 'close')]);
  first.destroy();
});
