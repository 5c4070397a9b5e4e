import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { PACE_MS } from '@pushcluster/runtime/pace.ts';
import { pino } from 'pino';
import { roomKey } from '../ipc/channelKey.ts';
import { type HubMessage, missedSize, type ShardMessage } from '../ipc/messages.ts';
import { settingsWith } from '../simulation/hub.ts';
import { ExceptionGuard } from './exceptionGuard.ts';
import { ShardProcess } from './shardProcess.ts';
import { SlicedWork } from './slicedWork.ts';

const log = pino({ level: 'silent' });
const MIB = 1_048_576;

/** A shard's process as the hub sees it: what is written to it is kept. */
class FakeChild extends EventEmitter {
  pid: number | undefined = 4_711;
  exitCode = null;
  signalCode = null;
  stderr = null;
  killed = 0;
  readonly socket = new Socket();
  stdio: unknown[] | undefined = [null, null, null, this.socket];
  #written: Buffer[] = [];

  constructor() {
    super();
    this.socket.write = (chunk: Uint8Array | string) => {
      this.#written.push(Buffer.from(chunk as Uint8Array));
      return true;
    };
  }

  kill(): boolean {
    this.killed++;
    return true;
  }

  says(message: ShardMessage): void {
    const text = Buffer.from(JSON.stringify(message));
    const bytes = Buffer.alloc(5 + text.length);
    bytes.writeUInt32LE(text.length);
    text.copy(bytes, 5);
    this.socket.emit('data', bytes);
  }

  /** Messages of one type that it was sent since the last look. */
  heard<T extends HubMessage['type']>(type: T): Extract<HubMessage, { type: T }>[] {
    const bytes = Buffer.concat(this.#written);
    this.#written = [];
    const messages: HubMessage[] = [];
    for (let at = 0; at < bytes.length; ) {
      const size = bytes.readUInt32LE(at);
      if (bytes[at + 4] === 0) messages.push(JSON.parse(bytes.toString('utf8', at + 5, at + 5 + size)));
      at += 5 + size;
    }
    return messages.filter((message): message is Extract<HubMessage, { type: T }> => message.type === type);
  }
}

/** What `spawn` does when it is called next: throws, or answers a process. */
type Outcome = Error | FakeChild;

let outcomes: Outcome[];
let spawned: number;
let died: number;
let overrun: number;
let errors: string[];
let shard: ShardProcess;

function shardWith(settings: object = {}): ShardProcess {
  return new ShardProcess({
    index: 0,
    shards: 2,
    settings: settingsWith(settings),
    log,
    guard: new ExceptionGuard(log, (place) => errors.push(place)),
    work: new SlicedWork({ clock: new FakeClock(), failed: (error) => assert.fail(String(error)) }),
    hooks: {
      message: () => {},
      counted: () => {},
      died: () => died++,
      overrun: (items) => {
        overrun += items;
      },
    },
    spawn: () => {
      spawned++;
      const outcome = outcomes.shift() ?? new Error('spawn EMFILE');
      if (outcome instanceof Error) throw outcome;
      return outcome as unknown as ChildProcess;
    },
  });
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  outcomes = [];
  spawned = 0;
  died = 0;
  overrun = 0;
  errors = [];
});
afterEach(() => {
  void shard.end();
  mock.timers.reset();
});

/** Makes a shard that listens, and returns its process. */
async function listening(settings: object = {}): Promise<FakeChild> {
  const child = new FakeChild();
  outcomes.push(child);
  shard = shardWith(settings);
  const started = shard.start();
  child.says({ type: 'listening' });
  await started;
  return child;
}

/** As Node answers where it has no descriptor left: a child without a process and streams, and the reason later. */
function withoutStreams(): FakeChild {
  const child = new FakeChild();
  child.pid = undefined;
  child.stdio = undefined;
  return child;
}

/** As Node answers where the system has no process left: the streams are there, and lead nowhere. */
function withoutProcess(): FakeChild {
  const child = new FakeChild();
  child.pid = undefined;
  return child;
}

/** A process whose streams were not to be had. */
function withoutSocket(): FakeChild {
  const child = new FakeChild();
  child.stdio = [null, null, null, null];
  return child;
}

