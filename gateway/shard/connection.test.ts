import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import fc from 'fast-check';
import { pino } from 'pino';
import { ALL, type ChannelKey, roomKey, userKey } from '../ipc/channelKey.ts';
import type { Frame } from '../ipc/frame.ts';
import { settingsWith } from '../simulation/hub.ts';
import { FakeLoop, FakeSocket } from '../simulation/shard.ts';
import type { Connection } from './connection.ts';
import { Shard } from './shard.ts';

const log = pino({ level: 'silent' });
const ROOMS = ['r1', 'r2'] as const;
type Room = (typeof ROOMS)[number];
/** Others in each room, so that a broadcast takes several slices. */
const CROWD = 100;
const MS_A_SEND = 0.2;

type Client = { connection: Connection; socket: FakeSocket; joins: Map<Room, Join> };
/** A stay in a room: where the client's stream was then, and how many items had begun to go out. */
type Join = { from: number; begun: number };
type Stay = Join & { room: Room; to: number };

/** A shard with a few clients that may read slowly, amid a crowd that reads at once. */
class World {
  readonly loop = new FakeLoop();
  readonly shard = new Shard(settingsWith(), log, () => {}, this.loop);
  readonly clients: Client[];
  readonly stays = new Map<Client, Stay[]>();
  /** Items by channel. */
  readonly published = new Map<ChannelKey, number>();

  constructor(forms: readonly Form[], capacity: number) {
    const crowd = { ...quick(this.loop) };
    const half = (from: number) => {
      for (let i = from; i < CROWD; i += 2) {
        const connection = this.shard.open(crowd, Form.v1, { expires: 0 }, undefined);
        for (const room of ROOMS) this.#send(connection, 'JOIN', room);
      }
    };
    half(0);
    this.clients = forms.map((form, i) => {
      const socket = new FakeSocket(capacity);
      socket.onSend = () => {
        this.loop.time += MS_A_SEND;
      };
      // One client is a user; the others get nothing without a room but what goes to all.
      const identity = i === 0 ? { user: 'u', expires: 0 } : { expires: 0 };
      return { connection: this.shard.open(socket, form, identity, undefined), socket, joins: new Map() };
    });
    half(1);
  }

  #send(connection: Connection, type: 'JOIN' | 'LEAVE', room: string) {
    const text = JSON.stringify({ type, data: { room } });
    // A second for each frame: the inbound rate is another test's.
    this.#second += 1;
    this.shard.received(connection, text, text.length, this.#second);
  }

  #second = 0;

  join(client: Client, room: Room): void {
    if (client.joins.has(room)) return;
    const from = client.socket.sent.length;
    this.#send(client.connection, 'JOIN', room);
    const channel = client.connection.members.find((member) => member.channel.key === roomKey(room))?.channel;
    assert.ok(channel);
    client.joins.set(room, { from, begun: channel.position + (channel.active?.items ?? 0) });
  }

  leave(client: Client, room: Room): void {
    const join = client.joins.get(room);
    if (!join) return;
    this.#send(client.connection, 'LEAVE', room);
    client.joins.delete(room);
    const stays = this.stays.get(client) ?? [];
    stays.push({ ...join, room, to: client.socket.sent.length });
    this.stays.set(client, stays);
  }

  publish(key: ChannelKey, items: number): void {
    const first = this.#count(key, items);
    const place = key === ALL ? 'all' : key;
    const bytes = Buffer.from(JSON.stringify({ type: 'PUSH', data: { place, first, items } }));
    const frames: Frame[] = [Form.plain, Form.v1, Form.deflate].map((form) => ({ form, binary: false, bytes }));
    this.shard.frame({ key, items, frames, ages: [], size: bytes.length });
  }

  miss(key: ChannelKey, items: number): void {
    this.#count(key, items);
    this.shard.handle({ type: 'missed', key, items, reason: 'bus_gap' });
  }

  #count(key: ChannelKey, items: number): number {
    const first = this.published.get(key) ?? 0;
    this.published.set(key, first + items);
    return first;
  }

  drain(client: Client, messages?: number): void {
    client.socket.drain(messages);
    this.shard.drained(client.connection);
  }

  /** Everyone reads again, and all that is under way arrives. */
  settle(): void {
    for (const client of this.clients) {
      client.socket.reading = true;
      this.drain(client);
    }
    this.loop.idle();
    for (const client of this.clients) this.drain(client);
  }
}

