import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Connection, type ConnectOptions, cutAll, Refused, WIRE_FORMS } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { upgradeRequest } from '../harness/rawWebSocket.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { jwks, SigningKey, secondsFromNow } from '../harness/tokens.ts';
import { until } from '../harness/until.ts';

let nats: NatsServer;
let logic: LogicProcess;
/** Of the test that runs. */
let opened: Connection[] = [];

before(async () => {
  nats = await startNatsServer();
  logic = await startLogic({ nats: [nats.url] });
});
after(async () => {
  await logic.stop();
  await nats.stop();
});

describe('limits of connections', () => {
  it('connections.max is never exceeded; who is one too many is told to come back later', async (t) => {
    const max = 10;
    const gateway = await start(t, { connections: { max } });
    await until('it is full', async () => {
      await attempt({ port: gateway.port });
      return opened.length >= max - 1;
    });
    // A whole connection can't be split between two shards: one may stay free.
    const refused = await refusals(gateway, 40);
    assert.ok(opened.length === max || opened.length === max - 1, `${opened.length} connections`);
    for (const refusal of refused) assertProblem(refusal, 503, 'full');
    const waits = new Set(refused.map(({ headers }) => headers['retry-after']));
    assert.ok(waits.size > 1, 'jittered');
    await gateway.holds(opened.length);
    await until('the refusals are counted', async () => (await refusedBy(gateway, 'full')) > 0);
    const before = opened.length;
    opened[0]?.close();
    await until('another one gets in', async () => (await attempt({ port: gateway.port })) === true);
    await until('the other is gone', () => opened[0]?.closed !== undefined);
    assert.equal(opened.length, before + 1);
    assert.ok(opened.filter(({ closed }) => closed === undefined).length <= max);
  });

  it('connections.max is never exceeded by those who come at once while their addresses or tokens are looked at', async (t) => {
    const max = 10;
    const key = new SigningKey('ES256');
    const folder = mkdtempSync(join(tmpdir(), 'pushcluster-limits-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const jwksFile = join(folder, 'jwks.json');
    writeFileSync(jwksFile, jwks(key));
    const gateway = await start(t, { connections: { max, perIp: 1_000 } }, { anonymous: true, jwt: { jwksFile } });
    const token = key.token({ sub: 'u', exp: secondsFromNow(600) });
    await until('it is full', async () => {
      const answers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => attempt({ port: gateway.port, ...(i % 2 === 0 ? {} : { token }) })),
      );
      for (const answer of answers) if (answer !== true) assertProblem(answer, 503, 'full');
      assert.ok(opened.length <= max, `${opened.length} of ${max} connections`);
      return opened.length >= max - 1;
    });
    await gateway.holds(opened.length);
    // Who was refused in the end doesn't count for its address.
    await change(gateway, { gateway: { connections: { max: 0, perIp: opened.length + 1 } } });
    await until('one more gets in', async () => (await attempt({ port: gateway.port })) === true);
    assertProblem(await attempt({ port: gateway.port }), 429, 'per_ip');
  });

  it('acceptRate lets so many handshakes a second through', async (t) => {
    const gateway = await start(t, { connections: { acceptRate: 10 } });
    const refused: Refused[] = [];
    const began = performance.now();
    await until('a hundred tried', async () => {
      const answer = await attempt({ port: gateway.port });
      if (answer instanceof Refused) refused.push(answer);
      return opened.length + refused.length === 100;
    });
    const seconds = (performance.now() - began) / 1_000;
    assert.ok(opened.length <= 10 * (seconds + 1), `${opened.length} in ${seconds} s`);
    for (const refusal of refused) assertProblem(refusal, 429, 'rate');
    const before = opened.length;
    await until('later ones get in', async () => (await attempt({ port: gateway.port })) === true);
    assert.ok(opened.length > before);
  });

  it('perIp counts connections of one address over all shards, and forgets those that end', async (t) => {
    const gateway = await start(t, { connections: { perIp: 3 } });
    const { port } = gateway;
    for (const from of ['127.0.0.1', '127.0.0.2', '127.9.9.9']) {
      for (let i = 0; i < 3; i++) assert.equal(await attempt({ port, from }), true);
      for (let i = 0; i < 6; i++) assertProblem(await attempt({ port, from }), 429, 'per_ip');
    }
    opened[3]?.close();
    await until('one more gets in', async () => (await attempt({ port, from: '127.0.0.2' })) === true);
    assertProblem(await attempt({ port, from: '127.0.0.2' }), 429, 'per_ip');
    assertProblem(await attempt({ port, from: '127.0.0.1' }), 429, 'per_ip');
  });

  it('perIp forgets those that go while they are still being looked at', async (t) => {
    const perIp = 5;
    const { port } = await start(t, { connections: { perIp } });
    for (let round = 0; round < 5; round++) {
      const sockets = Array.from({ length: 40 }, () => createConnection(port, '127.0.0.1'));
      await Promise.all(
        sockets.map(async (socket) => {
          socket.on('error', () => {});
          await once(socket, 'connect');
          socket.write(upgradeRequest('/connect'), () => socket.resetAndDestroy());
        }),
      );
    }
    await until('all may come again', async () => (await attempt({ port })) === true && opened.length === perIp);
    assertProblem(await attempt({ port }), 429, 'per_ip');
  });

  it('forwarded addresses count only where that is set: X-Forwarded-For, live', async (t) => {
    const gateway = await start(t, { connections: { perIp: 2 } });
    const { port } = gateway;
    const from = (address: string) => ({ port, headers: { 'x-forwarded-for': `10.0.0.1, ${address}` } });
    for (let i = 1; i <= 2; i++) assert.equal(await attempt(from(`192.0.2.${i}`)), true);
    assertProblem(await attempt(from('192.0.2.3')), 429, 'per_ip');
    await change(gateway, { gateway: { forwardedHeaders: true } });
    for (let i = 1; i <= 4; i++) assert.equal(await attempt(from(`192.0.2.${i}`)), true);
    assert.equal(await attempt(from('192.0.2.4')), true);
    assertProblem(await attempt(from('192.0.2.4')), 429, 'per_ip');
  });

  it('of X-Forwarded-For the entries count that as many proxies added as are set, on whichever line, in one spelling', async (t) => {
    const gateway = await start(t, { connections: { perIp: 1 }, forwardedHeaders: 2 });
    const from = (...lines: string[]) => ({ port: gateway.port, headers: { 'x-forwarded-for': lines } });
    assert.equal(await attempt(from('192.0.2.1, 10.0.0.1')), true);
    for (const own of ['6.6.6.6', '6.6.6.6, 7.7.7.7', 'unknown', '[::1]:80', ','])
      for (const lines of [
        [own, '192.0.2.1', '10.0.0.1'],
        [own, '192.0.2.1, 10.0.0.1'],
        [`${own}, 192.0.2.1`, '10.0.0.1'],
        [`${own}, ::ffff:192.0.2.1, [2001:db8::1]:99`],
      ])
        assertProblem(await attempt(from(...lines)), 429, 'per_ip');
    assert.equal(await attempt(from('2001:db8:1:2::a, 10.0.0.1')), true);
    for (const spelling of ['2001:0db8:0001:0002:0000:0000:0000:000a', '2001:DB8:1:2::A', '[2001:db8:1:2::b]:443'])
      assertProblem(await attempt(from(spelling, '10.0.0.1')), 429, 'per_ip');
    assert.equal(await attempt(from('2001:db8:1:3::a, 10.0.0.1')), true);
    // By one proxy only, which is trusted as well.
    assert.equal(await attempt(from('192.0.2.2')), true);
    assertProblem(await attempt(from('192.0.2.2')), 429, 'per_ip');
    // The outer proxy tells no address: the inner one says who that is.
    assert.equal(await attempt(from('6.6.6.6, unknown, 10.0.0.7')), true);
    assertProblem(await attempt(from('7.7.7.7, unknown, 10.0.0.7')), 429, 'per_ip');
  });

  it('forwarded addresses count only where that is set: PROXY protocol', async (t) => {
    const from = (port: number, address: string) => ({ port, ahead: proxyHeader(address) });
    const trusting = await start(t, { connections: { perIp: 2 }, proxyProtocol: true });
    for (let i = 1; i <= 4; i++) assert.equal(await attempt(from(trusting.port, `192.0.2.${i}`)), true);
    assert.equal(await attempt(from(trusting.port, '192.0.2.4')), true);
    assertProblem(await attempt(from(trusting.port, '192.0.2.4')), 429, 'per_ip');
    const plain = await start(t, { connections: { perIp: 2 } });
    for (let i = 1; i <= 2; i++) assert.equal(await attempt(from(plain.port, `192.0.2.${i}`)), true);
    assertProblem(await attempt(from(plain.port, '192.0.2.3')), 429, 'per_ip');
  });

  it('an Origin that is not allowed is 403, or 4403 where a browser must see it', async (t) => {
    const gateway = await start(t, {}, { allowedOrigins: ['https://*.example.com', 'HTTPS://Example.com:443/'] });
    const { port } = gateway;
    const from = (origin: string, form: ConnectOptions['form'] = 'plain') => ({ port, form, headers: { origin } });
    for (const origin of ['https://evil.com', 'https://example.com.evil.com', 'http://example.com', 'null'])
      assertProblem(await attempt(from(origin)), 403, 'origin');
    for (const form of ['v1', 'deflate'] as const) {
      const connection = await Connection.open(from('https://evil.com', form));
      assert.equal((await connection.ended()).code, 4403);
    }
    assert.equal(await attempt(from('https://live.example.com')), true);
    assert.equal(await attempt(from('https://example.com', 'v1')), true);
    assert.equal(await attempt({ port }), true, 'no browser, no Origin');
    await until('they are counted', async () => (await refusedBy(gateway, 'origin')) === 6);
  });
});

