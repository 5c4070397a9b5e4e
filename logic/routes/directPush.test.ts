import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createLog } from '@pushcluster/runtime/log.ts';
import { Registry } from 'prom-client';
import { ApiKeys } from '../access/apiKeys.ts';
import { Metrics } from '../metrics.ts';
import type { PushService } from '../publish/pushService.ts';
import { directPush } from './directPush.ts';

const none = () => 0;

/** Serves one request; returns its answer, which is `left` if it is left to fastify's route. */
async function answerTo(t: TestContext, request: string): Promise<string> {
  const log = createLog('test', 'error');
  const pushes: Pick<PushService, 'push'> = { push: async () => ({ failures: [], stored: [] }) };
  const direct = directPush({
    keys: new ApiKeys([], log),
    allowedOrigins: () => ['https://app.example'],
    pushes: pushes as PushService,
    metrics: new Metrics(new Registry(), {
      inFlight: none,
      waiting: none,
      gateways: none,
      generation: none,
      questions: none,
    }),
    log,
    bodyLimit: 100,
    leaving: () => true,
  });
  const server = createServer((request, response) => {
    if (!direct(request, response)) response.setHeader('connection', 'close').end('left');
  });
  server.on('checkExpectation', (request, response) => server.emit('request', request, response));
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.write(request);
  let answer = '';
  for await (const chunk of socket.setEncoding('utf8')) answer += chunk;
  return answer.slice(answer.lastIndexOf('\r\n\r\n') + 4);
}

const BODY = '{"to":{"room":"r"},"items":[1,2]}';
const head = (
  more: string,
  { line = 'POST /v1/push HTTP/1.1', type = 'application/json', length = BODY.length } = {},
) => `${line}\r\nHost: localhost\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n${more}\r\n`;

test('a push as backends send it is answered ahead of fastify', async (t) => {
  for (const request of [
    head(''),
    head('User-Agent: backend\r\nAccept: */*\r\nConnection: close\r\n'),
    head('Content-Encoding: identity\r\n'),
    head('Expect: 100-continue\r\n'),
    head('', { type: 'application/json; charset=utf-8' }),
  ])
    assert.equal(await answerTo(t, request + BODY), '{"accepted":2}', request);
});

test('any other request is left to fastify, as is one that is refused without its body', async (t) => {
  for (const request of [
    head('', { line: 'PUT /v1/push HTTP/1.1' }),
    head('', { line: 'POST /v1/push/batch HTTP/1.1' }),
    head('', { line: 'POST /v1/push? HTTP/1.1' }),
    head('', { line: 'POST http://localhost/v1/push HTTP/1.1' }),
    head('', { line: 'POST /v1/push HTTP/1.0' }),
    head('', { type: 'application/x-ndjson' }),
    head('', { type: 'application/json; charset=latin1' }),
    head('', { length: 0 }),
    head('', { length: 101 }),
    head('Expect: another\r\n'),
    head('Content-Encoding: gzip\r\n'),
    head('Origin: https://app.example\r\n'),
    head('Origin: https://evil.example\r\n'),
    head('Content-Type: text/plain\r\n'),
    head('X-Forwarded-For: 192.0.2.1\r\n'),
    'POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
    'POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\r\n',
  ])
    assert.equal(await answerTo(t, request), 'left', request);
});
