import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type Bus, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { BusRequests } from '@pushcluster/runtime/bus/busRequests.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { NatsBus } from '@pushcluster/runtime/bus/natsBus.ts';
import {
  HistoryMissing,
  HistoryRefused,
  type HistoryRules,
  type MeasuredHistoryStore,
  STORED_HEADERS,
} from '@pushcluster/runtime/history/historyStore.ts';
import { historyStream } from '@pushcluster/runtime/history/historyStream.ts';
import { LocalHistory } from '@pushcluster/runtime/history/localHistory.ts';
import { NatsHistory } from '@pushcluster/runtime/history/natsHistory.ts';
import { logLines } from '../harness/logLines.ts';
import { type NatsServer, startNatsCluster, startNatsServer } from '../harness/natsServer.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const HOUR_MS = 3_600_000;
const RULES: HistoryRules = {
  match: 'live-*',
  messages: 5,
  maxAge: HOUR_MS,
  replicas: 1,
  storage: 'file',
  earlier: [],
};

type Ends = { bus: Bus; history: MeasuredHistoryStore; subjects: Subjects };

let server: NatsServer;
let clusters = 0;

async function openNats(
  prefix: string,
  { url } = server,
): Promise<Ends & { requests: BusRequests; history: NatsHistory }> {
  const options = { log: logLines().log, name: 'test', receiptTimeout: PATIENCE_MS };
  const bus = new NatsBus({ servers: [url], pingInterval: PATIENCE_MS }, options);
  await until('the bus is connected', () => bus.connected);
  const requests = new BusRequests(bus, `${prefix}.in`);
  return { bus, requests, history: new NatsHistory(requests, prefix), subjects: new Subjects(prefix) };
}

const kinds: Record<string, () => Promise<Ends>> = {
  async 'in-process'() {
    const bus = new LocalBus(logLines().log);
    const subjects = new Subjects('test');
    return { bus, history: new LocalHistory(bus, subjects), subjects };
  },
  NATS: () => openNats(`test${clusters++}`),
};

before(async () => {
  server = await startNatsServer({ jetstream: true });
});
after(() => server.stop());

const bytesOf = (text: string) => Buffer.from(text);
const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString();

