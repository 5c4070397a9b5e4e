import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection, cutAll, Refused, WIRE_FORMS } from '../harness/connection.ts';
import { Lateness } from '../harness/lateness.ts';
import { Ledger, type Writer } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { until } from '../harness/until.ts';

const CROWD = 1_000;
/** The longest window that there is: it is not over when a test looks, on a busy machine too. */
const LONG = '10s';

let nats: NatsServer;
/** The second one has the steady stream. */
let logics: [LogicProcess, LogicProcess];
let logic: LogicProcess;
let gateway: GatewayProcess;
/** Who must not notice anything: their room has a steady stream, and none of them may be closed. */
let crowd: Connection[];
const stream = { ledger: new Ledger(), on: true, end: Promise.resolve() };
/** Those of other tests, by the way. */
const guests: Connection[] = [];

before(async () => {
  nats = await startNatsServer();
  logics = [await startLogic({ nats: [nats.url] }), await startLogic({ nats: [nats.url] })];
  [logic] = logics;
  gateway = await startGateway({
    settings: {
      gateway: {
        shards: 2,
        batching: { maxDelay: 100, adaptive: false },
        drain: { settle: 0, timeout: '40s', rate: 10 },
      },
    },
    nats: [nats.url],
  });
  crowd = [];
  while (crowd.length < CROWD) {
    const forms = Array.from({ length: 100 }, (_, i) => WIRE_FORMS[i % 3]!);
    crowd.push(...(await Promise.all(forms.map((form) => Connection.open({ port: gateway.port, form })))));
  }
  await Promise.all(crowd.map((connection) => connection.join('crowd')));
  stream.end = trickle(stream.ledger.writer('crowd', { room: 'crowd' }, logics[1]));
});
after(async () => {
  stream.on = false;
  await stream.end.catch(() => {});
  cutAll([...crowd, ...guests]);
  gateway.signal('SIGKILL');
  await Promise.all([gateway, ...logics].map((process) => process.stop()));
  await nats.stop();
});

