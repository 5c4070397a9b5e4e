import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { until } from '@pushcluster/test/harness/until.ts';
import { cutUnread } from './unreadResponses.ts';

/** More than the kernel holds of a connection. */
const LARGE = Buffer.alloc(33_554_432);
const GET = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';

async function start(t: TestContext, wait: number, handler: RequestListener) {
  const server = createServer(handler);
  let cuts = 0;
  cutUnread(server, wait, () => cuts++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const clients: Socket[] = [];
  t.after(() => {
    for (const client of clients) client.destroy();
    server.close();
  });
  const open = async (requests: string) => {
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
    client.pause();
    clients.push(client);
    await once(client, 'connect');
    client.write(requests);
    return client;
  };
  return { open, server, cuts: () => cuts };
}

const connections = (server: Server) =>
  new Promise<number>((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );

test('a connection is closed whose client reads nothing of its response', async (t) => {
  const { open, server, cuts } = await start(t, 50, (_, response) => response.end(LARGE));
  await open(GET);
  await until('it was cut', () => cuts() === 1);
  await until('it is closed', async () => (await connections(server)) === 0);
});

test('it is closed also where that is not the first response of the connection', async (t) => {
  const answers = [Buffer.from('small'), LARGE];
  const { open, server, cuts } = await start(
    t,
    50,
    (_, response) => void setImmediate(() => response.end(answers.shift())),
  );
  await open(GET + GET);
  await until('it was cut', () => cuts() === 1);
  await until('it is closed', async () => (await connections(server)) === 0);
});

test('a response that was read leaves the next one its time', async (t) => {
  const sent = Promise.withResolvers<Socket>();
  let requests = 0;
  const { open, cuts } = await start(t, 30_000, (request, response) => {
    if (requests++ > 0) return;
    response.once('finish', () => sent.resolve(request.socket));
    response.end(LARGE);
  });
  const client = await open(GET + GET);
  await until('both have arrived', () => requests === 2);
  client.resume();
  const { timeout } = await sent.promise;
  assert.deepEqual([timeout, cuts()], [0, 0]);
});

test('a connection is kept that waits for its next request', async (t) => {
  const { open, server, cuts } = await start(t, 30_000, (_, response) => response.end(LARGE));
  server.keepAliveTimeout = 60_000;
  const sockets: Socket[] = [];
  server.on('connection', (socket) => sockets.push(socket));
  const client = await open(GET);
  client.resume();
  await until('the response was sent', () => (sockets[0]?.timeout ?? 0) >= 60_000);
  assert.equal(cuts(), 0);
});
