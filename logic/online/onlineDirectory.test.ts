import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { type Answer, Command, STAT_INTERVAL_MS, STAT_STALE_MS, type Stat } from '@pushcluster/protocol/control.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { type BusEvent, BusUnavailable } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { OnlineDirectory } from './onlineDirectory.ts';

const subjects = new Subjects('test');

describe('a directory', () => {
  let bus: LocalBus;
  let now: number;
  let ignored: string[];
  let commands: Command[];
  let reports: { gateway: string; histories: Record<string, number> }[];

  beforeEach(() => {
    // The time for answers is over when a test says so; the bus delivers by turns of the loop.
    mock.timers.enable({ apis: ['setTimeout'] });
    bus = new LocalBus();
    now = 0;
    ignored = [];
    commands = [];
    reports = [];
    bus.subscribe(subjects.command, (bytes) => commands.push(Command.parse(JSON.parse(Buffer.from(bytes).toString()))));
  });

  afterEach(() => mock.timers.reset());

  /** A directory that has run long enough to know everyone. */
  function open(options: { askTimeout?: number; maxQuestions?: number; maxGateways?: number } = {}): OnlineDirectory {
    const directory = new OnlineDirectory(bus, subjects, {
      ...options,
      askTimeout: () => options.askTimeout ?? 10_000,
      onIgnored: (kind) => ignored.push(kind),
      onReport: ({ gateway, histories }) => reports.push({ gateway, histories }),
      now: () => now,
    });
    now += 2 * STAT_INTERVAL_MS;
    return directory;
  }

  async function report(gateway: string, more: Partial<Stat> = {}) {
    say(subjects.stat(gateway), { ...statsOf(gateway), leaving: false, ...more });
    await bus.flush();
  }

  function say(subject: string, value: unknown) {
    bus.publish(subject, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
  }

  /** Answers the last question as `gateway`. */
  async function answer(gateway: string, part: Record<string, unknown>) {
    await bus.flush();
    const question = commands.at(-1);
    assert.ok(question && 'ask' in question);
    say(question.reply, { type: question.type, ask: question.ask, gateway, ...part } as Answer);
    await bus.flush();
  }

  test('passes on how far gateways have followed histories, from reports and from late answers too', async () => {
    const directory = open();
    await report('g1', { histories: { e: 4 } });
    const asking = directory.ask('stats', {});
    const ofOlder = { stats: statsOf('g2') };
    await answer('g2', ofOlder);
    await answer('g1', { stats: statsOf('g1'), histories: { e: 5 } });
    await asking;
    await answer('g3', { stats: statsOf('g3'), histories: { e: 6 } });
    assert.deepEqual(reports, [
      { gateway: 'g1', histories: { e: 4 } },
      { gateway: 'g1', histories: { e: 5 } },
      { gateway: 'g3', histories: { e: 6 } },
    ]);
  });

  test('sums the answers of all gateways and says how many there were', async () => {
    const directory = open();
    await report('g1');
    await report('g2');
    const asking = directory.ask('room', { room: 'r' });
    await answer('g1', { connections: 3 });
    await answer('g2', { connections: 4 });
    const { answers, gateways } = await asking;
    assert.deepEqual(gateways, { asked: 2, answered: 2 });
    assert.equal(
      answers.reduce((sum, { connections }) => sum + connections, 0),
      7,
    );
    assert.equal(directory.questions, 0);
  });

  test('tells that a gateway was away from the bus, whether or not it was forgotten meanwhile', async () => {
    let returned = 0;
    let known = 0;
    const directory = new OnlineDirectory(bus, subjects, {
      askTimeout: () => 0,
      onIgnored: (kind) => ignored.push(kind),
      onGateway: (again) => (again ? returned++ : known++),
      now: () => now,
    });
    const heard: number[] = [];
    for (const busConnections of [1, 1, 2, 2, 3]) {
      await report('g1', { busConnections });
      heard.push(returned);
    }
    assert.deepEqual(heard, [0, 0, 1, 1, 2]);
    now += STAT_STALE_MS + 1;
    assert.deepEqual(directory.gateways, []);
    await report('g1', { busConnections: 4 });
    await report('new', { busConnections: 1 });
    await report('old', { busConnections: 0 });
    assert.deepEqual([returned, known], [3, 2]);
  });

  test('answers with what there is when a gateway is silent', async () => {
    const directory = open({ askTimeout: 50 });
    await report('g1');
    await report('g2');
    const asking = directory.ask('room', { room: 'r' });
    await answer('g2', { connections: 4 });
    mock.timers.tick(49);
    await bus.flush();
    assert.equal(directory.questions, 1);
    mock.timers.tick(1);
    assert.deepEqual((await asking).gateways, { asked: 2, answered: 1 });
  });

  test('does not wait for a gateway that says it is leaving', async () => {
    const directory = open();
    await report('g1');
    await report('g2');
    const asking = directory.ask('user', { user: 'u' });
    await answer('g1', { connections: 1 });
    await report('g2', { leaving: true });
    // It has nobody any more: nothing is lacking.
    const { gateways, partial } = await asking;
    assert.deepEqual({ gateways, partial }, { gateways: { asked: 1, answered: 1 }, partial: undefined });
    assert.deepEqual(directory.gateways, ['g1']);
  });

  test('forgets a gateway that has not been heard for a while', async () => {
    const directory = open();
    await report('g1');
    now += STAT_STALE_MS - 1;
    await report('g2');
    assert.deepEqual(directory.gateways, ['g1', 'g2']);
    now += 2;
    assert.deepEqual(directory.gateways, ['g2']);
  });

  test('counts a gateway that it had not heard of among those asked', async () => {
    const directory = open();
    await report('g1');
    const asking = directory.ask('room', { room: 'r' });
    await answer('new', { connections: 1 });
    await answer('g1', { connections: 1 });
    assert.deepEqual((await asking).gateways, { asked: 2, answered: 2 });
  });

  test('waits the whole time while it may not know everyone yet', async () => {
    const directory = open({ askTimeout: 50 });
    const nobody = directory.ask('room', { room: 'r' });
    await answer('g1', { connections: 5 });
    mock.timers.tick(50);
    assert.deepEqual((await nobody).gateways, { asked: 1, answered: 1 });

    now = 0;
    const young = new OnlineDirectory(bus, subjects, { askTimeout: () => 50, onIgnored: () => {}, now: () => now });
    await report('g1');
    const asking = young.ask('room', { room: 'r' });
    await answer('g1', { connections: 1 });
    await answer('g2', { connections: 1 });
    mock.timers.tick(50);
    assert.deepEqual((await asking).gateways, { asked: 2, answered: 2 });
  });

  test('merges the fullest rooms and asks each gateway for more than it shows', async () => {
    const directory = open();
    await report('g1');
    await report('g2');
    const asking = directory.rooms(2);
    await answer('g1', { rooms: rooms(['a', 5], ['b', 4], ['c', 3]) });
    await answer('g2', { rooms: rooms(['c', 3], ['b', 1], ['d', 1]) });
    assert.deepEqual(await asking, {
      rooms: [
        { room: 'c', connections: 6 },
        { room: 'a', connections: 5 },
      ],
      gateways: { asked: 2, answered: 2 },
    });
    assert.deepEqual(
      commands.map((command) => command.type === 'rooms' && command.limit),
      [400],
    );
  });

  const rooms = (...counts: [string, number][]) => counts.map(([room, connections]) => ({ room, connections }));

  test('shares a list of rooms with all who ask within a second, and asks anew for more, or later', async () => {
    const directory = open();
    await report('g1');
    const asking = Array.from({ length: 1_000 }, (_, i) => directory.rooms(1 + (i % 100)));
    await answer('g1', { rooms: rooms(['a', 5], ['b', 4], ['c', 3]), total: 3 });
    const answers = await Promise.all(asking);
    for (const [i, { rooms }] of answers.entries()) assert.equal(rooms.length, Math.min(3, 1 + (i % 100)));
    now += 999;
    await directory.rooms(100);
    assert.equal(commands.length, 1);
    const more = directory.rooms(101);
    await answer('g1', { rooms: rooms(['a', 5]), total: 1 });
    assert.equal((await more).rooms.length, 1);
    now += 1;
    const later = directory.rooms(1);
    await answer('g1', { rooms: rooms(['a', 6]), total: 1 });
    assert.deepEqual((await later).rooms, rooms(['a', 6]));
    assert.deepEqual(
      commands.map((command) => command.type === 'rooms' && command.limit),
      [400, 4_000, 400],
    );
  });

  test('shares no list that nobody answered, or that lacks something', async () => {
    const directory = open({ askTimeout: 50 });
    await report('g1');
    for (let i = 0; i < 2; i++) {
      const asking = directory.rooms(10);
      mock.timers.tick(50);
      assert.deepEqual(await asking, { rooms: [], gateways: { asked: 1, answered: 0 }, partial: true, total: 0 });
      await bus.flush();
    }
    assert.equal(commands.length, 2);
    bus.publish = () => {
      throw new BusUnavailable('away');
    };
    for (let i = 0; i < 2; i++) await assert.rejects(directory.rooms(10), BusUnavailable);
  });

  test('says that a list is partial, and how many rooms there are, where gateways cut theirs', async () => {
    const directory = open();
    await report('g1');
    await report('g2');
    const cut = directory.rooms(10);
    await answer('g1', { rooms: rooms(['a', 5]), total: 1_400 });
    await answer('g2', { rooms: rooms(['b', 5]), total: 1 });
    assert.deepEqual(await cut, {
      rooms: rooms(['a', 5], ['b', 5]),
      gateways: { asked: 2, answered: 2 },
      partial: true,
      total: 1_400,
    });
    // As many as were asked for are a whole answer.
    now += 1_000;
    const whole = directory.rooms(2);
    await answer('g1', { rooms: rooms(['a', 5]), total: 1_400 });
    await answer('g2', { rooms: rooms(['b', 5]), total: 1 });
    assert.equal((await whole).partial, undefined);
  });

  test('counts no gateway as having answered of which a shard did not, and says that the answer is partial', async () => {
    const directory = open();
    await report('g1');
    await report('g2');
    for (const [kind, details, part] of [
      ['room', { room: 'r' }, { connections: 3 }],
      ['user', { user: 'u' }, { connections: 3 }],
      ['rooms', { limit: 5 }, { rooms: rooms(['r', 3]), total: 1 }],
    ] as const) {
      const asking = directory.ask(kind, details as never);
      await answer('g1', { ...part, missing: 1 });
      await answer('g2', { ...part, missing: 0 });
      const { gateways, partial, answers } = await asking;
      assert.deepEqual({ gateways, partial }, { gateways: { asked: 2, answered: 1 }, partial: true }, kind);
      assert.equal(answers.length, 2, 'what the others of its shards have counts');
    }
  });

  test('counts gateways that it has not heard of itself, where others know of them', async () => {
    now = 0;
    const young = new OnlineDirectory(bus, subjects, { askTimeout: () => 50, onIgnored: () => {}, now: () => now });
    const asking = young.ask('room', { room: 'r' });
    await answer('g1', { connections: 500, gateways: 3 });
    mock.timers.tick(50);
    const { gateways, partial } = await asking;
    assert.deepEqual({ gateways, partial }, { gateways: { asked: 3, answered: 1 }, partial: true });
  });

  describe('when the bus was away', () => {
    let listeners: ((event: BusEvent) => void)[];
    let connected: boolean;

    beforeEach(() => {
      listeners = [];
      connected = true;
      Object.defineProperty(bus, 'connected', { get: () => connected });
      bus.onEvent = (listener) => {
        listeners.push(listener);
        return () => {};
      };
    });

    test('counts those as asked that have yet to come back to it', async () => {
      const directory = open({ askTimeout: 500 });
      for (const gateway of ['g1', 'g2', 'g3']) await report(gateway);
      connected = false;
      now += 10 * 60_000;
      connected = true;
      for (const listener of listeners) listener({ type: 'connected', reconnects: 1 });
      await report('g1');
      for (const wait of [0, 3_000, 8_000, 20_000]) {
        now += wait;
        await report('g1');
        const asking = directory.ask('room', { room: 'r' });
        await answer('g1', { connections: 500 });
        mock.timers.tick(500);
        const { gateways, partial } = await asking;
        assert.deepEqual({ gateways, partial }, { gateways: { asked: 3, answered: 1 }, partial: true }, `${wait} ms`);
      }
      // Those that never came back are no part of the cluster some time later.
      now += 60_000;
      await report('g1');
      const asking = directory.ask('room', { room: 'r' });
      await answer('g1', { connections: 1_500 });
      const { gateways, partial } = await asking;
      assert.deepEqual({ gateways, partial }, { gateways: { asked: 1, answered: 1 }, partial: undefined });
    });

    test('hears whoever answers, known or not', async () => {
      const directory = open({ askTimeout: 500 });
      await report('g1');
      for (const listener of listeners) listener({ type: 'connected', reconnects: 1 });
      const asking = directory.ask('room', { room: 'r' });
      await answer('g1', { connections: 1 });
      await answer('new', { connections: 1 });
      mock.timers.tick(500);
      assert.deepEqual((await asking).gateways, { asked: 2, answered: 2 });
    });
  });

  test('does not wait for a gateway that fell silent, and counts it as missing for a minute', async () => {
    const directory = open();
    await report('g1');
    await report('g2');
    now += STAT_STALE_MS + 1;
    await report('g2');
    const asking = directory.ask('stats', {});
    await answer('g2', { stats: statsOf('g2') });
    const { gateways, partial } = await asking;
    assert.deepEqual({ gateways, partial }, { gateways: { asked: 2, answered: 1 }, partial: true });
  });

  test('ignores and counts garbage, answers of the wrong kind and second answers', async () => {
    const directory = open();
    await report('g1');
    await report('g2');
    say(subjects.stat('g3'), 'not json');
    say(subjects.stat('g3'), { gateway: 3 });
    const asking = directory.ask('room', { room: 'r' });
    await answer('g1', { connections: 'many' });
    await answer('g1', { type: 'user', connections: 1 });
    await answer('g1', { connections: 1 });
    await answer('g1', { connections: 1 });
    await answer('g2', { connections: 1 });
    assert.deepEqual((await asking).gateways, { asked: 2, answered: 2 });
    assert.deepEqual(ignored, ['stat', 'stat', 'answer', 'answer', 'answer']);
  });

  test('does not mix up questions that are under way together', async () => {
    const directory = open();
    await report('g1');
    const asking = [directory.ask('room', { room: 'a' }), directory.ask('room', { room: 'b' })];
    await bus.flush();
    const asked = commands.filter((command) => command.type === 'room');
    for (const { room, ask, reply } of asked.toReversed())
      say(reply, { type: 'room', ask, gateway: 'g1', connections: room === 'a' ? 1 : 2 });
    const counts = (await Promise.all(asking)).map(({ answers }) => answers[0]?.connections);
    assert.deepEqual(counts, [1, 2]);
  });

  test('has ask ids that no other asker has', async () => {
    const [one, two] = [open({ askTimeout: 10 }), open({ askTimeout: 10 })];
    const asking = [one.ask('stats', {}), two.ask('stats', {})];
    await bus.flush();
    mock.timers.tick(10);
    await Promise.all(asking);
    const ids = commands.map((command) => 'ask' in command && command.ask);
    assert.equal(new Set(ids).size, 2);
  });

  test('refuses questions beyond those it keeps under way', async () => {
    const directory = open({ askTimeout: 20, maxQuestions: 1 });
    const first = directory.ask('stats', {});
    await assert.rejects(directory.ask('stats', {}), { code: 'overloaded' });
    mock.timers.tick(20);
    await first;
    const next = directory.ask('stats', {});
    mock.timers.tick(20);
    await next;
  });

  test('remembers no more gateways than it may', async () => {
    const directory = open({ maxGateways: 2 });
    for (const gateway of ['g1', 'g2', 'g3', 'g1']) await report(gateway);
    assert.deepEqual(directory.gateways, ['g1', 'g2']);
    assert.deepEqual(ignored, ['stat']);
    now += STAT_STALE_MS + 1;
    await report('g3');
    assert.deepEqual(directory.gateways, ['g3']);
  });

  test('tells commands, and says how many gateways it knows', async () => {
    const directory = open();
    await report('g1');
    assert.equal(await directory.tell({ type: 'disconnect_user', user: 'u', reason: 'x' }), 1);
    assert.deepEqual(commands, [{ type: 'disconnect_user', user: 'u', reason: 'x' }]);
  });

  test('neither asks nor tells while the bus is away', async () => {
    const directory = open();
    await bus.close();
    await assert.rejects(directory.ask('stats', {}), BusUnavailable);
    await assert.rejects(directory.tell({ type: 'disconnect_user', user: 'u', reason: 'x' }), BusUnavailable);
    assert.equal(directory.questions, 0);
  });
});

function statsOf(gateway: string) {
  return {
    gateway,
    connections: 1,
    rooms: 1,
    shards: 1,
    messagesDelivered: 0,
    framesSent: 0,
    bytesSent: 0,
    messagesDropped: 0,
    draining: false,
    startedAt: 0,
  };
}
