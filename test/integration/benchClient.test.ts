import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { after, test } from 'node:test';
import { constants, deflateRawSync } from 'node:zlib';
import { type WebSocket, WebSocketServer } from 'ws';
import { stopActors } from '../bench/actor.ts';
import { Audience, type Stat } from '../bench/audience.ts';
import { Comments } from '../bench/comments.ts';
import { ItemMaker, PLAIN_BYTES, stampNow } from '../bench/items.ts';
import { measured } from '../bench/measure.ts';
import { engineLoop, sendLoop } from '../bench/rivals.ts';
import { PATIENCE_MS } from '../harness/until.ts';

after(() => stopActors());

test('every frame and item of every connection is counted, and its CPU time with it', async () => {
  for (const rival of [await sendLoop(), await engineLoop('publish'), await engineLoop('send')]) {
    const audience = new Audience({ port: rival.port, path: '/', room: '', ready: '' });
    await audience.open(40);
    for (const items of [1, 10, 1_000]) {
      const began = performance.now();
      const run = await measured(rival.actor.pid, audience, () =>
        rival.send({ items, bytes: items * (PLAIN_BYTES + 1) + 60, rate: 20, seconds: 0.5 }),
      );
      assert.equal(run.stat.frames, 40 * 10, rival.name);
      assert.equal(run.stat.items, 40 * 10 * items);
      assert.equal(run.stat.gaps + run.stat.disorder + run.stat.broken, 0);
      assert.equal(run.stat.latency.count, 40 * 10 * Math.min(items, 63));
      assert.ok(run.cpu.user + run.cpu.system > 0);
      const most = (performance.now() - began) * 1_000;
      assert.ok(run.stat.latency.max < most, `latency is one clock's: ${run.stat.latency.max} µs of ${most}`);
    }
    await audience.actor.stop();
    await rival.actor.stop();
  }
});

test('missing, repeated and disordered items are told apart from whole ones', async () => {
  await withClient(3, async (sockets, audience) => {
    send(sockets, [1, 2, 3]);
    send(sockets, [4]);
    assert.deepEqual(verdict(await arrived(audience, 12)), { gaps: 0, disorder: 0 });
    send(sockets, [8, 9]);
    assert.deepEqual(verdict(await arrived(audience, 18)), { gaps: 9, disorder: 0 });
    send(sockets, [9, 10]);
    assert.deepEqual(verdict(await arrived(audience, 24)), { gaps: 9, disorder: 3 });
    send(sockets, [11, 14]);
    assert.deepEqual(verdict(await arrived(audience, 30)), { gaps: 15, disorder: 3 });
    send(sockets, [16, 15]);
    assert.deepEqual(verdict(await arrived(audience, 36)), { gaps: 18, disorder: 6 });
  });
});

test('connections whose frames begin alike and differ later are each counted by what they got', async () => {
  await withClient(4, async (sockets, audience) => {
    const filler = 'x'.repeat(500);
    for (const [i, socket] of sockets.entries()) {
      const items = Array.from({ length: 1 + (i % 2) }, (_, k) => `{"@":${k + 1},"t":${stampNow()}}`);
      const frame = `{"type":"PUSH","data":{"room":"live","x":"${filler}","items":[${items.join(',')}`;
      socket.send(`${frame.padEnd(800, ' ')}]}}`);
    }
    assert.equal((await arrived(audience, 6)).items, 6);
  });
});

test('deflated frames are inflated, whichever way they were deflated', async () => {
  await withClient(2, async (sockets, audience) => {
    const comments = new Comments();
    let mark = 0;
    let items = 0;
    for (const count of [1, 9, 600]) {
      for (const options of [
        { level: 0 },
        { level: 1 },
        { level: 9, memLevel: 9 },
        { strategy: constants.Z_FIXED },
        { strategy: constants.Z_HUFFMAN_ONLY },
        { finishFlush: constants.Z_SYNC_FLUSH },
      ]) {
        const list = Array.from({ length: count }, () => comments.next(++mark, stampNow()));
        const frame = deflateRawSync(`{"type":"PUSH","data":{"room":"live","items":[${list.join(',')}]}}`, options);
        for (const socket of sockets) socket.send(frame, { binary: true });
        items += 2 * count;
        const stat = await arrived(audience, items);
        assert.equal(stat.items, items, JSON.stringify({ count, ...options }));
        assert.deepEqual(verdict(stat), { gaps: 0, disorder: 0 });
      }
    }
    for (const socket of sockets) socket.send(Buffer.concat([Buffer.from([7]), randomBytes(400)]), { binary: true });
    const stat = await until(audience, ({ broken }) => broken === 2);
    assert.equal(stat.items, items);
  });
});

