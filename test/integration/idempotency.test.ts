import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import type { Target } from '../harness/pushes.ts';
import { hs256 } from '../harness/tokens.ts';
import { until } from '../harness/until.ts';

/** So small that a push of some large items is split to many bus messages. */
const MAX_PAYLOAD = 65_536;
const SECRET = 'the secret of the idempotency test';
const folder = mkdtempSync(join(tmpdir(), 'pushcluster-idempotency-'));
const secretFile = join(folder, 'secret');

let nats: NatsServer;
let logics: LogicProcess[];
let gateways: GatewayProcess[];
let connections: Connection[];

before(async () => {
  writeFileSync(secretFile, SECRET);
  nats = await startNatsServer({ maxPayload: MAX_PAYLOAD });
  logics = await Promise.all([0, 1].map(() => startLogic({ nats: [nats.url] })));
  const settings = { gateway: { shards: 2, batching: { maxDelay: 50 } }, auth: { jwt: { secretFile } } };
  gateways = await Promise.all([0, 1].map(() => startGateway({ settings, nats: [nats.url] })));
  connections = await Promise.all(
    gateways.flatMap(({ port }) =>
      WIRE_FORMS.flatMap((form) =>
        ['alice', 'bob'].map((user) =>
          Connection.open({ port, form, user, token: hs256(SECRET, { sub: user }), keepItems: true }),
        ),
      ),
    ),
  );
  // Everyone is in both rooms, or only in the first.
  for (const [i, connection] of connections.entries())
    for (const room of i % 3 === 0 ? ['first'] : ['first', 'second']) await connection.join(room);
});
after(async () => {
  cutAll(connections);
  await Promise.all([...gateways, ...logics].map((process) => process.stop()));
  await nats.stop();
  rmSync(folder, { recursive: true });
});

const TARGETS: Target[] = [
  { room: 'first' },
  { rooms: ['first', 'second'] },
  { all: true },
  { user: 'alice' },
  { users: ['alice', 'bob', 'carol'] },
];
const SIZES = {
  'a push': ['1', '{"a":2}', '"three"'],
  'a push split to many messages': Array.from({ length: 9 }, (_, i) => `"${String(i).repeat(30_000)}"`),
};

describe('a retry with the same id', () => {
  for (const [size, items] of Object.entries(SIZES))
    for (const to of TARGETS)
      it(`of ${size} to ${JSON.stringify(to)} is delivered once, also through the other logic process`, async () => {
        const id = `${size} ${JSON.stringify(to)}`;
        const [one, other] = logics as [LogicProcess, LogicProcess];
        await accepted(one.push(to, items, { id }));
        await accepted(other.push(to, items, { id }));
        await accepted(one.push(to, items, { id }));
        await assertGot([[to, items]]);
      });

  it('is delivered once where both arrive at the same time', async () => {
    const to = { room: 'first' };
    const items = SIZES['a push split to many messages'];
    await Promise.all([0, 1, 2, 3].map((i) => accepted(logics[i % 2]!.push(to, items, { id: 'together' }))));
    await assertGot([[to, items]]);
  });

  it('is another push where the id or the place is another', async () => {
    const push = (to: Target, items: string[], id: string) => accepted(logics[0]!.push(to, items, { id }));
    await push({ room: 'first' }, ['"x"'], 'one');
    await push({ room: 'first' }, ['"x"'], 'two');
    await push({ room: 'second' }, ['"x"'], 'one');
    await push({ rooms: ['second'] }, ['"x"'], 'one');
    await push({ all: true }, ['"x"'], 'one');
    await push({ user: 'alice' }, ['"x"'], 'one');
    await push({ user: 'bob' }, ['"x"'], 'one');
    await push({ users: ['bob', 'alice'] }, ['"x"'], 'one');
    await push({ users: ['alice', 'bob', 'alice'] }, ['"x"'], 'one');
    await assertGot([
      [{ room: 'first' }, ['"x"']],
      [{ room: 'first' }, ['"x"']],
      [{ room: 'second' }, ['"x"']],
      [{ rooms: ['second'] }, ['"x"']],
      [{ all: true }, ['"x"']],
      [{ user: 'alice' }, ['"x"']],
      [{ user: 'bob' }, ['"x"']],
      [{ users: ['alice', 'bob'] }, ['"x"']],
    ]);
  });

  it('costs nobody a gap, and is counted', async () => {
    assert.deepEqual(
      connections.filter((connection) => connection.told() > 0 || connection.closed !== undefined),
      [],
    );
    for (const gateway of gateways) {
      const metrics = await gateway.metrics();
      assert.ok(metrics.sum('pushcluster_gateway_push_retries_dropped_total') > 0);
      assert.equal(metrics.sum('pushcluster_gateway_gaps_total'), 0);
    }
  });
});

async function accepted(answer: ReturnType<LogicProcess['push']>): Promise<void> {
  const { status, body } = await answer;
  assert.equal(status, 202, JSON.stringify(body));
}

let marks = 0;

/** After a last push to each place: every connection has got exactly what of `pushes` was for it, in each place in order. */
async function assertGot(pushes: [to: Target, items: readonly string[]][]): Promise<void> {
  const mark = `"the end ${++marks}"`;
  const ends: Target[] = [{ room: 'first' }, { room: 'second' }, { all: true }, { users: ['alice', 'bob'] }];
  for (const logic of logics) for (const to of ends) await accepted(logic.push(to, [mark]));
  for (const connection of connections) {
    const expected = new Map<string, string[]>();
    const expect = (to: Target, items: readonly string[]) => {
      for (const place of placesOf(to, connection)) expected.set(place, [...(expected.get(place) ?? []), ...items]);
    };
    for (const [to, items] of pushes) expect(to, items);
    for (const _ of logics) for (const to of ends) expect(to, [mark]);
    const size = [...expected.values()].reduce((sum, items) => sum + items.length, 0);
    await until('all came', () => connection.items.length >= size);
    const got = new Map<string, string[]>();
    for (const { room = '', text } of connection.items.splice(0)) got.set(room, [...(got.get(room) ?? []), text]);
    for (const room of [...connection.rooms, ''])
      assert.deepEqual(sorted(got.get(room), room), sorted(expected.get(room), room));
  }
}

/** The rooms of `to` that `connection` is in; '' for what comes without a room. */
function placesOf(to: Target, { rooms, user = '' }: Connection): string[] {
  if ('all' in to) return [''];
  if ('user' in to) return to.user === user ? [''] : [];
  if ('users' in to) return to.users.includes(user) ? [''] : [];
  return ('room' in to ? [to.room] : to.rooms).filter((room) => rooms.has(room));
}

/** What goes to all and what goes to a user have no order between them. */
function sorted(items: string[] = [], room: string): string[] {
  return room === '' ? items.sort() : items;
}
