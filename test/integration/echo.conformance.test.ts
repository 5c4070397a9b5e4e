import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Lateness } from '../harness/lateness.ts';
import { type GatewayProcess, startGateway } from '../harness/processes.ts';
import {
  binary,
  close,
  closeOf,
  fragments,
  frame,
  Opcode,
  ping,
  RawWebSocket,
  type Received,
  text,
} from '../harness/rawWebSocket.ts';
import { until } from '../harness/until.ts';

/**
 * The cases of the Autobahn testsuite that matter, by hand, in its own order: the suite itself can't run everywhere
 * (autobahn.test.ts). Then what it has no case for: the heartbeat, and the queue of a slow reader.
 */

const MIB = 1_048_576;
const MAX_QUEUED = 1_000;

let gateway: GatewayProcess;
before(async () => {
  gateway = await startGateway({ settings: { gateway: { echo: true, shards: 1 } } });
});
after(() => gateway.stop());

const open = () => RawWebSocket.open(gateway.port, '/ws');

/** Sends it and asserts that it comes back as it was. */
async function assertEchoed(raw: RawWebSocket, opcode: number, payload: Buffer, ...frames: Uint8Array[]) {
  raw.send(...frames);
  const received = await raw.message();
  assert.equal(received?.opcode, opcode);
  assert.equal(received.rsv, 0);
  assert.equal(received.payload.length, payload.length);
  assert.ok(received.payload.equals(payload), 'other bytes came back');
}

async function assertPong(raw: RawWebSocket, payload: string | Uint8Array) {
  const received = await raw.message();
  assert.equal(received?.opcode, Opcode.pong);
  assert.deepEqual(received.payload, Buffer.from(payload));
}

/** That the server gives the connection up, without an echo: with a close frame of a code for it, or by cutting. */
async function assertFailed(raw: RawWebSocket, codes: number[]) {
  const received = await raw.message();
  if (received) assert.ok(codes.includes(closeOf(received)?.code ?? 0), `opcode ${received.opcode}`);
  await raw.gone();
  raw.destroy();
}

async function assertStillEchoes(raw: RawWebSocket) {
  await assertEchoed(raw, Opcode.text, Buffer.from('still there'), text('still there'));
  raw.destroy();
}

const SIZES = [0, 1, 125, 126, 127, 128, 65_535, 65_536, MIB];

describe('1, framing', () => {
  for (const size of SIZES)
    it(`text and binary of ${size} bytes come back`, async () => {
      const raw = await open();
      const letters = Buffer.alloc(size, '*');
      const bytes = Buffer.alloc(size, 0xfe);
      await assertEchoed(raw, Opcode.text, letters, text(letters));
      await assertEchoed(raw, Opcode.binary, bytes, binary(bytes));
      raw.destroy();
    });

  it('a message comes back however its frame is chopped', async () => {
    const raw = await open();
    for (const size of [125, 65_536]) {
      const payload = Buffer.alloc(size, '*');
      const bytes = text(payload);
      for (const chop of [1, 997, 8_192]) {
        if (bytes.length / chop > 5_000) continue;
        for (let at = 0; at < bytes.length; at += chop) raw.send(bytes.subarray(at, at + chop));
        await assertEchoed(raw, Opcode.text, payload);
      }
    }
    raw.destroy();
  });

  it('a message over 1 MiB is not taken', async () => {
    const raw = await open();
    raw.send(binary(Buffer.alloc(MIB + 1)));
    await assertFailed(raw, [1009]);
  });
});

describe('2, pings and pongs', () => {
  it('a ping is answered with its payload, empty, text, binary, of 125 bytes, and in chops', async () => {
    const raw = await open();
    for (const payload of ['', 'hello', Buffer.from('00fffefdfcfb00ff', 'hex'), Buffer.alloc(125, 0xfe)]) {
      raw.send(ping(payload));
      await assertPong(raw, payload);
    }
    for (const byte of ping('slowly')) raw.send(Buffer.of(byte));
    await assertPong(raw, 'slowly');
    raw.destroy();
  });

  it('a ping of 126 bytes fails the connection', async () => {
    const raw = await open();
    raw.send(ping(Buffer.alloc(126)));
    await assertFailed(raw, [1002]);
  });

  it('an unasked pong is ignored, and ten pings are answered in their order', async () => {
    const raw = await open();
    raw.send(frame({ opcode: Opcode.pong, payload: 'unasked' }), frame({ opcode: Opcode.pong }));
    for (let i = 0; i < 10; i++) raw.send(ping(`payload-${i}`));
    for (let i = 0; i < 10; i++) await assertPong(raw, `payload-${i}`);
    await assertStillEchoes(raw);
  });
});