function quick(loop: FakeLoop) {
  return {
    send: () => {
      loop.time += MS_A_SEND;
      return 1;
    },
    end() {},
    close() {},
    getBufferedAmount: () => 0,
  };
}

type Heard = { place: string; first: number; items: number } | { room: string | undefined; dropped: number };

function heard(client: Client, from = 0, to = client.socket.sent.length): Heard[] {
  return client.socket.frames.slice(from, to).map(({ type, data }) => {
    if (type === 'PUSH') return { place: String(data.place), first: Number(data.first), items: Number(data.items) };
    assert.equal(type, 'LAGGED');
    return { room: data.room === undefined ? undefined : String(data.room), dropped: Number(data.dropped) };
  });
}

/**
 * Follows what a client heard of one channel: each frame begins where the last ended, but for what LAGGED said between.
 * Returns from which item on it has all, and up to which.
 */
function follow(
  stream: readonly Heard[],
  place: string,
  room: string | undefined,
): { start: number; end: number } | number {
  let told = 0;
  let span: { start: number; end: number } | undefined;
  for (const word of stream) {
    if ('dropped' in word) {
      if (word.room !== room) continue;
      if (span) span.end += word.dropped;
      else told += word.dropped;
    } else if (word.place === place) {
      if (!span) span = { start: word.first - told, end: word.first };
      assert.equal(word.first, span.end, `a frame of ${place} that does not follow on what came and what was told`);
      span.end += word.items;
    }
  }
  return span ?? told;
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ what: fc.constant('publish' as const), i: fc.nat(3), n: fc.integer({ min: 1, max: 3 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ what: fc.constant('miss' as const), i: fc.nat(2), n: fc.integer({ min: 1, max: 3 }) }),
  },
  { weight: 6, arbitrary: fc.record({ what: fc.constant('turn' as const), i: fc.constant(0), n: fc.constant(0) }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('block' as const), i: fc.nat(3), n: fc.constant(0) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constantFrom('drain' as const, 'trickle' as const),
      i: fc.nat(3),
      n: fc.constant(0),
    }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('unblock' as const), i: fc.nat(3), n: fc.constant(0) }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('join' as const), i: fc.nat(3), n: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('leave' as const), i: fc.nat(3), n: fc.nat(1) }) },
);
const KEYS = [roomKey('r1'), roomKey('r2'), ALL, userKey('u')] as const;

