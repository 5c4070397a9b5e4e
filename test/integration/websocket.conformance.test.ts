import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type GatewayProcess, startGateway } from '../harness/processes.ts';
import {
  acceptOf,
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
  type UpgradeOptions,
  upgradeRequest,
} from '../harness/rawWebSocket.ts';
import { until } from '../harness/until.ts';

/** The shortest that may be set: so that one test can wait for it. */
const IDLE_TIMEOUT_MS = 8_000;
const MAX_FRAME = 4_096;
const ENGINE_MAX = 65_536;
const V1: UpgradeOptions = { headers: { 'Sec-WebSocket-Protocol': 'pushcluster.v1' } };

let gateway: GatewayProcess;
before(async () => {
  gateway = await startGateway({ settings: { gateway: { idleTimeout: IDLE_TIMEOUT_MS, shards: 1 } } });
});
after(() => gateway.stop());

const open = (options: UpgradeOptions = V1) => RawWebSocket.open(gateway.port, '/connect', options);

/** A frame of JSON text that is `bytes` long and has no effect. */
function padded(bytes: number): string {
  const head = '{"type":"NOTHING","data":"';
  return `${head}${'x'.repeat(bytes - head.length - 2)}"}`;
}

/** The next frame that is no ping of the engine. */
async function next(raw: RawWebSocket, deadline?: number): Promise<Received | undefined> {
  for (;;) {
    const received = await raw.frame(deadline);
    if (received?.opcode !== Opcode.ping) return received;
  }
}

async function nextText(raw: RawWebSocket): Promise<string | undefined> {
  const received = await next(raw);
  assert.ok(received === undefined || received.opcode === Opcode.text, `opcode ${received?.opcode}`);
  return received?.payload.toString();
}

/** That it works as it should: what was sent before had no bad effect. */
async function assertAlive(raw: RawWebSocket) {
  raw.send(text('{"type":"PING","data":{}}'));
  assert.equal(await nextText(raw), '{"type":"PONG","data":{}}');
}

/** That it was cut: no close frame, and no answer to anything. */
async function assertCut(raw: RawWebSocket, why: string) {
  await raw.gone();
  const last = await next(raw);
  assert.equal(last, undefined, `${why}: an answer of opcode ${last?.opcode}`);
  raw.destroy();
}

async function assertClosed(raw: RawWebSocket, code: number) {
  assert.equal(closeOf(await next(raw))?.code, code);
  await raw.gone();
  raw.destroy();
}