describe('3, reserved bits', () => {
  for (const rsv of [1, 2, 3, 4, 5, 6, 7])
    it(`${rsv} fail the connection; what came before is echoed`, async () => {
      const raw = await open();
      await assertEchoed(raw, Opcode.text, Buffer.from('before'), text('before'));
      const opcode = rsv === 6 ? Opcode.ping : rsv === 5 ? Opcode.binary : Opcode.text;
      raw.send(frame({ opcode, payload: 'hello', rsv }), ping());
      await assertFailed(raw, [1002]);
    });
});

describe('4, reserved opcodes', () => {
  for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    it(`${opcode} fails the connection`, async () => {
      const raw = await open();
      await assertEchoed(raw, Opcode.text, Buffer.from('before'), text('before'));
      raw.send(frame({ opcode, payload: 'hello' }), ping());
      await assertFailed(raw, [1002]);
    });
});

describe('5, fragmentation', () => {
  it('fragments come back as one message, in any chops, with empty ones among them', async () => {
    const raw = await open();
    const whole = Buffer.from('fragment1fragment2');
    await assertEchoed(raw, Opcode.text, whole, ...fragments(Opcode.text, 'fragment1', 'fragment2'));
    await assertEchoed(raw, Opcode.binary, whole, ...fragments(Opcode.binary, '', 'fragment1', '', 'fragment2', ''));
    for (const byte of Buffer.concat(fragments(Opcode.text, 'fragment1', 'fragment2'))) raw.send(Buffer.of(byte));
    await assertEchoed(raw, Opcode.text, whole);
    raw.destroy();
  });

  it('a ping between fragments is answered at once', async () => {
    const raw = await open();
    const [first, second] = fragments(Opcode.text, 'fragment1', 'fragment2');
    raw.send(first!, ping('between'));
    await assertPong(raw, 'between');
    await assertEchoed(raw, Opcode.text, Buffer.from('fragment1fragment2'), second!);
    raw.destroy();
  });

  it('many fragments with pings among them keep their order', async () => {
    const raw = await open();
    const parts = Array.from({ length: 50 }, (_, i) => `part ${i};`);
    for (const [i, part] of fragments(Opcode.text, ...parts).entries()) raw.send(part, ping(`${i}`));
    let pongs = 0;
    for (;;) {
      const received: Received | undefined = await raw.message();
      if (received?.opcode !== Opcode.pong) {
        assert.equal(received?.payload.toString(), parts.join(''));
        break;
      }
      assert.equal(received.payload.toString(), `${pongs++}`);
    }
    assert.ok(pongs >= 49);
    raw.destroy();
  });

  const wrong: Record<string, Uint8Array[]> = {
    'a ping in fragments': fragments(Opcode.ping, 'one', 'two'),
    'a pong in fragments': fragments(Opcode.pong, 'one', 'two'),
    'a continuation of nothing': [frame({ opcode: Opcode.continuation, payload: 'lost' }), text('hello')],
    'a continuation of nothing that goes on': [
      frame({ opcode: Opcode.continuation, payload: 'lost', fin: false }),
      text('hello'),
    ],
    'a continuation after the end': [...fragments(Opcode.text, 'one', 'two'), frame({ opcode: 0, payload: 'three' })],
    'a message within a message': [frame({ opcode: Opcode.text, payload: 'one', fin: false }), text('two')],
  };
  for (const [what, frames] of Object.entries(wrong))
    it(`${what} fails the connection`, async () => {
      const raw = await open();
      raw.send(...frames);
      if (what === 'a continuation after the end') {
        // The message before may have been echoed, or may have gone down with the connection.
        const received = await raw.message();
        if (received?.opcode === Opcode.text) assert.equal(received.payload.toString(), 'onetwo');
      }
      await assertFailed(raw, [1002]);
    });
});