for (const [kind, open] of Object.entries(kinds)) {
  describe(`the ${kind} history`, () => {
    const test = (name: string, body: (ends: Ends) => Promise<void>) =>
      it(name, async () => {
        const ends = await open();
        try {
          await body(ends);
        } finally {
          ends.history.close();
          await ends.bus.close();
        }
      });

    /** Stores the texts, each with an id of its own. Returns their sequence numbers. */
    async function appendAll({ history }: Ends, room: string, ...texts: string[]): Promise<number[]> {
      const seqs: number[] = [];
      for (const text of texts)
        seqs.push((await history.append(RULES.match, room, bytesOf(text), `${room} ${text}`)).seq);
      return seqs;
    }

    /** All that the history has of a room from `from` on. */
    async function textsOf({ history }: Ends, room: string, from = 0): Promise<string[]> {
      const { pushes } = await history.read(RULES.match, room, from, 1_000);
      return pushes.map(({ bytes }) => textOf(bytes));
    }

    test('is missing until it is made', async ({ history }) => {
      await assert.rejects(history.state(RULES.match), HistoryMissing);
      await history.ensure(RULES);
      const { last, floor, messages, maxAge } = await history.state(RULES.match);
      assert.deepEqual({ last, floor, messages, maxAge }, { last: 0, floor: 0, messages: 5, maxAge: HOUR_MS });
    });

    test('is another one once its policy was gone, or an earlier one with some of its rooms', async (ends) => {
      const { history } = ends;
      await history.ensure(RULES);
      await appendAll(ends, 'live-1', 'a');
      const epochs: string[] = [];
      const look = async () => epochs.push((await history.state(RULES.match)).epoch);
      await look();
      await history.ensure({ ...RULES, earlier: ['live-vip-*'] });
      await history.ensure({ ...RULES, earlier: ['live-vip-*', '*-1'] });
      await look();
      assert.equal(epochs[1], epochs[0], 'rooms that go elsewhere change nothing for the others');
      await history.state(RULES.match, ['live-vip-*', '*-1', '*-2']);
      await assert.rejects(history.state(RULES.match, ['live-vip-*']), BusUnconfirmed, 'it lacks pushes');
      await history.ensure({ ...RULES, earlier: ['live-vip-*'] });
      await history.state(RULES.match, ['live-vip-*']);
      await look();
      await history.retire(RULES.match);
      await history.retire(RULES.match).catch((error: unknown) => assert.ok(error instanceof HistoryMissing));
      await history.ensure({ ...RULES, earlier: ['live-vip-*'] });
      await look();
      assert.equal(new Set(epochs).size, 3);
      await history.ensure({ ...RULES, earlier: ['live-vip-*'] });
      await look();
      assert.equal(epochs.at(-1), epochs.at(-2));
    });

    test('stores pushes of a room in order, and delivers each with its number and the one before', async (ends) => {
      const { bus, history, subjects } = ends;
      await history.ensure(RULES);
      const delivered: string[] = [];
      const subscription = bus.subscribe(subjects.room('live-1'), (bytes, _, { headers }) =>
        delivered.push(`${headers?.get(STORED_HEADERS.previous)} ${headers?.get(STORED_HEADERS.seq)} ${textOf(bytes)}`),
      );
      await subscription.ready;
      const first = await appendAll(ends, 'live-1', 'a', 'b');
      const others = await appendAll(ends, 'live-2', 'x');
      const last = await appendAll(ends, 'live-1', 'c');
      assert.deepEqual([...first, ...others, ...last], [1, 2, 3, 4]);
      await until('all are delivered', () => delivered.length === 3);
      assert.deepEqual(delivered, ['0 1 a', '1 2 b', '2 4 c']);
      const { pushes, pending } = await history.read(RULES.match, 'live-1', 2, 10);
      assert.deepEqual(
        [pushes.map(({ seq, bytes }) => [seq, textOf(bytes)]), pending],
        [
          [
            [2, 'b'],
            [4, 'c'],
          ],
          0,
        ],
      );
      assert.ok(Math.abs(pushes[0]!.at - Date.now()) < PATIENCE_MS, 'the time of storing');
    });

    test('stores a push once, however often it is tried', async (ends) => {
      await ends.history.ensure(RULES);
      const [one, two, other] = [
        await ends.history.append(RULES.match, 'live-1', bytesOf('a'), 'id'),
        await ends.history.append(RULES.match, 'live-1', bytesOf('a'), 'id'),
        await ends.history.append(RULES.match, 'live-1', bytesOf('b'), 'id 2'),
      ];
      assert.deepEqual(
        [one, two, other].map(({ seq, duplicate }) => [seq, duplicate]),
        [
          [1, false],
          [1, true],
          [2, false],
        ],
      );
      assert.deepEqual(await textsOf(ends, 'live-1'), ['a', 'b']);
    });

    test('keeps the last pushes of each room only', async (ends) => {
      await ends.history.ensure(RULES);
      await appendAll(ends, 'live-1', 'only');
      await appendAll(ends, 'live-2', ...'abcdefgh');
      assert.deepEqual(await textsOf(ends, 'live-1'), ['only']);
      assert.deepEqual(await textsOf(ends, 'live-2'), [...'defgh']);
    });

    test('keeps pushes for their age only', async (ends) => {
      await ends.history.ensure({ ...RULES, maxAge: 1_000 });
      await appendAll(ends, 'live-1', 'a');
      await until('it has expired', async () => (await textsOf(ends, 'live-1')).length === 0);
      const [seq] = await appendAll(ends, 'live-1', 'b');
      assert.equal(seq, 2);
    });

    test('is read in parts', async (ends) => {
      await ends.history.ensure(RULES);
      await appendAll(ends, 'live-1', 'a', 'b', 'c');
      const part = await ends.history.read(RULES.match, 'live-1', 0, 2);
      assert.deepEqual([part.pushes.map(({ seq }) => seq), part.pending], [[1, 2], 1]);
      const rest = await ends.history.read(RULES.match, 'live-1', 3, 2);
      assert.deepEqual([rest.pushes.map(({ seq }) => seq), rest.pending], [[3], 0]);
      assert.deepEqual(await ends.history.read(RULES.match, 'live-1', 4, 2), { pushes: [], pending: 0 });
      assert.deepEqual(await ends.history.read(RULES.match, 'live-empty', 0, 2), { pushes: [], pending: 0 });
    });

    test('has what was stored when the leader is asked for it', async (ends) => {
      await ends.history.ensure(RULES);
      await appendAll(ends, 'live-1', 'a', 'b');
      const { pushes } = await ends.history.read(RULES.match, 'live-1', 2, 1, true);
      assert.deepEqual(
        pushes.map(({ seq, bytes }) => [seq, textOf(bytes)]),
        [[2, 'b']],
      );
      assert.deepEqual((await ends.history.read(RULES.match, 'live-1', 3, 1, true)).pushes, []);
    });

    test('has each push at its number, whichever room it is of', async (ends) => {
      await ends.history.ensure(RULES);
      await appendAll(ends, 'live-1', 'a');
      await appendAll(ends, 'live-2', 'b');
      const found = [1, 2].map(async (seq) => textOf((await ends.history.at(RULES.match, seq))!));
      assert.deepEqual(await Promise.all(found), ['a', 'b']);
      assert.equal(await ends.history.at(RULES.match, 3), undefined);
    });

    test('says which rooms have a push after a number', async (ends) => {
      await ends.history.ensure(RULES);
      await appendAll(ends, 'live-1', 'a');
      await appendAll(ends, 'live-2', 'a', 'b');
      await appendAll(ends, 'live 3', 'a');
      const rooms = ['live-1', 'live-2', 'live 3', 'live-none'];
      const all = await ends.history.heads(RULES.match, rooms, 0);
      assert.deepEqual([Object.fromEntries(all.seqs), all.upTo], [{ 'live-1': 1, 'live-2': 3, 'live 3': 4 }, 4]);
      const later = await ends.history.heads(RULES.match, rooms, 3);
      assert.deepEqual(Object.fromEntries(later.seqs), { 'live 3': 4 });
      assert.deepEqual(Object.fromEntries((await ends.history.heads(RULES.match, rooms, 4)).seqs), {});
    });

    test('says how much it holds, and since when', async (ends) => {
      const { history } = ends;
      await assert.rejects(history.usage(RULES.match), HistoryMissing);
      await history.ensure(RULES);
      assert.deepEqual(await history.usage(RULES.match), { pushes: 0, bytes: 0, oldestAt: undefined });
      const began = Date.now();
      await appendAll(ends, 'live-1', ...'abcdefg');
      await appendAll(ends, 'live-2', 'h');
      const { pushes, bytes, oldestAt = 0 } = await history.usage(RULES.match);
      assert.equal(pushes, RULES.messages + 1);
      assert.ok(bytes > 0);
      assert.ok(oldestAt >= began - 1_000 && oldestAt <= Date.now() + 1_000);
    });

    test('takes other limits, says since when, and stays the same history', async (ends) => {
      const { history } = ends;
      await history.ensure(RULES);
      await appendAll(ends, 'live-1', ...'abcdefg');
      const stateOf = async () => ({ ...(await history.state(RULES.match)), at: undefined });
      const before = await stateOf();
      await history.ensure({ ...RULES, messages: 8 });
      const raised = await stateOf();
      assert.deepEqual(raised, { ...before, messages: 8, floor: 7 });
      await appendAll(ends, 'live-1', ...'hijkl');
      assert.deepEqual(await textsOf(ends, 'live-1'), [...'efghijkl']);
      await history.ensure({ ...RULES, messages: 3 });
      assert.deepEqual(await stateOf(), { ...raised, messages: 3, last: 12 });
      assert.deepEqual(await textsOf(ends, 'live-1'), [...'jkl']);
    });

    test('is made and changed by many at once', async (ends) => {
      const { history } = ends;
      await Promise.all(Array.from({ length: 8 }, () => history.ensure(RULES)));
      const { epoch } = await history.state(RULES.match);
      await appendAll(ends, 'live-1', 'a');
      await Promise.all(Array.from({ length: 8 }, () => history.ensure({ ...RULES, maxAge: 2 * HOUR_MS })));
      const state = await history.state(RULES.match);
      assert.deepEqual([state.epoch, state.floor, state.maxAge], [epoch, 0, 2 * HOUR_MS]);
    });

    test('has a floor that does not rise with limits that have removed nothing yet', async (ends) => {
      const { history } = ends;
      await history.ensure(RULES);
      await appendAll(ends, 'live-1', 'a');
      await appendAll(ends, 'live-2', 'b');
      await history.ensure({ ...RULES, messages: 8 });
      assert.equal((await history.state(RULES.match)).floor, 0);
      await appendAll(ends, 'live-1', ...'cdefghijk');
      await history.ensure({ ...RULES, messages: 9 });
      assert.equal((await history.state(RULES.match)).floor, 11, 'limits had removed one');
    });

    test('refuses what is larger than a message may be, and goes on', async (ends) => {
      await ends.history.ensure(RULES);
      const large = new Uint8Array(ends.bus.maxPayload);
      await assert.rejects(ends.history.append(RULES.match, 'live-1', large, 'large'), RangeError);
      assert.deepEqual(await appendAll(ends, 'live-1', 'a'), [1]);
    });

    test('fails at once where the bus is closed', async ({ bus, history }) => {
      await bus.close();
      await assert.rejects(history.append(RULES.match, 'live-1', bytesOf('a'), 'id'), (error) => {
        return error instanceof BusUnavailable || error instanceof HistoryMissing;
      });
    });
  });
}

