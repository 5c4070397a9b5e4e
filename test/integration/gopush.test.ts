import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { binary, closeOf, Opcode, RawWebSocket, text } from '../harness/rawWebSocket.ts';

/**
 * What go-push (github.com/owenliang/go-push) says in its README and does in its sources: its clients and its backends
 * must work unchanged. Where we differ on purpose the test's name says so.
 */

const WINDOW = '200ms';

let nats: NatsServer;
let gateway: GatewayProcess;
let logic: LogicProcess;
let client: RawWebSocket;
before(async () => {
  nats = await startNatsServer();
  [gateway, logic] = await Promise.all([
    startGateway({ nats: [nats.url], settings: { gateway: { batching: { maxDelay: WINDOW } } } }),
    startLogic({ nats: [nats.url] }),
  ]);
});
after(async () => {
  client?.destroy();
  await Promise.all([gateway?.stop(), logic?.stop()]);
  await nats?.stop();
});
beforeEach(async () => {
  client?.destroy();
  client = await RawWebSocket.open(gateway.port);
});

const PONG = '{"type":"PONG","data":{}}';

/** The text of the next message, as a go-push client reads it: frame by frame, with nothing else between. */
async function read(): Promise<string> {
  const received = await client.frame();
  assert.equal(received?.opcode, Opcode.text);
  assert.equal(received.fin, true);
  return received.payload.toString();
}

/** That all before was obeyed: frames are handled in order. */
async function settle() {
  client.send(text('{"type":"PING","data":{}}'));
  assert.equal(await read(), PONG);
}

/** Joins without an id, as go-push clients do; waits until pushes arrive, since nobody says so. */
async function join(room: string) {
  client.send(text(`{"type": "JOIN", "data": {"room": ${JSON.stringify(room)}}}`));
  await settle();
  const probe = await RawWebSocket.open(gateway.port);
  probe.send(text(JSON.stringify({ type: 'JOIN', id: 1, data: { room } })));
  await probe.frame();
  probe.destroy();
}