describe('6, UTF-8', () => {
  const valid = [
    'Hello-µ@ßöäüàá-UTF-8!!',
    'κόσμε',
    '\u0000',
    '\u0080',
    '\u07ff',
    '\u0800',
    '\ud7ff\ue000\ufffd\ufffe\uffff',
    '\u{10000}\u{1fffe}\u{1ffff}\u{10ffff}',
    '😀'.repeat(1_000),
  ];
  it('valid text comes back, whole and in fragments of one byte', async () => {
    const raw = await open();
    for (const string of valid) {
      const bytes = Buffer.from(string);
      await assertEchoed(raw, Opcode.text, bytes, text(bytes));
      if (bytes.length > 100) continue;
      const parts = Array.from(bytes, (byte) => Buffer.of(byte));
      await assertEchoed(raw, Opcode.text, bytes, ...fragments(Opcode.text, ...parts));
    }
    raw.destroy();
  });

  it('what is no UTF-8 comes back as binary', async () => {
    const raw = await open();
    const bytes = Buffer.from('cebae1bdb9cf83cebceda080656469746564', 'hex');
    await assertEchoed(raw, Opcode.binary, bytes, binary(bytes));
    raw.destroy();
  });

  /** Autobahn's own, by what is wrong with them. */
  const invalid: Record<string, string> = {
    'a surrogate within text': 'cebae1bdb9cf83cebcceb5eda080656469746564',
    'a code point beyond the last': 'cebae1bdb9cf83cebcceb5f4908080656469746564',
    'a first byte alone': 'ce',
    'a cut sequence': 'e1bd',
    'a lone continuation': '80',
    'all lone continuations': '808182838485868788898a8b8c8d8e8f',
    'two lead bytes': 'c020',
    'five bytes for one': 'f888808080',
    'six bytes for one': 'fc8480808080',
    'an overlong slash': 'c0af',
    'an overlong slash in three': 'e080af',
    'an overlong slash in four': 'f08080af',
    'an overlong zero': 'c080',
    'the largest overlong of two': 'c1bf',
    'the largest overlong of three': 'e09fbf',
    'the largest overlong of four': 'f08fbfbf',
    'a high surrogate': 'eda080',
    'a low surrogate': 'edbfbf',
    'a pair of surrogates': 'eda080edb080',
    'bytes that never occur': 'fefeffff',
  };
  for (const [what, hex] of Object.entries(invalid))
    it(`${what} fails the connection, whole and in fragments`, async () => {
      const bytes = Buffer.from(hex, 'hex');
      const whole = await open();
      whole.send(text(bytes));
      await assertFailed(whole, [1007]);
      const parts = await open();
      parts.send(...fragments(Opcode.text, ...Array.from(bytes, (byte) => Buffer.of(byte))));
      await assertFailed(parts, [1007]);
    });
});

describe('7, closing', () => {
  it('a close is answered, after the messages before it and before none after', async () => {
    const raw = await open();
    raw.send(Buffer.concat([text('before'), close(1000, 'good-bye'), text('after'), ping('after')]));
    assert.equal((await raw.message())?.payload.toString(), 'before');
    assert.equal(closeOf(await raw.message())?.code, 1000);
    await raw.gone();
    assert.equal(raw.unread, 0);
  });

  it('a close within a message is answered, and the message is not', async () => {
    const raw = await open();
    raw.send(frame({ opcode: Opcode.text, payload: 'fragment1', fin: false }), close(1000));
    assert.equal(closeOf(await raw.message())?.code, 1000);
    await raw.gone();
  });

  it('a close without a code, with the longest reason, and with each good code is answered', async () => {
    for (const bytes of [close(), close(1000, 'x'.repeat(123)), close(1000, 'é'.repeat(61))]) {
      const raw = await open();
      raw.send(bytes);
      assert.ok(closeOf(await raw.message()), 'no close frame');
      await raw.gone();
    }
    for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]) {
      const raw = await open();
      raw.send(close(code));
      assert.ok([code, 1005].includes(closeOf(await raw.message())?.code ?? 0), `code ${code}`);
      await raw.gone();
    }
  });

  it('a close with a bad code or payload fails the connection', async () => {
    const bad = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535].map((code) => close(code));
    const broken = [
      frame({ opcode: Opcode.close, payload: Buffer.of(3) }),
      close(1000, Buffer.from('cebae1bdb9cf83cebceda080', 'hex')),
      close(1000, 'x'.repeat(124)),
    ];
    for (const bytes of [...bad, ...broken]) {
      const raw = await open();
      raw.send(bytes);
      await assertFailed(raw, [1002, 1005, 1007]);
    }
  });
});