describe('a handshake', () => {
  async function answerTo(request: string | Uint8Array) {
    const raw = await RawWebSocket.dial(gateway.port);
    raw.send(request);
    const answer = await raw.answer();
    raw.destroy();
    return answer;
  }

  it('may offer subprotocols in several lines, and has one Host', async () => {
    const lines = 'chat\r\nSec-WebSocket-Protocol: other, pushcluster.v1';
    const raw = await RawWebSocket.dial(gateway.port);
    raw.send(upgradeRequest('/connect', { headers: { 'Sec-WebSocket-Protocol': lines } }));
    const { status, headers } = await raw.answer();
    assert.deepEqual([status, headers.get('sec-websocket-protocol')], [101, 'pushcluster.v1']);
    raw.destroy();
    const two = await RawWebSocket.dial(gateway.port);
    two.send(upgradeRequest('/connect', { headers: { Host: '127.0.0.1\r\nhost: evil.example' } }));
    assert.equal((await two.answer()).status, 400);
    await two.gone();
  });

  it('is answered with the accept key, and with the subprotocol that was chosen', async () => {
    const key = 'x3JJHMbDL1EzLkh9GBhXDw==';
    const upgrade = (protocol?: string) =>
      answerTo(
        upgradeRequest('/connect', { headers: { 'Sec-WebSocket-Key': key, 'Sec-WebSocket-Protocol': protocol } }),
      );
    const plain = await upgrade();
    assert.equal(plain.status, 101);
    assert.equal(plain.headers.get('sec-websocket-accept'), acceptOf(key));
    assert.equal(plain.headers.get('upgrade')?.toLowerCase(), 'websocket');
    assert.equal(plain.headers.get('sec-websocket-protocol'), undefined);
    assert.equal(plain.headers.get('sec-websocket-extensions'), undefined);
    assert.equal((await upgrade('chat')).headers.get('sec-websocket-protocol'), undefined);
    const both = await upgrade('chat, pushcluster.v1.deflate, pushcluster.v1');
    assert.equal(both.headers.get('sec-websocket-protocol'), 'pushcluster.v1.deflate');
  });

  it('is understood with names in any case, extensions that are not served, and a query', async () => {
    const request = upgradeRequest('/connect?x=1', { headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate' } })
      .replace('Upgrade: websocket', 'uPGRADE: WebSocket')
      .replace('Sec-WebSocket-Key', 'sec-websocket-KEY')
      .replace('Connection: Upgrade', 'connection: keep-alive, Upgrade');
    const { status, headers } = await answerTo(request);
    assert.equal(status, 101);
    assert.equal(headers.get('sec-websocket-extensions'), undefined);
  });

  it('that does not wait for its answer loses what it says too early, and no more', async () => {
    // A client must wait (RFC 6455, 4.1); the engine drops what comes in one packet with the request, frames or garbage.
    for (const early of [ping('early'), Buffer.alloc(64, 0xff), Buffer.from('GET / HTTP/1.1\r\n\r\n')]) {
      const raw = await RawWebSocket.dial(gateway.port);
      raw.send(Buffer.concat([Buffer.from(upgradeRequest('/connect')), early]));
      assert.equal((await raw.answer()).status, 101);
      await assertAlive(raw);
      raw.destroy();
    }
  });

  it('of another version is answered 426 with the one there is', async () => {
    for (const version of ['8', '14', '', undefined]) {
      const { status, headers, body } = await answerTo(
        upgradeRequest('/connect', { headers: { 'Sec-WebSocket-Version': version } }),
      );
      assert.equal(status, 426, `version ${version}`);
      assert.equal(headers.get('sec-websocket-version'), '13');
      assert.equal(JSON.parse(body).code, 'version');
    }
  });

  it('that is none is a problem in JSON: 426 without Upgrade, 400 where it is wrong, 404 elsewhere', async () => {
    const wrong: [string, number][] = [
      [upgradeRequest('/connect', { headers: { 'Sec-WebSocket-Key': undefined } }), 400],
      [upgradeRequest('/connect', { headers: { 'Sec-WebSocket-Key': 'short' } }), 400],
      [upgradeRequest('/connect', { headers: { Upgrade: undefined, 'Sec-WebSocket-Key': undefined } }), 426],
      [upgradeRequest('/connect', { headers: { Upgrade: 'h2c', 'Sec-WebSocket-Key': undefined } }), 426],
      [upgradeRequest('/connect', { method: 'POST', headers: { 'Content-Length': '0' } }), 400],
      [upgradeRequest('/elsewhere'), 404],
      [upgradeRequest('/'), 404],
      [upgradeRequest('/ws'), 404],
    ];
    for (const [request, status] of wrong) {
      const answer = await answerTo(request);
      assert.equal(answer.status, status, request);
      assert.equal(answer.headers.get('content-type'), 'application/problem+json');
      assert.equal(JSON.parse(answer.body).status, status);
      if (status === 426) assert.equal(answer.headers.get('upgrade'), 'websocket');
    }
  });

  it('in HTTP/1.0, or in what is no HTTP, opens nothing', async () => {
    for (const request of [
      upgradeRequest('/connect', { version: 'HTTP/1.0' }),
      upgradeRequest('/connect', { version: 'HTTP/9.9' }),
      'GET /connect\r\n\r\n',
      'GET /connect HTTP/1.1\r\n\r\n',
      Buffer.from('16030100a5010000a103030d0a0d0a', 'hex'),
      Buffer.concat([text('{"type":"PING"}'), Buffer.from('\r\n\r\n')]),
    ]) {
      const { status } = await answerTo(request);
      assert.ok(status === 400 || status === 505, `${status} for ${request.toString()}`);
    }
  });

  it('with headers beyond what the engine holds is refused', async () => {
    const long = { Cookie: 'x'.repeat(20_000) };
    const many = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`X-Header-${i}`, 'value']));
    for (const headers of [long, many])
      assert.equal((await answerTo(upgradeRequest('/connect', { headers }))).status, 431);
  });

  it('with as many headers as browsers send, and cookies and a token of some length, is taken', async () => {
    const headers: Record<string, string> = { Cookie: 'x'.repeat(8_000) };
    for (let i = 0; i < 40; i++) headers[`X-Header-${i}`] = 'value';
    const { status } = await answerTo(upgradeRequest(`/connect?token=${'x'.repeat(4_000)}`, { headers }));
    assert.equal(status, 101);
  });

  it('followed by garbage is cut', async () => {
    const raw = await open();
    raw.send(Buffer.alloc(64, 0xff));
    await assertCut(raw, 'garbage');
  });
});