describe('settings that change under a thousand connections', () => {
  it('a shorter maxDelay sends at once what waits, and the generation is shown', async () => {
    await change({ gateway: { batching: { maxDelay: LONG } } });
    const [member] = await enter('delay');
    const writer = new Ledger().writer('w', { room: 'delay' }, logic);
    await lead(member!, writer);
    await writer.push(1);
    await logic.hearsAll();
    assert.equal(member!.received, 1, 'the second waits');
    await change({ gateway: { batching: { maxDelay: 100 } } }, 'rewrite');
    await until('the second came', () => member!.received === 2);
    assert.equal(await gateway.generation(), gateway.settings.generation);
  });

  it('maxItems and maxBytes decide how much a frame takes', async () => {
    await change({ gateway: { batching: { maxDelay: LONG, maxItems: 3 } } });
    const [member] = await enter('size');
    const writer = new Ledger().writer('w', { room: 'size' }, logic);
    await lead(member!, writer);
    for (let i = 0; i < 3; i++) {
      assert.equal(member!.frames, 1);
      await writer.push(1);
    }
    await until('three items are a frame', () => member!.frames === 2 && member!.received === 4);
    await change({ gateway: { batching: { maxItems: 1_000, maxBytes: 1_024 } } });
    for (let i = 0; i < 3; i++) await writer.push(1, 400);
    await until('two of 400 bytes are a frame', () => member!.frames === 3 && member!.received === 6);
    await change({ gateway: { batching: { maxDelay: 100, maxBytes: '256KiB' } } });
    await until('the third came', () => member!.received === 7);
  });

  it('a room policy overrides batching for the rooms that match it', async () => {
    await change({
      gateway: { batching: { maxDelay: LONG } },
      rooms: [{ match: 'quick-*', batching: { maxDelay: 0 } }],
    });
    const [quick, slow] = [(await enter('quick-1'))[0]!, (await enter('slow-1'))[0]!];
    const ledger = new Ledger();
    const writers = ['quick-1', 'slow-1'].map((room) => ledger.writer(room, { room }, logic));
    for (let i = 0; i < 3; i++) for (const writer of writers) await writer.push(1);
    await until('each came in its own frame', () => quick.frames === 3);
    await until('the first of the other came', () => slow.received > 0);
    assert.equal(slow.received, 1);
    await change({ gateway: { batching: { maxDelay: 100 } }, rooms: [] });
    await until('the policy is gone', () => slow.received === 3);
  });

  for (const policy of ['dropNewest', 'dropOldest', 'sample'] as const)
    it(`overload ${policy} cuts a room to its rate, counted and told`, async (t) => {
      const maxRate = 20;
      await change({ rooms: [{ match: 'hot', overload: { maxRate, policy } }] });
      const members = await enter('hot', 10);
      const ledger = new Ledger();
      const writer = ledger.writer(policy, { room: 'hot' }, logic);
      const before = await cut();
      await writer.push(100);
      const numbers = (member: Connection) => member.tallies.get(`${policy}\nhot`)?.numbers ?? [];
      await until('the frame came', () => members.every((member) => numbers(member).length === maxRate));
      const got = numbers(members[0]!);
      for (const member of members) assert.deepEqual(numbers(member), got, 'everyone gets the same');
      const first = { dropNewest: 1, dropOldest: 101 - maxRate, sample: undefined }[policy];
      if (first !== undefined)
        assert.deepEqual(
          got,
          Array.from({ length: maxRate }, (_, i) => first + i),
        );
      else assert.ok(got.some((n) => n > maxRate) && got.some((n) => n <= 100 - maxRate), `a sample: ${got.join(' ')}`);
      await ledger.settle(t, members, { lossy: true });
      for (const member of members) assert.equal(member.told(), member.told('overload'));
      const missed = members.length * (writer.accepted - maxRate);
      await until('the metric counts them', async () => (await cut()) - before >= missed - members.length);
      await leave(members, 'hot');
      await change({ rooms: [] });
    });

  it('limits of rooms, frames and handshakes count from the next one on', async () => {
    const [member] = await enter('one');
    await change({
      gateway: { rooms: { maxPerConnection: 1 }, inbound: { maxFrame: 256 }, connections: { max: CROWD } },
    });
    assert.equal((await member!.ask('JOIN', { room: 'two' })).type, 'ERROR');
    member!.send({ type: 'PING', data: { filling: 'x'.repeat(300) } });
    assert.equal((await member!.ended()).code, 1009);
    await until('the gateway is full', async () => (await refusal()).status === 503);
    await change({
      gateway: {
        rooms: { maxPerConnection: 100 },
        inbound: { maxFrame: 4_096, frameRate: 1 },
        connections: { max: 0, acceptRate: 2 },
      },
    });
    await until('the gateway refuses by rate', async () => (await refusal()).status === 429);
    await change({ gateway: { connections: { acceptRate: 0, perIp: 1 } } });
    const guest = await open({ from: '127.0.0.7' });
    assert.equal((await refusal({ from: '127.0.0.7' })).status, 429);
    for (let i = 0; i < 10; i++) guest.send({ type: 'PING', data: {} });
    assert.equal((await guest.ended()).code, 1008);
    await change({ gateway: { connections: { perIp: 0 }, inbound: { frameRate: 50 } } });
    const roomy = await open({ from: '127.0.0.7' });
    for (const room of ['one', 'two', 'three']) await roomy.join(room);
  });

  it('allowed origins count for the next handshake', async () => {
    await change({ auth: { allowedOrigins: ['https://*.example'] } });
    await until(
      'the other is refused',
      async () => (await refusal({ headers: { origin: 'https://evil' } })).status === 403,
    );
    await open({ headers: { origin: 'https://live.example' } });
    await change({ auth: { allowedOrigins: [] } });
    await open({ headers: { origin: 'https://evil' } });
  });

  it('urgent rates of gateway and logic', async () => {
    await change({ gateway: { batching: { maxDelay: LONG, urgentRate: 0 } } });
    const [member] = await enter('urgent');
    const writer = new Ledger().writer('w', { room: 'urgent' }, logic);
    await lead(member!, writer);
    await logic.push({ room: 'urgent' }, ['1'], { urgent: true });
    await logic.hearsAll();
    assert.equal(member!.received, 1, 'merged as usual');
    await change({ gateway: { batching: { urgentRate: 10 } } });
    await logic.push({ room: 'urgent' }, ['2'], { urgent: true });
    await until('an urgent one takes what waits along', () => member!.received === 3);
    await change({ gateway: { batching: { maxDelay: 100 } } });
    await logic.configure({ logic: { urgentRate: 0, limits: { items: 2, item: 10 } } });
    assert.equal((await logic.push({ room: 'urgent' }, ['3'], { urgent: true })).code, 'urgent_rate');
    assert.equal((await logic.push({ room: 'urgent' }, ['1', '2', '3'])).code, 'too_many_items');
    assert.equal((await logic.push({ room: 'urgent' }, ['"1234567890"'])).code, 'item_too_large');
    await logic.configure({ logic: { urgentRate: 100, limits: { items: 1_000, item: 32_768 } } });
    await until('both are allowed again', async () => {
      const { status } = await logic.push({ room: 'urgent' }, ['"1234567890"'], { urgent: true });
      return status === 202;
    });
  });

  it('the log level of gateway and shards', async () => {
    const [member] = await enter('log');
    const debugLines = () => gateway.output.split('\n').filter((line) => line.includes('"level":"debug"')).length;
    await member!.ask('JOIN', { room: '' });
    assert.equal(debugLines(), 0);
    await change({ log: { level: 'debug' } });
    await until('a refused frame is logged', async () => {
      await member!.ask('JOIN', { room: '' });
      return debugLines() > 0;
    });
    await change({ log: { level: 'info' } });
  });

  it('a wrong file is refused whole, with a sentence, and the next right one counts', async () => {
    const generation = await gateway.generation();
    const refused = async () => (await gateway.metrics()).sum('pushcluster_gateway_config_refused_total');
    /** It may be refused twice, if it is read while it is written. */
    const refusedSince = async (before: number) => until('it is refused', async () => (await refused()) > before);
    let before = await refused();
    const { settings } = gateway;
    const wrong = {
      ...settings,
      generation: 999,
      gateway: { ...settings.gateway, rooms: { maxPerConnection: 1, maxx: 3 } },
    };
    gateway.folder.swap(JSON.stringify(wrong));
    await refusedSince(before);
    await until('it is logged', () => /gateway\.rooms.*maxx/.test(gateway.output));
    before = await refused();
    gateway.folder.rewrite('gateway: [');
    await refusedSince(before);
    await until('that it is no YAML is logged', () => /settings\.yaml: Flow sequence/.test(gateway.output));
    const keyless = { ...settings, generation: 999, auth: { jwt: { secretFile: '/no/such/secret' } } };
    gateway.folder.rewrite(JSON.stringify(keyless));
    await until('that is logged', () => /auth\.jwt: \/no\/such\/secret does not exist/.test(gateway.output));
    assert.equal(await gateway.generation(), generation);
    const [member] = await enter('a');
    await member!.join('b');
    await change({ gateway: { rooms: { maxPerConnection: 2 } } });
    assert.equal((await member!.ask('JOIN', { room: 'c' })).type, 'ERROR', 'the right one counts');
    const sinceRefused = () => gateway.output.slice(gateway.output.lastIndexOf('was refused'));
    await until('that it counts is logged', () =>
      /"generation":\d+.*changed settings are in force/.test(sinceRefused()),
    );
    await change({ gateway: { rooms: { maxPerConnection: 100 } } });
  });

  it('what counts only at a start stays, is logged, and holds up nothing else', async () => {
    await change({
      gateway: { port: 1, idleTimeout: '20s', consolePushUrl: 'http://a', rooms: { maxPerConnection: 1 } },
    });
    for (const key of ['port', 'idleTimeout', 'consolePushUrl'])
      await until(`${key} is logged`, () =>
        new RegExp(`"gateway\\.${key}".*take effect at the next start`).test(gateway.output),
      );
    await logic.configure({ logic: { publishTimeout: '5s' } });
    await until('publishTimeout is logged', () =>
      /"logic\.publishTimeout".*take effect at the next start/.test(logic.output),
    );
    const [member] = await enter('a');
    assert.equal((await member!.ask('JOIN', { room: 'b' })).type, 'ERROR', 'the rest counts');
  });

  it('closed nobody and lost nothing', async (t) => {
    stream.on = false;
    await stream.end;
    await stream.ledger.settle(t, crowd);
    assert.deepEqual(
      crowd.filter(({ closed }) => closed !== undefined).map(({ closing }) => closing),
      [],
    );
    assert.equal(crowd.filter((connection) => connection.told() > 0).length, 0);
    assert.equal((await gateway.metrics()).sum('pushcluster_gateway_shard_restarts_total'), 0);
  });

  it('the pace of a drain', async (t) => {
    cutAll(guests);
    await gateway.holds(crowd.length);
    await change({ gateway: { drain: { rate: 2_000 } } });
    for (const connection of crowd) connection.onReconnect = () => connection.close();
    const began = performance.now();
    const lateness = Lateness.during(t);
    gateway.signal('SIGTERM');
    assert.equal((await gateway.exit).code, 0);
    const took = performance.now() - began;
    assert.ok(took < 10_000 + lateness.total, `gone after ${took} ms, where the former pace would have taken 25 s`);
  });
});