describe('10, auto-fragmentation', () => {
  it('64 KiB in fragments of 1,300 bytes come back', async () => {
    const raw = await open();
    const payload = Buffer.alloc(65_536, '*');
    const parts = Array.from({ length: Math.ceil(65_536 / 1_300) }, (_, i) =>
      payload.subarray(i * 1_300, (i + 1) * 1_300),
    );
    await assertEchoed(raw, Opcode.text, payload, ...fragments(Opcode.text, ...parts));
    raw.destroy();
  });

  it('1 MiB in two thousand fragments comes back', async () => {
    const raw = await open();
    const payload = Buffer.alloc(MIB, 0xab);
    const parts = Array.from({ length: 2_048 }, (_, i) => payload.subarray(i * 512, (i + 1) * 512));
    await assertEchoed(raw, Opcode.binary, payload, ...fragments(Opcode.binary, ...parts));
    raw.destroy();
  });
});

describe('the echo', () => {
  it('says heartbeat every second', async (t) => {
    const began = performance.now();
    const lateness = Lateness.during(t);
    const raw = await open();
    const at: number[] = [];
    while (at.length < 3) {
      const received = await raw.frame();
      assert.deepEqual([received?.opcode, received?.payload.toString()], [Opcode.text, 'heartbeat']);
      at.push(performance.now());
    }
    // A busy machine may make each of them late, so that the next seems early; none can come before its time.
    for (const [i, time] of at.entries()) {
      const after = time - began;
      const latest = 10_000 + lateness.total;
      assert.ok(after >= 2_000 + i * 1_000 && after < latest, `number ${i + 1} came after ${Math.round(after)} ms`);
    }
    raw.destroy();
  });

  it('queues a thousand messages each way for one that reads late, and loses none', async () => {
    const raw = await open();
    // Too much for the kernel's buffers, so that they do queue.
    const payload = Buffer.alloc(16_384, 'x');
    raw.socket.pause();
    for (let i = 0; i < MAX_QUEUED; i++) {
      payload.writeUInt32BE(i);
      raw.send(binary(payload));
    }
    raw.socket.resume();
    for (let i = 0; i < MAX_QUEUED; i++) {
      const received = await raw.message();
      assert.equal(received?.opcode, Opcode.binary);
      assert.equal(received.payload.readUInt32BE(), i);
      assert.equal(received.payload.length, payload.length);
    }
    await assertStillEchoes(raw);
  });

  it('gives up one that never reads, and serves others meanwhile', async () => {
    const raw = await open();
    const other = await open();
    raw.socket.pause();
    const message = binary(Buffer.alloc(65_536));
    for (let i = 0; i < 3_000 && !raw.socket.destroyed; i++) raw.send(message);
    await assertEchoed(other, Opcode.text, Buffer.from('me too'), text('me too'));
    await until('all of it was taken', () => raw.socket.writableLength === 0);
    // What was queued comes first, and then the end.
    raw.discard();
    await raw.gone();
    other.destroy();
  });
});

describe('a request at /ws that is no handshake', () => {
  it('is told to upgrade', async () => {
    const answer = await fetch(`http://127.0.0.1:${gateway.port}/ws`);
    assert.equal(answer.status, 426);
    assert.equal(answer.headers.get('upgrade'), 'websocket');
    assert.match(await answer.text(), /"code":"not_websocket"/);
  });
});