describe('messages', () => {
  it('are understood in fragments, with control frames between them', async () => {
    const raw = await open();
    const [first, ...rest] = fragments(Opcode.text, '{"type":"JO', '', 'IN","id":1,"data":{"room":"', 'r"}}');
    raw.send(first!, ping('between'), ...rest);
    const pong = await next(raw);
    assert.deepEqual([pong?.opcode, pong?.payload.toString()], [Opcode.pong, 'between']);
    assert.equal(await nextText(raw), '{"type":"OK","id":1,"data":{"room":"r"}}');
    raw.destroy();
  });

  it('are understood byte by byte', async () => {
    const raw = await open();
    for (const byte of text('{"type":"PING","data":{}}')) raw.send(Buffer.of(byte));
    assert.equal(await nextText(raw), '{"type":"PONG","data":{}}');
    raw.destroy();
  });

  it('in binary, and empty ones, have no effect but that empty text is no JSON', async () => {
    const raw = await open();
    raw.send(binary(Buffer.from('{"type":"PING","data":{}}')), binary(Buffer.alloc(0)));
    await assertAlive(raw);
    raw.send(text(''));
    await assertClosed(raw, 1008);
  });

  it('of the largest size are taken; over it they are closed with 1009, and over the engine’s cut', async () => {
    const largest = await open();
    largest.send(text(padded(MAX_FRAME)));
    await assertAlive(largest);
    for (const bytes of [MAX_FRAME + 1, ENGINE_MAX]) {
      const over = await open();
      over.send(text(padded(bytes)));
      await assertClosed(over, 1009);
    }
    const parts = await open();
    parts.send(...fragments(Opcode.text, ...padded(MAX_FRAME + 1).match(/.{1,500}/g)!));
    await assertClosed(parts, 1009);
    const cut = await open();
    cut.send(text(padded(ENGINE_MAX + 1)));
    await assertCut(cut, 'over the engine’s limit');
    const inParts = await open();
    inParts.send(...fragments(Opcode.text, ...padded(2 * ENGINE_MAX).match(/.{1,8000}/g)!));
    await assertCut(inParts, 'over the engine’s limit in fragments');
    largest.destroy();
  });

  it('that only announce a great length are cut at once', async () => {
    for (const length of [ENGINE_MAX + 1, 2 ** 31, 2 ** 32, 2 ** 52]) {
      const raw = await open();
      raw.send(frame({ opcode: Opcode.binary, length }));
      await assertCut(raw, `${length} bytes announced`);
    }
  });

  it('of invalid UTF-8 are cut, whole or split between fragments; a character may be split', async () => {
    const invalid = [
      Buffer.from('22c32822', 'hex'),
      Buffer.from('22eda08022', 'hex'),
      Buffer.from('22f490808022', 'hex'),
      Buffer.from('22c0af22', 'hex'),
      Buffer.from('22ff22', 'hex'),
      Buffer.from('22e282', 'hex'),
    ];
    for (const bytes of invalid) {
      const whole = await open();
      whole.send(text(bytes));
      await assertCut(whole, bytes.toString('hex'));
      const split = await open();
      split.send(...fragments(Opcode.text, bytes.subarray(0, 2), bytes.subarray(2)));
      await assertCut(split, `${bytes.toString('hex')} split`);
    }
    const raw = await open();
    const bytes = Buffer.from('{"type":"JOIN","id":1,"data":{"room":"😀"}}');
    const middle = bytes.indexOf(Buffer.from('😀')) + 2;
    raw.send(...fragments(Opcode.text, bytes.subarray(0, middle), bytes.subarray(middle)));
    assert.equal(await nextText(raw), '{"type":"OK","id":1,"data":{"room":"😀"}}');
    raw.destroy();
  });

  it('beyond the rate are closed with 1008, whether they are messages or pings; pings within it are all answered', async () => {
    // Far more than the rate allows in the time that this may take on a slow machine.
    for (const flood of [text('{"type":"NOTHING"}'), ping('flood')]) {
      const flooding = await open();
      flooding.send(Buffer.concat(Array.from({ length: 2_000 }, () => flood)));
      let received = await next(flooding);
      while (received?.opcode === Opcode.pong) received = await next(flooding);
      assert.equal(closeOf(received)?.code, 1008);
      flooding.destroy();
    }
    const pinging = await open();
    for (let i = 0; i < 40; i++) {
      pinging.send(ping(String(i)));
      const pong = await next(pinging);
      assert.deepEqual([pong?.opcode, pong?.payload.toString()], [Opcode.pong, String(i)]);
    }
    await assertAlive(pinging);
    pinging.destroy();
  });
});