/** A steady stream: some items a second. */
async function trickle(writer: Writer): Promise<void> {
  while (stream.on) {
    await writer.push(2, 30);
    await pause(100);
  }
}

async function open(options: Partial<Parameters<typeof Connection.open>[0]> = {}): Promise<Connection> {
  const connection = await Connection.open({ port: gateway.port, form: 'v1', ...options });
  guests.push(connection);
  return connection;
}

/** So many new connections of each form (or one of v1), in a room. */
async function enter(room: string, perForm?: number): Promise<Connection[]> {
  const forms = perForm === undefined ? (['v1'] as const) : WIRE_FORMS.flatMap((form) => new Array(perForm).fill(form));
  const members = await Promise.all(forms.map((form) => open({ form })));
  await Promise.all(members.map((member) => member.join(room)));
  return members;
}

async function leave(members: readonly Connection[], room: string): Promise<void> {
  await Promise.all(members.map((member) => member.leave(room)));
}

/** The first item of a quiet room comes at once, and opens its window. */
async function lead(member: Connection, writer: Writer): Promise<void> {
  await writer.push(1);
  await until('the first came', () => member.received === 1);
}

/** Changes the gateway's settings; resolves when its shards have them too: they answer questions in their turn. */
async function change(settings: SettingsInput, how: 'swap' | 'rewrite' = 'swap'): Promise<void> {
  await gateway.configure(settings, how);
  await logic.hearsAll();
}

async function refusal(options: Partial<Parameters<typeof Connection.open>[0]> = {}): Promise<{ status: number }> {
  try {
    (await Connection.open({ port: gateway.port, ...options })).cut();
    return { status: 101 };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error;
  }
}

async function cut(): Promise<number> {
  return (await gateway.metrics()).sum('pushcluster_gateway_messages_dropped_total', { reason: 'overload' });
}
