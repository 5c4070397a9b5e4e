import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { until } from '@pushcluster/test/harness/until.ts';
import { WebSocket as OtherWebSocket, WebSocketServer } from 'ws';
import type { SocketConstructor } from './connection.ts';
import { PushClient } from './pushClient.ts';
import type { JoinOptions, PositionStorage, Room } from './stream.ts';

/** What a JOIN brings at once, over real sockets: its OK and what was missed are one chunk, which a platform reads in one go. */

const at = (seq: number) => ({ epoch: 'e', seq });

/** A frame of the pushes from after `prev` up to `seq`: each has one item, its seq. */
function pushed(prev: number, seq: number) {
  const items = Array.from({ length: seq - prev }, (_, i) => prev + i + 1);
  return { type: 'PUSH', data: { room: 'r', epoch: 'e', prev, seq, items } };
}

const count = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i + 1);

type Frames = { answer: object; frames?: object[] };

/** A gateway that answers the JOIN of each connection with the next of `answers`. */
async function gateway(t: TestContext, answers: Frames[], isCompressed: boolean, WebSocket?: SocketConstructor) {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const joins: Record<string, unknown>[] = [];
  server.on('connection', (socket, { socket: wire }) =>
    socket.on('message', (text) => {
      const { id, type, data } = JSON.parse(String(text));
      if (type !== 'JOIN') return;
      const { answer, frames = [] } = answers[Math.min(joins.length, answers.length - 1)]!;
      joins.push(data);
      wire.cork();
      socket.send(JSON.stringify({ type: 'OK', id, data: { room: 'r', ...answer } }));
      for (const frame of frames)
        socket.send(isCompressed ? deflateRawSync(JSON.stringify(frame)) : JSON.stringify(frame));
      wire.uncork();
    }),
  );
  const { port } = server.address() as AddressInfo;
  const pages: PushClient[] = [];
  t.after(async () => {
    for (const push of pages) push.close();
    for (const socket of server.clients) socket.terminate();
    await new Promise((resolve) => server.close(resolve));
  });
  const open = () => {
    const push = new PushClient(`ws://127.0.0.1:${port}/connect`, { backoff: { base: 1 }, WebSocket });
    pages.push(push);
    return push;
  };
  return { open, joins, cut: () => [...server.clients].forEach((socket) => void socket.close(1012)) };
}

type Reader = (room: Room<number>, got: unknown[]) => Promise<void>;

/** How a page may read what comes after `joined`. */
const READERS: Record<string, Reader> = {
  'for await': async (room, got) => {
    await room.joined;
    for await (const item of room) got.push(item);
  },
  'listeners, through functions that wait for each other': async (room, got) => {
    const all = async () => Promise.all([room.joined, room.joined.then(async () => room.name)]);
    const later = async () => (await all()).length;
    await later();
    room.on('item', (item) => got.push(item));
    room.on('resumed', ({ items }) => got.push(`resumed ${items}`));
    room.on('reset', ({ reason }) => got.push(reason));
  },
};

for (const [platform, WebSocket] of [
  ["Node's WebSocket", undefined],
  ['the ws package', OtherWebSocket as unknown as SocketConstructor],
] as const)
  for (const isCompressed of [false, true])
    for (const [name, read] of Object.entries(READERS)) {
      const title = `with ${platform}, ${isCompressed ? 'compressed' : 'plain'}: ${name}`;
      const heard = name !== 'for await';

      for (const [what, options] of [
        ['last', { last: 4 }],
        ['since', { since: at(40) }],
      ] as [string, JoinOptions][])
        test(`${title}, behind joined, gets what ${what} brings in the chunk of its OK`, async (t) => {
          const frames = [pushed(40, 42), pushed(42, 44), pushed(44, 45)];
          const answers = [{ answer: { ...at(44), recovered: true }, frames }];
          const { open } = await gateway(t, answers, isCompressed, WebSocket);
          const room = open().join<number>('r', options);
          const got: unknown[] = [];
          void read(room, got);
          await until('the last item came', () => got.at(-1) === 45);
          assert.deepEqual(got, heard ? [41, 42, 43, 44, 'resumed 4', 45] : [41, 42, 43, 44, 45]);
        });

      test(`${title}, behind joined, goes on where the former page was, and over a cut connection`, async (t) => {
        const answers = [
          { answer: { ...at(42), recovered: true }, frames: [pushed(40, 42)] },
          { answer: { ...at(44), recovered: true }, frames: [pushed(42, 43), pushed(43, 44)] },
        ];
        const { open, joins, cut } = await gateway(t, answers, isCompressed, WebSocket);
        const kept = new Map([['pushcluster.r', JSON.stringify(at(40))]]);
        const storage: PositionStorage = {
          getItem: (key) => kept.get(key),
          setItem: (key, value) => void kept.set(key, value),
        };
        const push = open();
        const room = push.join<number>('r', { storage });
        const got: unknown[] = [];
        void read(room, got);
        await until('the first chunk came', () => got.includes(42));
        cut();
        await until('the second chunk came', () => got.includes(44));
        assert.deepEqual(
          got.filter((item) => typeof item === 'number'),
          [41, 42, 43, 44],
        );
        assert.deepEqual(
          joins.map(({ since }) => since),
          [at(40), at(42)],
        );
        push.close();
        assert.equal(JSON.parse(kept.get('pushcluster.r')!).seq, 44);
      });
    }

test('code behind joined is told that nothing was missed, that the room does not go on, and where it is', async (t) => {
  for (const [answer, told] of [
    [{ ...at(40), recovered: true }, 'resumed 0'],
    [{ ...at(90), recovered: false }, 'unrecovered'],
    [{}, 'unrecovered'],
  ] as const) {
    const { open } = await gateway(t, [{ answer }], false);
    const room = open().join<number>('r', { since: at(40) });
    const got: unknown[] = [];
    await room.joined;
    assert.equal(room.position?.seq, 'seq' in answer ? answer.seq : undefined);
    await READERS['listeners, through functions that wait for each other']!(room, got);
    await until('it is told', () => got.length > 0);
    assert.deepEqual(got, [told]);
  }
});

test('a connection that ends behind the chunk of an OK is told after what it brought', async (t) => {
  const frames = [pushed(40, 41)];
  const { open, joins, cut } = await gateway(t, [{ answer: { ...at(41), recovered: true }, frames }], false);
  const push = open();
  const room = push.join<number>('r', { since: at(40) });
  const order: unknown[] = [];
  push.on('close', () => order.push('close'));
  void room.joined.then(() => room.on('item', (item) => order.push(item)));
  await until('it was joined', () => joins.length > 0);
  cut();
  await until('it has ended', () => order.includes('close'));
  assert.deepEqual(order, [41, 'close']);
});

for (const [what, frames] of [
  ['one frame', [pushed(0, 9_980)]],
  ['many frames in one chunk', count(0, 499).map((n) => pushed((n - 1) * 20, n * 20))],
] as const)
  test(`a loop that only waits for items loses nothing of a catch-up: ${what}`, async (t) => {
    const { open } = await gateway(t, [{ answer: { ...at(9_980), recovered: true }, frames: [...frames] }], false);
    const push = open();
    push.on('lagged', () => assert.fail('something was dropped'));
    const room = push.join<number>('r', { since: at(0) });
    const got: number[] = [];
    void (async () => {
      for await (const item of room) got.push(item);
    })();
    await until('all has come', () => got.length >= 9_980);
    assert.deepEqual(got, count(0, 9_980));
  });