describe('frames against the protocol', () => {
  const wrong: Record<string, Uint8Array[]> = {
    'a reserved bit': [frame({ opcode: Opcode.text, payload: '{}', rsv: 1 })],
    'the bit of compression, which was not agreed on': [frame({ opcode: Opcode.text, payload: '{}', rsv: 4 })],
    'a reserved bit on a ping': [frame({ opcode: Opcode.ping, rsv: 2 })],
    ...Object.fromEntries(
      [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`opcode ${opcode}`, [frame({ opcode, payload: '{}' })]]),
    ),
    'a continuation of nothing': [frame({ opcode: Opcode.continuation, payload: '{}' })],
    'a continuation of nothing, and not the last': [
      frame({ opcode: Opcode.continuation, payload: '{}', fin: false }),
      text('{}'),
    ],
    'a message within another': [frame({ opcode: Opcode.text, payload: '{', fin: false }), text('}')],
    'a ping in fragments': [frame({ opcode: Opcode.ping, payload: 'x', fin: false })],
    'a ping of 126 bytes': [ping('x'.repeat(126))],
    'a close of 126 bytes': [close(1000, 'x'.repeat(124))],
  };
  for (const [what, frames] of Object.entries(wrong))
    it(`are cut: ${what}`, async () => {
      const raw = await open();
      raw.send(...frames);
      await assertCut(raw, what);
    });

  it('without a mask never have an effect', async () => {
    const raw = await open();
    raw.send(frame({ opcode: Opcode.text, payload: '{"type":"JOIN","id":1,"data":{"room":"r"}}', mask: false }));
    // The engine takes the first bytes for the mask, so that what is left is no JSON, or no UTF-8.
    raw.send(text('{"type":"PING","data":{}}'));
    const received = await next(raw);
    assert.ok(received === undefined || closeOf(received)?.code === 1008, `opcode ${received?.opcode}`);
    await raw.gone();
  });
});