/** `curl http://localhost:7799/PATH -d 'BODY'` */
async function curl(path: string, body: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${logic.port}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', 'user-agent': 'curl/7.88.1', accept: '*/*' },
    body,
  });
  return { status: response.status, body: await response.text() };
}

type Push = { type: string; data: { room?: string; items: unknown[] } };
async function readPush(): Promise<Push> {
  const push = JSON.parse(await read()) as Push;
  assert.deepEqual(Object.keys(push), ['type', 'data']);
  assert.equal(push.type, 'PUSH');
  return push;
}

describe("go-push's frames", () => {
  it('PING is answered by PONG, spaced as in its README, as in its console, and without data', async () => {
    for (const ping of ['{"type": "PING", "data": {}}', '{"type":"PING","data":{}}', '{"type": "PING"}']) {
      client.send(text(ping));
      assert.equal(await read(), PONG);
    }
  });

  it('JOIN and LEAVE are not answered, nor when they are repeated or have no effect', async () => {
    for (const room of ['fengtimo', '默认房间', 'chrome-plugin']) {
      client.send(text(`{"type": "LEAVE", "data": {"room": "${room}"}}`));
      for (let i = 0; i < 2; i++) client.send(text(`{"type": "JOIN", "data": {"room": "${room}"}}`));
    }
    client.send(text('{"type": "LEAVE", "data": {"room": "fengtimo"}}'));
    await settle();
  });

  it('PUSH to all has its items and nothing else', async () => {
    assert.deepEqual(await curl('/push/all', 'items=[{"msg": "hi"},{"msg": "bye"}]'), { status: 200, body: '' });
    assert.equal(await read(), '{"type":"PUSH","data":{"items":[{"msg": "hi"},{"msg": "bye"}]}}');
  });

  it('PUSH to a room has its items, and also the room, which go-push leaves to guess', async () => {
    await join('default');
    assert.deepEqual(await curl('/push/room', 'room=default&items=[{"msg": "hi"},{"msg": "bye"}]'), {
      status: 200,
      body: '',
    });
    assert.equal(await read(), '{"type":"PUSH","data":{"room":"default","items":[{"msg": "hi"},{"msg": "bye"}]}}');
  });

  it('pushes are merged in their order', async () => {
    // Most of them come within one window, on a busy machine too; a shorter one sends at once what waits.
    await gateway.configure({ gateway: { batching: { maxDelay: '10s', adaptive: false } } });
    await join('merge');
    for (let i = 0; i < 20; i++) await curl('/push/room', `room=merge&items=[${i},"${i}"]`);
    await gateway.configure({ gateway: { batching: { maxDelay: WINDOW } } });
    const items: unknown[] = [];
    let frames = 0;
    for (; items.length < 40; frames++) items.push(...(await readPush()).data.items);
    assert.deepEqual(items, Array.from({ length: 20 }, (_, i) => [i, `${i}`]).flat());
    assert.ok(frames < 20, `${frames} frames`);
  });

  it('a room that was left brings nothing more', async () => {
    await join('left');
    await curl('/push/room', 'room=left&items=[1]');
    assert.deepEqual((await readPush()).data.items, [1]);
    client.send(text('{"type": "LEAVE", "data": {"room": "left"}}'));
    await settle();
    await curl('/push/room', 'room=left&items=[2]');
    await curl('/push/all', 'items=["end"]');
    assert.deepEqual((await readPush()).data.items, ['end']);
  });

  it('other types, unknown fields and binary messages are ignored', async () => {
    client.send(
      text('{"type":"SUBSCRIBE","data":{"room":"r"}}'),
      text('{"type":"PONG","data":{}}'),
      text('{"type":"PUSH","data":{"items":[1]}}'),
      binary(Buffer.from('{"type":"PING","data":{}}')),
      text('{"x":1,"type":"JOIN","data":{"y":2,"room":"r"},"z":[3]}'),
    );
    await settle();
  });

  it('what is not JSON ends the connection, with 1008', async () => {
    client.send(text('{"type": "PING"'));
    assert.equal(closeOf(await client.frame())?.code, 1008);
    await client.gone();
  });

  it('a JOIN without a room is ignored, where go-push ends the connection', async () => {
    client.send(text('{"type": "JOIN", "data": {"room": ""}}'), text('{"type": "JOIN"}'));
    await settle();
  });
});

describe("go-push's push API", () => {
  it('takes forms as curl sends them, and as browsers and libraries encode them', async () => {
    await join('forms');
    const items = '[{"msg":"a+b & c=d 100% 弹幕"}]';
    const encoded = new URLSearchParams({ room: 'forms', items });
    for (const body of [
      encoded.toString(),
      `items=${encodeURIComponent(items)}&room=forms`,
      `room=forms&other=1&items=${encodeURIComponent(items)}&items=[0]&room=elsewhere`,
    ]) {
      assert.deepEqual(await curl('/push/room', body), { status: 200, body: '' });
      assert.equal(await read(), `{"type":"PUSH","data":{"room":"forms","items":${items}}}`);
    }
  });

  it('sends JSON of any kind as it is written, where go-push removes spaces and escapes <, > and &', async () => {
    await join('kinds');
    const items = '[null, true, -0.50, "<b>&amp;</b>", [ ], {"a" : {"b":[]}}]';
    await curl('/push/room', new URLSearchParams({ room: 'kinds', items }).toString());
    const received = await read();
    assert.equal(
      received,
      '{"type":"PUSH","data":{"room":"kinds","items":[null,true,-0.50,"<b>&amp;</b>",[ ],{"a" : {"b":[]}}]}}',
    );
  });

  it('answers 400 to what is malformed, where go-push answers 200 and sends nothing', async () => {
    for (const [path, body] of [
      ['/push/all', 'items=[{"msg": "hi"'],
      ['/push/all', 'items={"msg": "hi"}'],
      ['/push/all', ''],
      ['/push/room', 'items=[1]'],
      ['/push/room', 'room=&items=[1]'],
      ['/push/room', 'room=r'],
    ] as const) {
      const { status, body: problem } = await curl(path, body);
      assert.equal(status, 400, body);
      assert.equal(JSON.parse(problem).status, 400);
    }
    await settle();
  });

  it('has its stats', async () => {
    const stats = async () => {
      const response = await fetch(`http://127.0.0.1:${logic.port}/stats`);
      assert.equal(response.status, 200);
      return (await response.json()) as Record<string, number>;
    };
    const before = await stats();
    assert.deepEqual(Object.keys(before), ['DispatchTotal', 'DispatchFail', 'PushFail']);
    await curl('/push/all', 'items=[1,2,3]');
    const { DispatchTotal, DispatchFail, PushFail } = await stats();
    assert.equal(DispatchTotal, before.DispatchTotal! + 3);
    assert.deepEqual([DispatchFail, PushFail], [0, 0]);
  });
});
