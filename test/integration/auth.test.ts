import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import { Connection, type ConnectOptions, Refused, type WireForm } from '../harness/connection.ts';
import { Lateness } from '../harness/lateness.ts';
import { type GatewayProcess, startGateway } from '../harness/processes.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { type Claims, hs256, jwks, SigningKey, secondsFromNow } from '../harness/tokens.ts';
import { until } from '../harness/until.ts';

const SECRET = 'a secret of the auth test';
const folder = mkdtempSync(join(tmpdir(), 'pushcluster-auth-'));
after(() => rmSync(folder, { recursive: true }));

/** A file of secrets or keys, which a test may change. */
function secretFile(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('tokens signed with a shared secret', () => {
  const file = secretFile('secret', `${SECRET}\n`);
  let gateway: GatewayProcess;
  before(async () => {
    gateway = await start({ jwt: { secretFile: file, audience: 'live', issuer: 'https://issuer.example' } });
  });
  after(() => gateway.stop());

  const claims = (more: Claims = {}) => ({ aud: 'live', iss: 'https://issuer.example', sub: 'alice', ...more });
  const token = (more: Claims = {}) => hs256(SECRET, claims(more));

  it('are taken from the query, the Authorization header and an AUTH frame', async () => {
    for (const form of ['plain', 'v1', 'deflate'] as const) {
      const connections = [
        await connect({ form, token: token() }),
        await connect({ form, headers: { authorization: `Bearer ${token()}` } }),
        await connect({ form }),
      ];
      assert.equal((await connections[2]!.ask('AUTH', { token: token() })).type, 'OK');
      for (const connection of connections) await connection.join('r');
      for (const connection of connections) connection.cut();
    }
  });

  it('that are not good are 401, or 4401 where a browser must see it', async () => {
    const [, body] = token().split('.');
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`;
    const bad = {
      'of another secret': hs256('another', claims()),
      expired: token({ exp: secondsFromNow(-60) }),
      'not yet valid': token({ nbf: secondsFromNow(60) }),
      'for another audience': token({ aud: 'other' }),
      'of another issuer': token({ iss: 'https://evil.example' }),
      'without a signature': none,
      'signed with a key pair': new SigningKey('RS256').token(claims()),
      'of a user who is no name': token({ sub: 'x'.repeat(129) }),
      'not a token at all': 'what.is.this-then',
    };
    for (const [what, wrong] of Object.entries(bad)) {
      const refusal = await refusalOf({ token: wrong });
      assert.equal(refusal.status, 401, what);
      assert.equal(refusal.headers['www-authenticate'], 'Bearer');
      assert.equal(JSON.parse(refusal.body).code, 'token', what);
      const { code } = await (await connect({ form: 'v1', token: wrong })).ended();
      assert.equal(code, 4401, what);
    }
    const { code } = await (await connect({ form: 'deflate', headers: { authorization: 'Bearer x' } })).ended();
    assert.equal(code, 4401);
    const signatures = Object.values(bad).map((wrong) => wrong.slice(-20));
    await until('refusals are logged', () => gateway.output.includes('handshake refused'));
    assert.ok(!signatures.some((end) => end.length > 3 && gateway.output.includes(end)), 'no token is logged');
  });

  it('leave nothing in the log but its JSON lines', async () => {
    const connection = await connect({ form: 'v1', token: token() });
    await connection.join('r');
    connection.cut();
    assert.equal((await refusalOf({ token: 'bad' })).status, 401);
    await until('the refusal is logged', () => gateway.output.includes('handshake refused'));
    for (const line of gateway.output.trim().split('\n')) assert.ok(line.startsWith('{'), line);
  });

  it('must come within 5 s; until then there is nothing to be had', async (t) => {
    const began = performance.now();
    const lateness = Lateness.during(t);
    const forms: WireForm[] = ['plain', 'v1'];
    const silent = await Promise.all(
      forms.map((form) =>
        inTime(async () => {
          const connection = await connect({ form });
          const answer = await connection.ask('JOIN', { room: 'r' });
          assert.ok(answer.type === 'ERROR' && answer.data.code === 'unauthorized');
          return connection;
        }),
      ),
    );
    const wrong = await inTime(async () => {
      const connection = await connect({ form: 'v1' });
      assert.equal((await connection.ask('AUTH', { token: 'abc' })).type, 'ERROR');
      return connection;
    });
    assert.equal((await wrong.ended()).code, 4401);
    for (const connection of silent) assert.equal((await connection.ended()).code, 4401);
    const took = performance.now() - began;
    assert.ok(took > 4_900, `after ${took} ms`);
    assert.ok(took < 15_000 + lateness.total, `after ${took} ms`);
  });

  it('may be missing when the SDK connects: it is in its rooms as soon as the page has one', async () => {
    const tokens = [null, token()];
    const push = new PushClient(`ws://127.0.0.1:${gateway.port}/connect`, { token: () => tokens.shift() });
    const told: unknown[] = [];
    push.on('error', ({ code }) => told.push(code));
    push.on('close', ({ code }) => told.push(code));
    await push.join('r').joined;
    assert.deepEqual(told, ['unauthorized', 4401]);
    push.close();
  });

  it('end the connection with 4001 when they expire, unless a fresh one came by AUTH', async () => {
    const later = (more: Claims = {}) => token({ exp: secondsFromNow(600), ...more });
    const { stale, fresh, wrong } = await inTime(async (attempt) => {
      const short = () => token({ exp: secondsFromNow(6 * attempt) });
      const [stale, fresh, wrong] = await Promise.all([short(), short(), short()].map((token) => connect({ token })));
      assert.ok(stale && fresh && wrong);
      assert.equal((await fresh.ask('AUTH', { token: later() })).type, 'OK');
      assert.equal((await wrong.ask('AUTH', { token: 'abc' })).type, 'ERROR');
      const other = await wrong.ask('AUTH', { token: later({ sub: 'bob' }) });
      assert.equal(other.type, 'ERROR', 'a connection stays the same user');
      return { stale, fresh, wrong };
    });
    assert.equal((await stale.ended()).code, 4001);
    assert.equal((await wrong.ended()).code, 4001);
    await fresh.ping();
    fresh.cut();
  });

  it('say which rooms may be joined; a fresh one takes out of those that it lacks', async () => {
    const connection = await connect({ form: 'v1', token: token({ rooms: ['live-*', 'lobby'] }) });
    for (const room of ['live-1', 'live-', 'lobby']) await connection.join(room);
    for (const room of ['live', 'lobby2', 'alive-1']) {
      const answer = await connection.ask('JOIN', { room });
      assert.ok(answer.type === 'ERROR' && answer.data.code === 'room_forbidden', room);
    }
    await connection.ask('AUTH', { token: token({ rooms: ['lobby'] }) });
    await until('it is told', () => connection.left.length === 2);
    assert.deepEqual(connection.left.map(({ room }) => room).sort(), ['live-', 'live-1']);
    assert.equal((await connection.ask('JOIN', { room: 'live-1' })).type, 'ERROR');
    const nowhere = await connect({ token: token({ rooms: [] }) });
    assert.equal((await nowhere.ask('JOIN', { room: 'lobby' })).type, 'ERROR');
    connection.cut();
    nowhere.cut();
  });

  it('follow the secret when its file changes, without closing anyone', async () => {
    const before = await connect({ token: token() });
    const fresh = hs256('the next secret', claims());
    assert.equal((await refusalOf({ token: fresh })).status, 401);
    writeFileSync(file, 'the next secret');
    await until('both shards take the next', async () => {
      const tries = await Promise.all(Array.from({ length: 16 }, () => attempt({ token: fresh })));
      return tries.every((status) => status === 101);
    });
    assert.equal((await refusalOf({ token: token() })).status, 401);
    await before.ping();
    before.cut();
  });

  const connect = (options: Omit<ConnectOptions, 'port'>) => Connection.open({ port: gateway.port, ...options });
  const refusalOf = (options: Omit<ConnectOptions, 'port'>) => refused({ port: gateway.port, ...options });
  const attempt = (options: Omit<ConnectOptions, 'port'>) => status({ port: gateway.port, ...options });
});

describe('tokens signed with a key pair', () => {
  for (const algorithm of ['RS256', 'ES256'] as const)
    it(`${algorithm}, by a JWKS file that changes live`, async (t) => {
      const [first, second] = [new SigningKey(algorithm), new SigningKey(algorithm)];
      const file = secretFile(`${algorithm}.json`, jwks(first));
      const { port } = await startFor(t, { jwt: { jwksFile: file } });
      const claims = { sub: 'alice', exp: secondsFromNow(600) };
      const old = await Connection.open({ port, token: first.token(claims) });
      assert.equal(await status({ port, token: second.token(claims) }), 401);
      assert.equal(await status({ port, token: hs256(jwks(first), claims) }), 401, 'a public key is no secret');
      writeFileSync(file, jwks(first, second));
      await until('the second counts', () => allAre(101, { port, token: second.token(claims) }));
      assert.equal(await status({ port, token: first.token(claims) }), 101);
      writeFileSync(file, 'no JSON');
      writeFileSync(file, jwks(second));
      await until('the first is out', () => allAre(401, { port, token: first.token(claims) }));
      await old.ping();
      old.cut();
    });

  it('by a JWKS URL, also of both kinds', async (t) => {
    const keys = [new SigningKey('RS256'), new SigningKey('ES256')];
    let asked = 0;
    const server = createServer((_request, response) => {
      asked++;
      response.setHeader('content-type', 'application/json').end(jwks(...keys));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    const { port } = await startFor(t, { jwt: { jwksUrl: `http://127.0.0.1:${address.port}/jwks.json` } });
    const claims = { sub: 'alice' };
    for (let i = 0; i < 10; i++)
      for (const key of keys) assert.equal(await status({ port, token: key.token(claims) }), 101);
    assert.equal(await status({ port, token: new SigningKey('ES256').token(claims) }), 401);
    assert.ok(asked <= 4, `asked ${asked} times for two shards: keys are kept`);
  });

  it('by a JWKS URL: a new key counts at once, keys outlive their server and changes of other settings', async (t) => {
    const [first, second, third] = [new SigningKey('ES256'), new SigningKey('ES256'), new SigningKey('ES256')];
    let keys = jwks(first, second);
    let up = true;
    const server = createServer((_request, response) => {
      if (up) response.end(keys);
      else response.writeHead(503).end();
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const address = server.address();
    assert.ok(typeof address === 'object' && address !== null);
    const gateway = await startFor(t, { jwt: { jwksUrl: `http://127.0.0.1:${address.port}/jwks.json` } });
    const { port } = gateway;
    const claims = { sub: 'alice' };
    // Each shard has its keys.
    assert.ok(await allAre(101, { port, token: second.token(claims) }));
    keys = jwks(second, third);
    assert.ok(await allAre(101, { port, token: third.token(claims) }), 'who has a new key waits for it');
    up = false;
    await gateway.configure({ gateway: { batching: { maxDelay: '700ms' } } });
    assert.ok(await allAre(101, { port, token: third.token(claims) }));
    const unknown = new SigningKey('ES256').token(claims);
    assert.ok(await allAre(503, { port, token: unknown }), 'what nobody can tell is no refusal');
    const fetches = async () =>
      (await gateway.metrics()).sum('pushcluster_gateway_token_key_fetches_total', { outcome: 'ok' });
    await until('both shards have told of two fetches', async () => (await fetches()) >= 4);
  });

  it('by a JWKS URL that does not answer: 503, come back later', async (t) => {
    const { port } = await startFor(t, { jwt: { jwksUrl: 'http://127.0.0.1:9/jwks.json' } });
    const refusal = await refused({ port, token: new SigningKey('ES256').token({ sub: 'alice' }) });
    assert.equal(refusal.status, 503);
    assert.match(refusal.headers['retry-after'] ?? '', /^\d+$/);
  });
});

describe('anonymous connections', () => {
  it('are allowed beside tokens where that is set, and a token must be good all the same', async (t) => {
    const file = secretFile('anonymous', SECRET);
    const { port } = await startFor(t, { jwt: { secretFile: file }, anonymous: true });
    const anonymous = await Connection.open({ port });
    await anonymous.join('r');
    assert.equal(await status({ port, token: 'abc' }), 401);
    assert.equal(await status({ port, token: hs256(SECRET, { sub: 'alice' }) }), 101);
    const token = hs256(SECRET, { sub: 'alice', rooms: ['r'] });
    assert.equal((await anonymous.ask('AUTH', { token: 'abc' })).type, 'ERROR');
    assert.equal((await anonymous.ask('AUTH', { token })).type, 'OK', 'it says who it is');
    assert.equal((await anonymous.ask('AUTH', { token: hs256(SECRET, { sub: 'bob' }) })).type, 'ERROR', 'once');
    assert.equal((await anonymous.ask('JOIN', { room: 'other' })).type, 'ERROR');
    await anonymous.ping();
    anonymous.cut();
  });
});

it('a shard that is replaced while the file of keys is blank can’t tell, and can once it is there again', async (t) => {
  const file = secretFile('blanked', `${SECRET}\n`);
  const gateway = await startFor(t, { jwt: { secretFile: file } });
  const { port } = gateway;
  const token = hs256(SECRET, { sub: 'alice' });
  writeFileSync(file, ' \n\n');
  const former = gateway.shardPids;
  for (const pid of former) process.kill(pid, 'SIGKILL');
  await until(
    'new shards listen',
    async () =>
      gateway.shardPids.filter((pid) => !former.includes(pid)).length === former.length &&
      (await gateway.probe('/healthz')) === 200,
  );
  assert.ok(await allAre(503, { port, token }));
  writeFileSync(file, `${SECRET}\n`);
  await until('tokens can be checked', () => allAre(101, { port, token }));
});

function start(auth: NonNullable<SettingsInput['auth']>): Promise<GatewayProcess> {
  return startGateway({ settings: { gateway: { shards: 2 }, auth } });
}

async function startFor(t: TestContext, auth: NonNullable<SettingsInput['auth']>): Promise<GatewayProcess> {
  const gateway = await start(auth);
  t.after(() => gateway.stop());
  return gateway;
}

/**
 * Does what must be done before the gateway closes a connection whose time is over; again, and with more time, if a
 * busy machine took too long.
 */
async function inTime<T>(work: (attempt: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++)
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt === 5 || error instanceof assert.AssertionError || !/closed with 4[04]01/.test(String(error)))
        throw error;
    }
}

/** The status of a handshake; 101 where it went through. */
async function status(options: ConnectOptions): Promise<number> {
  try {
    (await Connection.open(options)).cut();
    return 101;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error.status;
  }
}

/** Whether so many handshakes that both shards have their share of them all have this status. */
async function allAre(expected: number, options: ConnectOptions): Promise<boolean> {
  const tries = await Promise.all(Array.from({ length: 16 }, () => status(options)));
  return tries.every((status) => status === expected);
}

async function refused(options: ConnectOptions): Promise<Refused> {
  try {
    (await Connection.open(options)).cut();
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  }
  throw new Error('the handshake was to be refused and went through');
}