describe('a shard that can’t be started while it is replaced', () => {
  const ways: { name: string; outcome: () => Outcome; later?: Error }[] = [
    { name: 'spawn throws', outcome: () => new Error('spawn ENOMEM') },
    { name: 'spawn says so later, without streams', outcome: withoutStreams, later: new Error('spawn EMFILE') },
    { name: 'spawn says so later, without a process', outcome: withoutProcess, later: new Error('spawn EAGAIN') },
    { name: 'the process has no socket', outcome: withoutSocket },
  ];
  for (const { name, outcome, later } of ways)
    it(`is tried again, later each time, and /healthz says why: ${name}`, async () => {
      const first = await listening();
      assert.equal(shard.problem, undefined);
      first.emit('close', null, 'SIGKILL');
      assert.equal(died, 1);
      let waited = 50;
      for (let attempt = 1; attempt <= 9; attempt++) {
        const next = outcome();
        outcomes.push(next);
        mock.timers.tick(waited - 1);
        assert.equal(spawned, attempt, 'too soon');
        mock.timers.tick(1);
        assert.equal(spawned, attempt + 1);
        if (later && next instanceof FakeChild) next.emit('error', later);
        assert.match(shard.problem ?? '', /^shard 0 does not listen, and its process can't be started: /);
        waited = Math.min(5_000, 2 * waited);
      }
      assert.equal(died, 1, 'nobody was lost with what never was');
      assert.equal(shard.restarts, 1);
      const last = new FakeChild();
      outcomes.push(last);
      mock.timers.tick(5_000);
      last.says({ type: 'listening' });
      assert.equal(shard.problem, undefined);
      assert.deepEqual(errors, []);
    });

  it('is tried again where its process says that it can’t do its work, and /healthz says why', async () => {
    const first = await listening();
    const second = new FakeChild();
    outcomes.push(second);
    first.emit('close', null, 'SIGKILL');
    mock.timers.tick(50);
    second.says({ type: 'failed', message: 'the certificate is gone' });
    assert.equal(second.killed, 1);
    assert.match(shard.problem ?? '', /the certificate is gone/);
    const third = new FakeChild();
    outcomes.push(third);
    second.emit('close', null, 'SIGKILL');
    mock.timers.tick(100);
    assert.equal(spawned, 3);
    assert.match(shard.problem ?? '', /the certificate is gone/);
    third.says({ type: 'listening' });
    assert.equal(shard.problem, undefined);
  });

  it('ends where it is told to, however it stands', async () => {
    const first = await listening();
    first.emit('close', 1, null);
    outcomes.push(withoutStreams());
    mock.timers.tick(50);
    await shard.end();
    mock.timers.tick(60_000);
    assert.equal(spawned, 2);
  });

  it('is an error of the start where it is the first', async () => {
    outcomes.push(new Error('spawn ENOMEM'));
    shard = shardWith();
    await assert.rejects(shard.start(), /the shard ended at its start: spawn ENOMEM/);
    mock.timers.tick(60_000);
    assert.equal(spawned, 1);
  });
});

describe('what a shard says', () => {
  it('that is no message costs that one, and is counted', async () => {
    const child = await listening();
    const bytes = Buffer.from('....\0{');
    bytes.writeUInt32LE(1, 0);
    child.socket.emit('data', bytes);
    assert.deepEqual(errors, ['shard']);
    child.says({ type: 'done', bytes: 0 });
    assert.equal(shard.problem, undefined);
  });
});

describe('news of missed items', () => {
  const room = roomKey('r');

  it('are bytes on their way, until the shard is done with them', async () => {
    await listening();
    shard.sendMissed(room, 3, 'overload');
    shard.sendMissed(room, 4, 'bus_gap');
    assert.equal(shard.inFlight, 2 * missedSize(room));
  });

  it('beyond the limit are summed up for each channel and told once there is room, never over it by more than one', async () => {
    const child = await listening({ gateway: { shardWatch: { maxInFlight: MIB } } });
    const rooms = Array.from({ length: 20_000 }, (_, i) => roomKey(`room-${i}`));
    for (let round = 0; round < 3; round++) for (const key of rooms) shard.sendMissed(key, 5, 'overload');
    const told = new Map<string, number>();
    for (let turns = 0; turns < 100 && [...told.values()].reduce((sum, items) => sum + items, 0) < 300_000; turns++) {
      assert.ok(shard.inFlight <= MIB + missedSize(roomKey('room-19999')), `${shard.inFlight} bytes on their way`);
      await setImmediate();
      // A stream that sends much lets it gather: whether it does depends on how fast this machine is.
      mock.timers.tick(PACE_MS);
      for (const { key, items } of child.heard('missed')) told.set(key, (told.get(key) ?? 0) + items);
      child.says({ type: 'done', bytes: shard.inFlight });
    }
    assert.equal(told.size, rooms.length);
    for (const items of told.values()) assert.equal(items, 15);
    assert.equal(overrun, 0);
  });
});