describe('a close', () => {
  it('is echoed with its code, and the connection ends', async () => {
    for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 4000, 4999]) {
      const raw = await open();
      raw.send(close(code, 'good-bye'));
      await assertClosed(raw, code);
    }
    // Codes of other libraries: the engine answers without one.
    for (const code of [3000, 3999]) {
      const raw = await open();
      raw.send(close(code));
      await assertClosed(raw, 1005);
    }
  });

  it('without a code is answered without one', async () => {
    const raw = await open();
    raw.send(close());
    assert.equal(closeOf(await next(raw))?.code, 1005);
    await raw.gone();
  });

  it('with a code that may not be sent, or a broken payload, is not taken for an honest one', async () => {
    const broken = [
      ...[0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535].map((code) => close(code)),
      frame({ opcode: Opcode.close, payload: Buffer.of(3) }),
      close(1000, Buffer.from('c328', 'hex')),
    ];
    for (const bytes of broken) {
      const raw = await open();
      raw.send(bytes);
      const answer = closeOf(await next(raw));
      assert.ok(answer === undefined || [1002, 1005, 1007].includes(answer.code), `answered ${answer?.code}`);
      await raw.gone();
      raw.destroy();
    }
  });

  it('is the last that counts: what follows it has no effect', async () => {
    const raw = await open();
    raw.send(Buffer.concat([close(1000), text('{"type":"PING","data":{}}')]));
    await assertClosed(raw, 1000);
    assert.equal(raw.unread, 0);
  });
});

// They take their time, and so take it together.
describe('a peer that is slow or silent', { concurrency: true }, () => {
  it('is pinged, kept while it answers, and cut once it does not', { timeout: 240_000 }, async () => {
    const [dead, living] = [await open(), await open()];
    const began = performance.now();
    let pings = 0;
    const answering = (async () => {
      for (;;) {
        const received = await living.frame(240_000);
        if (received?.opcode !== Opcode.ping) return received;
        pings++;
        living.send(frame({ opcode: Opcode.pong, payload: received.payload }));
      }
    })();
    await dead.gone();
    const took = performance.now() - began;
    // The engine's timers are as coarse as four seconds.
    assert.ok(took >= IDLE_TIMEOUT_MS - 4_500, `cut after ${Math.round(took)} ms`);
    assert.equal((await dead.frame())?.opcode, Opcode.ping, 'it was pinged first');
    await until('the living one was pinged again', () => pings >= 3 || living.ended);
    assert.ok(!living.ended, 'one that answered was cut');
    living.send(close(1000));
    assert.equal(closeOf(await answering)?.code, 1000);
    await living.gone();
    dead.destroy();
  });

  it('is cut where its request never comes to an end, however its bytes drip', { timeout: 240_000 }, async () => {
    const request = upgradeRequest('/connect', { headers: { Cookie: 'x'.repeat(1_000) } });
    const silent = await RawWebSocket.dial(gateway.port);
    const dripping = await RawWebSocket.dial(gateway.port);
    let at = 0;
    const drip = setInterval(() => dripping.send(request.slice(at++, at)), 500);
    try {
      // The engine gives a request some 30 s, from the connection on.
      await Promise.all([silent.gone(120_000), dripping.gone(120_000)]);
      assert.ok(at < request.length / 2, 'the request was not at its end');
    } finally {
      clearInterval(drip);
      silent.destroy();
      dripping.destroy();
    }
  });
});

describe('after all this', () => {
  it('no session is left, every end is counted, and the gateway serves', async () => {
    let metrics = await gateway.metrics();
    await until('every end is counted', async () => {
      metrics = await gateway.metrics();
      const count = (name: string) => metrics.sum(`pushcluster_gateway_${name}`);
      return (
        count('connections') === 0 &&
        count('rooms') === 0 &&
        count('connections_closed_total') === count('connections_opened_total')
      );
    });
    assert.ok(metrics.sum('pushcluster_gateway_connections_opened_total') > 0);
    assert.equal(metrics.sum('pushcluster_gateway_shard_restarts_total'), 0);
    const raw = await open();
    await assertAlive(raw);
    raw.destroy();
  });
});