describe('a connection that reads slowly', () => {
  it('is told exactly what it missed of each room and of all, however drops, drains, joins and leaves fall', () => {
    const forms = [Form.v1, Form.v1, Form.deflate, Form.plain];
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 120, size: 'max' }),
        fc.integer({ min: 1, max: 4 }),
        (steps, capacity) => {
          const world = new World(forms, capacity);
          for (const { what, i, n } of steps) {
            const client = world.clients[i]!;
            if (what === 'publish') world.publish(KEYS[i]!, n);
            else if (what === 'miss') world.miss(KEYS[i]!, n);
            else if (what === 'turn') world.loop.turn();
            else if (what === 'block') client.socket.reading = false;
            else if (what === 'drain') world.drain(client);
            else if (what === 'trickle') world.drain(client, 1);
            else if (what === 'join') world.join(client, ROOMS[n]!);
            else if (what === 'leave') world.leave(client, ROOMS[n]!);
            else {
              client.socket.reading = true;
              world.drain(client);
            }
          }
          world.settle();
          for (const client of world.clients.slice(0, 3)) {
            for (const [room, join] of client.joins) {
              const published = world.published.get(roomKey(room)) ?? 0;
              const span = follow(heard(client, join.from), roomKey(room), room);
              // All from the join on, and what still waited then behind the job under way.
              const { start, end } = typeof span === 'number' ? { start: published - span, end: published } : span;
              assert.equal(start, join.begun, `has ${room} from item ${start} on`);
              assert.equal(end, published, `has ${room} up to item ${end}`);
            }
            for (const { room, from, to } of world.stays.get(client) ?? [])
              follow(heard(client, from, to), roomKey(room), room);
          }
          for (const client of world.clients) {
            // Nothing of a room comes outside of a stay.
            for (const room of ROOMS) {
              const stays = (world.stays.get(client) ?? []).filter((stay) => stay.room === room);
              const join = client.joins.get(room);
              if (join) stays.push({ ...join, room, to: client.socket.sent.length });
              const inside = stays.reduce((sum, { from, to }) => sum + ofRoom(heard(client, from, to), room), 0);
              assert.equal(ofRoom(heard(client), room), inside, `frames of ${room} outside of a stay`);
            }
          }
          // To all and to the user, LAGGED looks the same: together they account for everything.
          const [user, ...others] = world.clients;
          const toAll = world.published.get(ALL) ?? 0;
          const toUser = world.published.get(userKey('u')) ?? 0;
          assert.equal(withoutRoom(heard(user!)), toAll + toUser);
          for (const client of others.slice(0, 2)) {
            const span = follow(heard(client), 'all', undefined);
            if (typeof span === 'number') assert.equal(span, toAll);
            else assert.deepEqual(span, { start: 0, end: toAll });
          }
          // A plain client is told nothing, and gets what it gets in order and once.
          const plain = world.clients[3]!;
          for (const place of ['all', roomKey('r1'), roomKey('r2')]) {
            let end = 0;
            for (const word of heard(plain)) {
              assert.ok(!('dropped' in word), 'a plain client was told');
              if (word.place !== place) continue;
              assert.ok(word.first >= end);
              end = word.first + word.items;
            }
          }
          assert.ok(world.clients.every(({ connection }) => !connection.lagging));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('is counted item by item while it is skipped', () => {
    const world = new World([Form.v1], 1);
    const [client] = world.clients;
    world.join(client!, 'r1');
    client!.socket.reading = false;
    for (let i = 0; i < 4; i++) world.publish(roomKey('r1'), 2);
    world.loop.idle();
    assert.equal(world.shard.counts.dropped.slow, 6);
    world.settle();
    assert.deepEqual(client!.socket.frames.at(-1), {
      type: 'LAGGED',
      data: { room: 'r1', dropped: 6, reason: 'slow' },
    });
  });

  it('stays marked until its buffer is empty', () => {
    const world = new World([Form.v1], 1);
    const [client] = world.clients;
    client!.socket.reading = false;
    world.publish(ALL, 1);
    world.publish(ALL, 1);
    world.loop.idle();
    assert.ok(client!.connection.lagging);
    // The engine says that something was written, but not all.
    world.shard.drained(client!.connection);
    assert.ok(client!.connection.lagging);
    world.drain(client!);
    assert.ok(!client!.connection.lagging);
  });

  it('that fills up again while it is told is told the rest the next time', () => {
    const world = new World([Form.v1], 1);
    const [client] = world.clients;
    for (const room of ROOMS) world.join(client!, room);
    client!.socket.reading = false;
    world.publish(ALL, 1);
    for (const key of [roomKey('r1'), roomKey('r2'), ALL]) world.publish(key, 1);
    world.loop.idle();
    const told = () => heard(client!).filter((word) => 'dropped' in word).length;
    world.drain(client!);
    assert.equal(told(), 1, 'there was room for one');
    assert.ok(client!.connection.lagging);
    world.publish(ALL, 5);
    world.loop.idle();
    world.drain(client!);
    assert.equal(told(), 2);
    world.settle();
    assert.equal(withoutRoom(heard(client!)), 7);
    assert.ok(!client!.connection.lagging);
  });
});

/** Items without a room that came or were told. */
function withoutRoom(stream: readonly Heard[]): number {
  return stream.reduce((sum, word) => {
    if ('dropped' in word) return sum + (word.room === undefined ? word.dropped : 0);
    return sum + (word.place.startsWith('r') ? 0 : word.items);
  }, 0);
}

function ofRoom(stream: readonly Heard[], room: string): number {
  return stream.filter((word) => ('dropped' in word ? word.room === room : word.place === roomKey(room))).length;
}
