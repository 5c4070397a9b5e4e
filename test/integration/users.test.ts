import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll, WIRE_FORMS, type WireForm } from '../harness/connection.ts';
import { Ledger } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { hs256 } from '../harness/tokens.ts';
import { until } from '../harness/until.ts';

const SECRET = 'the secret of the users test';
const folder = mkdtempSync(join(tmpdir(), 'pushcluster-users-'));
const secretFile = join(folder, 'secret');

let nats: NatsServer;
let logic: LogicProcess;
/** Two of two shards each. */
let gateways: GatewayProcess[];
let connections: Connection[] = [];

before(async () => {
  writeFileSync(secretFile, SECRET);
  nats = await startNatsServer();
  logic = await startLogic({ nats: [nats.url] });
  const settings = { gateway: { shards: 2, batching: { maxDelay: 50 } }, auth: { jwt: { secretFile } } };
  gateways = await Promise.all([0, 1].map(() => startGateway({ settings, nats: [nats.url] })));
});
after(async () => {
  cutAll(connections);
  await Promise.all([...gateways, logic].map((process) => process.stop()));
  await nats.stop();
  rmSync(folder, { recursive: true });
});

describe('a user', () => {
  it('is disconnected everywhere by the API, with 4002 and the reason; others stay', async () => {
    const [alices, bobs] = [await crowd('alice'), await crowd('bob')];
    const answer = await logic.disconnect({ user: 'alice' }, 'spämmed the röom');
    assert.equal(answer.status, 202);
    for (const connection of alices) {
      const { code, reason } = await connection.ended();
      assert.deepEqual({ code, reason }, { code: 4002, reason: 'spämmed the röom' });
    }
    for (const connection of bobs) await connection.ping();
    const { body } = await get('/v1/users/alice');
    assert.match(body, /"connections":0/);
    cutAll(bobs);
  });

  it('gets what is pushed to them on all their connections, and nobody else does', async (t) => {
    const [alices, bobs] = [await crowd('alice'), await crowd('bob')];
    const ledger = new Ledger();
    const writers = [{ user: 'alice' }, { user: 'bob' }, { user: 'nobody' }, { all: true } as const].map((place, i) =>
      ledger.writer(`w${i}`, place, logic),
    );
    for (let i = 0; i < 20; i++) await Promise.all(writers.map((writer) => writer.push(3, 40)));
    await ledger.settle(t, [...alices, ...bobs]);
    cutAll([...alices, ...bobs]);
  });

  it('has one session where that is set: the newest, across shards and gateways; older ones get 4004', async () => {
    for (const gateway of gateways) await gateway.configure({ gateway: { connections: { onePerUser: true } } });
    await logic.hearsAll();
    const others = await Promise.all(gateways.map(({ port }, i) => open(port, `other ${i}`)));
    let former: Connection | undefined;
    for (let i = 0; i < 24; i++) {
      const { port } = gateways[i % 3 === 0 ? 0 : 1]!;
      const newest = await open(port, 'carol', WIRE_FORMS[i % 3]);
      if (former) assert.equal((await former.ended()).code, 4004);
      former = newest;
      // Its gateway has told the others by then: two within a moment of that go by clocks of a millisecond.
      await until('one is counted', async () => (await get('/v1/users/carol')).body.includes('"connections":1,'));
    }
    await former!.ping();
    for (const connection of others) await connection.ping();
  });

  it('keeps one of several sessions that were opened at the same moment', async () => {
    const sessions = await Promise.all(Array.from({ length: 20 }, (_, i) => open(gateways[i % 2]!.port, 'dora')));
    const kept = () => sessions.filter(({ closed }) => closed === undefined);
    await until('one is left', () => kept().length === 1);
    const newest = await open(gateways[0]!.port, 'dora');
    await until('the newest is the only one', () => kept().length === 0);
    await newest.ping();
    assert.deepEqual([...new Set(sessions.map(({ closed }) => closed))], [4004]);
  });
});

describe('a room', () => {
  it('is emptied by the API: everyone is taken out and told, connections stay', async (t) => {
    for (const gateway of gateways) await gateway.configure({ gateway: { connections: { onePerUser: false } } });
    await logic.hearsAll();
    const members = [...(await crowd('alice')), ...(await crowd('bob'))];
    for (const connection of members) for (const room of ['doomed', 'safe']) await connection.join(room);
    const ledger = new Ledger();
    const writers = ['doomed', 'safe'].map((room) => ledger.writer(room, { room }, logic));
    for (const writer of writers) await writer.push(5);
    const isUpToDate = (connection: Connection) => ledger.accounts(connection).every((a) => a.published === a.received);
    await until('they are in', () => members.every(isUpToDate));

    assert.equal((await logic.disconnect({ room: 'doomed' }, 'closed for the night')).status, 202);
    const v1 = members.filter(({ form }) => form !== 'plain');
    await until('they are told', () => v1.every(({ left }) => left.length === 1));
    for (const { left } of v1) assert.deepEqual(left, [{ room: 'doomed', reason: 'closed for the night' }]);
    await until('it is empty', async () => (await get('/v1/rooms/doomed')).body.includes('"connections":0'));
    await logic.push({ room: 'doomed' }, ['"too late"']);
    const before = members.map(({ received }) => received);
    const safe = new Ledger();
    safe.writers.push(writers[1]!);
    for (const connection of members) {
      connection.rooms.delete('doomed');
      connection.tallies.delete('doomed\ndoomed');
    }
    await safe.settle(t, members);
    assert.deepEqual(
      members.map(({ received }) => received),
      before.map((received) => received + 1),
    );
    for (const connection of members) await connection.join('doomed');
  });
});

/** Connections of a user in all forms on all gateways. */
async function crowd(user: string): Promise<Connection[]> {
  return Promise.all(
    gateways.flatMap(({ port }) => WIRE_FORMS.flatMap((form) => [0, 1].map(() => open(port, user, form)))),
  );
}

async function open(port: number, user: string, form: WireForm = 'v1'): Promise<Connection> {
  const connection = await Connection.open({ port, form, user, token: hs256(SECRET, { sub: user }) });
  connections = connections.filter(({ closed }) => closed === undefined);
  connections.push(connection);
  return connection;
}

async function get(path: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`http://127.0.0.1:${logic.port}${path}`);
  return { status: response.status, body: await response.text() };
}
