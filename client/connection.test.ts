import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { OWN_PORT, ownAddress } from '@pushcluster/test/harness/loopback.ts';
import { WebSocket as OtherWebSocket, type WebSocket as ServerSocket, WebSocketServer } from 'ws';
import type { PushOptions } from './options.ts';
import { PushClient } from './pushClient.ts';
import type { PushError } from './pushError.ts';
import type { WireFrame } from './pushEvents.ts';
import { pushFrame } from './simulation.ts';

/** A client of a gateway that says what the test scripts, over real sockets. For Node 22 too: without `await using`. */
async function served(
  t: TestContext,
  script: (socket: ServerSocket, connection: number) => void,
  options: PushOptions = {},
): Promise<PushClient> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  let connections = 0;
  server.on('connection', (socket) => script(socket, ++connections));
  const { port } = server.address() as AddressInfo;
  const push = new PushClient(`ws://127.0.0.1:${port}/connect`, { backoff: { base: 1 }, ...options });
  t.after(async () => {
    push.close();
    for (const socket of server.clients) socket.terminate();
    await new Promise((resolve) => server.close(resolve));
  });
  return push;
}

/** The first `count` items. */
async function take<Item>(items: AsyncIterable<Item>, count: number): Promise<Item[]> {
  const taken: Item[] = [];
  for await (const item of items) if (taken.push(item) === count) break;
  return taken;
}

const deflated = (frame: object) => deflateRawSync(JSON.stringify(frame));

for (const [platform, WebSocket] of [
  ["Node's WebSocket", undefined],
  ['the ws package', OtherWebSocket],
] as const)
  test(`with ${platform}, compressed and plain frames are read in the order in which they came`, async (t) => {
    // Large frames inflate for longer than the small ones behind them.
    const sizes = Array.from({ length: 60 }, (_, i) => (i % 3 === 0 ? 3_000 : 1));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const push = await served(
      t,
      (socket) => {
        assert.equal(socket.protocol, 'pushcluster.v1.deflate');
        let next = 1;
        for (const [i, size] of sizes.entries()) {
          const frame = pushFrame(undefined, 'a', next, next + size - 1);
          next += size;
          if (i % 3 === 2) socket.send(JSON.stringify(frame));
          else socket.send(deflated(frame));
        }
      },
      { queueLimit: total, ...(WebSocket && { WebSocket }) },
    );
    const items = await take(push.all, total);
    assert.ok(items.every((item, i) => (item as { n: number }).n === i + 1));
  });

test('a close behind frames that still inflate is told after them', async (t) => {
  const push = await served(t, (socket, connection) => {
    if (connection > 1) return;
    socket.send(deflated(pushFrame(undefined, 'a', 1, 5_000)));
    socket.close(4002, 'bye');
  });
  const order: string[] = [];
  push.all.on('item', () => order[0] === 'item' || order.push('item'));
  await new Promise<void>((resolve) => {
    push.on('close', ({ code, reason }) => {
      order.push(`${code} ${reason}`);
      resolve();
    });
  });
  assert.deepEqual(order, ['item', '4002 bye']);
});

test('a frame that is no DEFLATE, and one that is no JSON, are told and the client reconnects', async (t) => {
  const push = await served(t, (socket, connection) => {
    if (connection === 1) socket.send(Buffer.from([0xff, 0xff, 0xff]));
    else if (connection === 2) socket.send('{"type":');
    else socket.send(JSON.stringify(pushFrame(undefined, 'a', 1, 1)));
  });
  const errors: PushError[] = [];
  push.on('error', (error) => errors.push(error));
  assert.equal((await take(push.all, 1)).length, 1);
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['frame', 'frame'],
  );
});

test('the bytes of a compressed frame are those on the wire', async (t) => {
  const body = deflated(pushFrame(undefined, 'a', 1, 500));
  const push = await served(t, (socket) => socket.send(body));
  const frame = await new Promise<WireFrame>((resolve) => push.on('frame', resolve));
  assert.equal(frame.bytes, body.length);
  assert.equal(frame.items, 500);
  assert.ok(frame.text.startsWith('{"type":"PUSH"'));
});

test('a server that is not there is an ordinary failure: the client waits and tries again', async () => {
  const push = new PushClient(`ws://${ownAddress(1)}:${OWN_PORT}/connect`, { backoff: { base: 1 } });
  let closes = 0;
  await new Promise<void>((resolve) => {
    push.on('close', ({ code, willRetry }) => {
      assert.deepEqual([code, willRetry], [1006, true]);
      if (++closes === 3) resolve();
    });
  });
  push.close();
});