describe('limits of what a connection may do', () => {
  let gateway: GatewayProcess;
  before(async () => {
    gateway = await startGateway({
      settings: { gateway: { shards: 2, batching: { maxDelay: 50 }, rooms: { maxPerConnection: 2 } } },
      nats: [nats.url],
    });
  });
  after(() => gateway.stop());

  it('rooms: one too many is an ERROR with the id, or ignored and counted without', async () => {
    for (const form of WIRE_FORMS) {
      const connection = await Connection.open({ port: gateway.port, form });
      await connection.join('a');
      await connection.join('b');
      await connection.join('a');
      const answer = await connection.ask('JOIN', { room: 'c' });
      assert.ok(answer.type === 'ERROR' && answer.data.code === 'room_limit');
      connection.send({ type: 'JOIN', data: { room: 'c' } });
      await connection.ping();
      await accepted(logic.push({ rooms: ['a', 'c'] }, ['1']));
      await until('its rooms go on', () => connection.received === 1);
      await connection.leave('a');
      await connection.join('c');
      connection.cut();
    }
    await until('they are counted', async () => (await ignored('room_limit')) === 2 * WIRE_FORMS.length);
  });

  it('names: what is no room is an ERROR with the id, or ignored without', async () => {
    const connection = await Connection.open({ port: gateway.port });
    for (const room of ['', 'x'.repeat(129), 'é'.repeat(65), 7, null, { a: 1 }]) {
      const answer = await connection.ask('JOIN', { room });
      assert.ok(answer.type === 'ERROR' && answer.data.code === 'bad_room', JSON.stringify(room));
      connection.send({ type: 'JOIN', data: { room } });
    }
    await connection.join('é'.repeat(64));
    for (const frame of [{ type: 'JOIN' }, { type: 'NEWS', data: {} }, {}, [1], 7, 'text', null])
      connection.send(JSON.stringify(frame));
    await connection.ping();
    connection.cut();
  });

  it('frames that come too fast end with 1008, and those at the allowed pace go on', async () => {
    const [fast, calm] = await Promise.all([0, 1].map(() => Connection.open({ port: gateway.port })));
    for (let i = 0; i < 90; i++) calm!.send({ type: 'PING', data: {} });
    for (let i = 0; i < 1_000; i++) fast!.send({ type: 'PING', data: {} });
    const { code, reason } = await fast!.ended();
    assert.equal(code, 1008);
    assert.match(reason, /50 frames a second/);
    await calm!.ping();
    calm!.cut();
  });

  it('frames that are too large end with 1009, by the engine with 1006', async () => {
    const ping = (size: number) => JSON.stringify({ type: 'PING', data: '' }).padEnd(size, ' ');
    const largest = await Connection.open({ port: gateway.port });
    largest.send(ping(4_096));
    await largest.ping();
    largest.cut();
    for (const [size, expected] of [
      [4_097, 1009],
      [65_000, 1009],
      [70_000, 1006],
    ] as const) {
      const connection = await Connection.open({ port: gateway.port });
      connection.send(ping(size));
      assert.equal((await connection.ended()).code, expected, `${size} bytes`);
    }
  });

  it('what is not JSON ends with 1008', async () => {
    for (const text of ['hello', '{', '{"type":"PING","data":{}}}', '']) {
      const connection = await Connection.open({ port: gateway.port });
      connection.send(text);
      const { code, reason } = await connection.ended();
      assert.equal(code, 1008, text);
      assert.match(reason, /JSON/);
    }
  });

  async function ignored(reason: string): Promise<number> {
    return (await gateway.metrics()).sum('pushcluster_gateway_frames_ignored_total', { reason });
  }
});