test('frames in any pieces are put together, and pings between them are answered', async () => {
  await withClient(1, async ([socket], audience) => {
    const wire = socketOf(socket!);
    const maker = new ItemMaker('plain');
    const frames: Buffer[] = [];
    for (const count of [1, 2, 5, 700, 1]) {
      const list = Array.from({ length: count }, () => maker.next(stampNow()));
      frames.push(frameOf(0x81, Buffer.from(`{"type":"PUSH","data":{"items":[${list.join(',')}]}}`)));
      frames.push(frameOf(0x89, Buffer.from(`ping ${count}`)));
      frames.push(frameOf(0x81, Buffer.alloc(0)));
    }
    const pongs: string[] = [];
    socket!.on('pong', (data) => pongs.push(data.toString()));
    const bytes = Buffer.concat(frames);
    for (let at = 0; at < bytes.length; ) {
      const size = at < 2_000 ? 1 : 997;
      await new Promise((resolve) => wire.write(bytes.subarray(at, at + size), resolve));
      at += size;
    }
    const stat = await until(audience, ({ items, pings }) => items === 709 && pings === 5);
    assert.deepEqual(verdict(stat), { gaps: 0, disorder: 0 });
    assert.equal(stat.bytes, bytes.length);
    while (pongs.length < 5) await once(socket!, 'pong');
    assert.deepEqual(pongs, ['ping 1', 'ping 2', 'ping 5', 'ping 700', 'ping 1']);
  });
});

test('an answer to the handshake may come in pieces, a refusal too, and frames may follow in the same packet', async () => {
  const accepted = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
  const refused = 'HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n';
  let connection = 0;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', async () => {
      const answer = [accepted, refused][connection++ % 2]!;
      for (const byte of answer.slice(0, -1)) await new Promise((resolve) => socket.write(byte, resolve));
      socket.write(Buffer.concat([Buffer.from(answer.slice(-1)), frameOf(0x81, Buffer.from('{"@":1,"t":1}'))]));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const audience = new Audience({ port: address.port, path: '/', room: '', ready: '' });
  const opened = await audience.tryOpen(6);
  assert.deepEqual(
    { joined: opened.joined, failed: opened.failed, refused: opened.refused },
    { joined: 3, failed: 3, refused: { 429: 3 } },
  );
  assert.equal((await arrived(audience, 3)).items, 3);
  await audience.actor.stop();
  server.close();
});

test('closes are counted by their codes', async () => {
  await withClient(3, async (sockets, audience) => {
    sockets[0]!.close(1012);
    sockets[1]!.close(4003);
    sockets[2]!.terminate();
    const { closes } = await until(audience, ({ open }) => open === 0);
    assert.deepEqual(closes, { 1006: 1, 1012: 1, 4003: 1 });
  });
});

async function withClient(count: number, body: (sockets: WebSocket[], audience: Audience) => Promise<void>) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
  const sockets: WebSocket[] = [];
  server.on('connection', (socket) => sockets.push(socket));
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const audience = new Audience({ port: address.port, path: '/', room: '', ready: '' });
  try {
    await audience.open(count);
    await audience.start();
    await body(sockets, audience);
  } finally {
    await audience.actor.stop();
    server.close();
  }
}

function send(sockets: readonly WebSocket[], marks: readonly number[]) {
  const items = marks.map((mark) => `{"@":${mark},"t":${stampNow()},"x":"${mark}"}`);
  for (const socket of sockets) socket.send(`{"type":"PUSH","data":{"room":"live","items":[${items.join(',')}]}}`);
}

function arrived(audience: Audience, items: number): Promise<Stat> {
  return until(audience, (stat) => stat.items >= items);
}

/** The counts, once they are as wanted. */
async function until(audience: Audience, wanted: (stat: Stat) => boolean): Promise<Stat> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const stat = await audience.stat();
    if (wanted(stat)) return stat;
    if (performance.now() > deadline) throw new Error(`the counts stay at ${JSON.stringify(stat)}`);
  }
}

function verdict({ gaps, disorder }: Stat) {
  return { gaps, disorder };
}

function frameOf(first: number, payload: Buffer): Buffer {
  if (payload.length < 126) return Buffer.concat([Buffer.from([first, payload.length]), payload]);
  const head = Buffer.alloc(payload.length < 65_536 ? 4 : 10);
  head[0] = first;
  head[1] = payload.length < 65_536 ? 126 : 127;
  if (payload.length < 65_536) head.writeUInt16BE(payload.length, 2);
  else head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}

/** The TCP socket below a WebSocket of ws, which its types leave out. */
function socketOf(socket: WebSocket): Socket {
  const below: unknown = Reflect.get(socket, '_socket');
  if (!(below instanceof Socket)) throw new Error('ws has no _socket any more');
  return below;
}