describe('a history in NATS', () => {
  it('is another one after its stream was made anew', async () => {
    const { bus, requests, history } = await openNats(`test${clusters++}`);
    await history.ensure(RULES);
    const { epoch } = await history.state(RULES.match);
    const { name } = historyStream('test', RULES.match);
    const own = name.replace(/^test/, `test${clusters - 1}`);
    await requests.request(`$JS.API.STREAM.DELETE.${own}`, new Uint8Array(0), { timeout: PATIENCE_MS });
    await assert.rejects(history.state(RULES.match), HistoryMissing);
    await assert.rejects(history.append(RULES.match, 'live-1', bytesOf('a'), 'id'), BusUnavailable);
    await history.ensure(RULES);
    assert.notEqual((await history.state(RULES.match)).epoch, epoch);
    await bus.close();
  });

  it('is another one where it is renewed', async () => {
    const { bus, history } = await openNats(`test${clusters++}`);
    await history.ensure(RULES);
    const before = await history.state(RULES.match);
    await history.renew(RULES.match, before.epoch, before.epoch);
    const after = await history.state(RULES.match);
    assert.notEqual(after.epoch, before.epoch);
    assert.deepEqual({ ...after, epoch: '', at: 0 }, { ...before, epoch: '', at: 0 });
    await bus.close();
  });

  it('is the same other one, however many processes renew it at once', async () => {
    const prefix = `test${clusters++}`;
    const [one, other] = await Promise.all([openNats(prefix), openNats(prefix)]);
    await one.history.ensure(RULES);
    const { epoch } = await one.history.state(RULES.match);
    const epochs = await Promise.all(
      [one, other, one, other].map(async ({ history }) => {
        await history.renew(RULES.match, epoch, epoch);
        return (await history.state(RULES.match)).epoch;
      }),
    );
    assert.equal(new Set(epochs).size, 1);
    await other.history.renew(RULES.match, epoch, epoch);
    assert.equal((await one.history.state(RULES.match)).epoch, epochs[0], 'it is renewed already');
    await Promise.all([one.bus.close(), other.bus.close()]);
  });

  it("leaves another owner's stream alone", async () => {
    const { bus, requests, history } = await openNats('t.a');
    const { name } = historyStream('t.a', RULES.match);
    const config = Buffer.from(JSON.stringify({ name, subjects: ['orders.*'], storage: 'file', max_age: 7e9 }));
    await requests.request(`$JS.API.STREAM.CREATE.${name}`, config, { timeout: PATIENCE_MS });
    await assert.rejects(history.ensure(RULES), HistoryRefused);
    await assert.rejects(history.state(RULES.match), HistoryRefused);
    // A prefix that differs only in what stream names cannot hold.
    const other = await openNats('t_a');
    await assert.rejects(other.history.ensure(RULES), /exists and was not made for rooms "live-\*"/);
    await Promise.all([bus.close(), other.bus.close()]);
  });

  it('is read in whole batches, whatever their size', async () => {
    const { bus, history } = await openNats(`test${clusters++}`);
    await history.ensure({ ...RULES, messages: 100 });
    for (let i = 0; i < 20; i++) await history.append(RULES.match, 'live-1', new Uint8Array(40_000).fill(i), `${i}`);
    const read: number[] = [];
    for (let from = 0, more = true; more; ) {
      const extract = await history.read(RULES.match, 'live-1', from, 200);
      read.push(...extract.pushes.map(({ bytes }) => bytes[0]!));
      from = (extract.pushes.at(-1)?.seq ?? 0) + 1;
      more = extract.pending !== 0;
    }
    assert.deepEqual(
      read,
      Array.from({ length: 20 }, (_, i) => i),
    );
    await bus.close();
  });

  it('is told apart from a server without JetStream', async () => {
    const plain = await startNatsServer();
    const bus = new NatsBus({ servers: [plain.url], pingInterval: PATIENCE_MS }, { log: logLines().log, name: 'test' });
    await until('the bus is connected', () => bus.connected);
    const history = new NatsHistory(new BusRequests(bus, 'p.in'), 'p');
    await assert.rejects(history.ensure(RULES), BusUnavailable);
    await bus.close();
    await plain.stop();
  });

  it('is not described by a leader that has lost its replicas, although that still answers', async (t) => {
    const cluster = await startNatsCluster(3, { jetstream: true });
    t.after(() => cluster.stop());
    const prefix = `test${clusters++}`;
    for (const [i, leader] of cluster.servers.entries()) {
      const { bus, requests, history } = await openNats(prefix, leader);
      t.after(() => bus.close());
      await until('it is there', () =>
        history.ensure({ ...RULES, replicas: 3 }).then(
          () => true,
          () => false,
        ),
      );
      const { name } = historyStream(prefix, RULES.match);
      const [info] = await requests.request(`$JS.API.STREAM.INFO.${name}`, new Uint8Array(0), {
        timeout: PATIENCE_MS,
      });
      if (!textOf(info!.bytes).includes(`"leader":"n${i}"`)) continue;
      await history.state(RULES.match);
      const others = cluster.servers.filter((each) => each !== leader);
      for (const other of others) await other.pause();
      let said = '';
      const isDoubted = () =>
        history.state(RULES.match).catch((error: unknown) => {
          said = String(error);
        });
      await until('it is not believed', async () => (await isDoubted()) === undefined);
      assert.match(said, /lost touch/);
      for (const other of others) other.resume();
      await until('it is believed again', async () => (await isDoubted()) !== undefined);
      return;
    }
    assert.fail('no server leads');
  });

  it('needs no other rights than those that are documented', async (t) => {
    const prefix = 'rights.test';
    const subjects = new Subjects(prefix);
    const folder = mkdtempSync(join(tmpdir(), 'pushcluster-history-'));
    const passwordFile = join(folder, 'password');
    writeFileSync(passwordFile, 'p');
    const users = (['gateway', 'logic'] as const).map((role) => {
      const [usual, more] = [subjects.permissions[role], subjects.historyPermissions[role]];
      const publish = [...usual.publish, ...more.publish];
      return {
        user: role,
        password: 'p',
        permissions: { publish, subscribe: [...usual.subscribe, ...more.subscribe] },
      };
    });
    const config = `authorization { users: ${JSON.stringify(users)} }`;
    const limited = await startNatsServer({ jetstream: true, config });
    const { log, lines } = logLines();
    const buses: NatsBus[] = [];
    t.after(async () => {
      await Promise.all(buses.map((bus) => bus.close()));
      await limited.stop();
      rmSync(folder, { recursive: true });
    });
    const openAs = async (user: 'gateway' | 'logic') => {
      const settings = { servers: [limited.url], pingInterval: PATIENCE_MS, user, passwordFile };
      const bus = new NatsBus(settings, { log, name: user });
      buses.push(bus);
      await until('the bus is connected', () => bus.connected);
      return new NatsHistory(new BusRequests(bus, subjects.inbox(user)), prefix);
    };
    const [gateway, logic] = [await openAs('gateway'), await openAs('logic')];
    await logic.ensure(RULES);
    await logic.ensure({ ...RULES, messages: 7 });
    await logic.append(RULES.match, 'live-1', bytesOf('a'), 'a');
    for (const history of [gateway, logic]) {
      assert.equal((await history.state(RULES.match)).last, 1);
      assert.equal((await history.read(RULES.match, 'live-1', 1, 10)).pushes.length, 1);
      assert.equal((await history.read(RULES.match, 'live-1', 1, 1, true)).pushes.length, 1);
      assert.equal((await history.heads(RULES.match, ['live-1'], 0)).upTo, 1);
    }
    assert.deepEqual(
      lines.filter(({ level }) => level >= 40),
      [],
    );
    // A gateway that somebody has taken over stores nothing.
    await assert.rejects(gateway.append(RULES.match, 'live-1', bytesOf('b'), 'b'), BusUnconfirmed);
    assert.equal((await logic.state(RULES.match)).last, 1);
  });
});