/** A gateway of two shards for one test, and what the test opens ended with it. */
async function start(
  t: TestContext,
  gateway: SettingsInput['gateway'],
  auth: SettingsInput['auth'] = {},
): Promise<GatewayProcess> {
  const started = await startGateway({ settings: { gateway: { shards: 2, ...gateway }, auth }, nats: [nats.url] });
  opened = [];
  t.after(async () => {
    cutAll(opened);
    await started.stop();
  });
  return started;
}

/** True where the handshake went through (the connection is then among `opened`), or how it was refused. */
async function attempt(options: ConnectOptions): Promise<true | Refused> {
  try {
    opened.push(await Connection.open(options));
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error;
  }
}

/** Tries so often, and answers those that were refused. */
async function refusals({ port }: GatewayProcess, count: number): Promise<Refused[]> {
  const answers: Refused[] = [];
  for (let i = 0; i < count; i++) {
    const answer = await attempt({ port });
    if (answer instanceof Refused) answers.push(answer);
  }
  return answers;
}

function assertProblem(answer: true | Refused, status: number, code: string) {
  assert.ok(answer instanceof Refused, `refused with ${status} ${code}`);
  assert.equal(answer.status, status);
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  const problem: unknown = JSON.parse(answer.body);
  assert.ok(typeof problem === 'object' && problem !== null && 'detail' in problem && 'title' in problem);
  assert.ok('status' in problem && problem.status === status);
  assert.ok('code' in problem && problem.code === code, answer.body);
  if (status === 429 || status === 503) assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d*$/);
}

async function refusedBy(gateway: GatewayProcess, reason: string): Promise<number> {
  return (await gateway.metrics()).sum('pushcluster_gateway_refused_total', { reason });
}

/** Changes settings; resolves when the shards have them too: they answer questions in their turn. */
async function change(gateway: GatewayProcess, settings: SettingsInput): Promise<void> {
  await gateway.configure(settings);
  await logic.hearsAll();
}

async function accepted(answer: ReturnType<LogicProcess['push']>): Promise<void> {
  const { status, body } = await answer;
  assert.equal(status, 202, JSON.stringify(body));
}

/** The header of the PROXY protocol, version 2: a TCP connection from this IPv4 address. */
function proxyHeader(address: string): Buffer {
  const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
  const addresses = [...address.split('.').map(Number), 127, 0, 0, 1, 0x30, 0x39, 0x1e, 0x61];
  return Buffer.concat([signature, Buffer.from([0x21, 0x11, 0, addresses.length, ...addresses])]);
}
