import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { joinItems } from '@pushcluster/protocol/push.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import fc from 'fast-check';
import { roomKey } from '../ipc/channelKey.ts';
import { settingsWith } from '../simulation/hub.ts';
import { frameCost } from './adaptiveWindow.ts';
import type { Batch } from './batch.ts';
import { MOST_CORES } from './frameBudget.ts';
import { HubChannel } from './hubChannel.ts';
import { ListenerTable } from './listenerTable.ts';
import { Windows } from './windows.ts';

const MACHINE = { shards: 1, cores: 2 };
const QUIET = { busy: 0, lateMs: 0, backlog: 0 };

/** Rooms with their members and messages, under a gateway's windows and in virtual time. */
class Rooms {
  readonly lengths: number[] = [];
  readonly windows: Windows;
  readonly frames: { room: string; at: number; batch: Batch }[] = [];
  now = 0;
  readonly #listeners = new ListenerTable();
  readonly #channels = new Map<string, HubChannel>();
  readonly #settings;

  constructor(settings = settingsWith()) {
    this.#settings = settings;
    this.windows = new Windows({
      listeners: this.#listeners,
      shards: () => MACHINE.shards,
      cores: MACHINE.cores,
      metric: { count: (seconds) => this.lengths.push(seconds) },
    });
  }

  add(room: string, members: number): void {
    const channel = new HubChannel(roomKey(room), this.#settings);
    channel.members = [members];
    this.#listeners.set(channel.key, 0, Form.v1);
    this.#channels.set(room, channel);
  }

  /** Each room gets `rate` messages a second, evenly, the rooms one after another. */
  play(rate: number, seconds: number): void {
    const step = 1_000 / rate / this.#channels.size;
    let counter = 0;
    for (const end = this.now + seconds * 1_000; this.now < end; ) {
      counter++;
      for (const [room, channel] of this.#channels) {
        this.now += step;
        this.#flushDue();
        this.windows.messageCame(channel, this.now);
        const items = joinItems([Buffer.from(`${counter}`)]);
        const part = { publisher: 'p', first: counter, at: this.now, items };
        for (const batch of channel.window.offer(part, this.now)) this.frames.push({ room, at: this.now, batch });
      }
    }
  }

  /** Cores that the frames since `since` took of the busiest core. */
  coresSince(since: number, members: number): number {
    const frames = this.frames.filter(({ at }) => at >= since).length;
    return (frames * frameCost(members, 1, MACHINE).busiest) / 1_000 / (this.now - since);
  }

  longestWait(since: number): number {
    return Math.max(...this.frames.filter(({ at }) => at >= since).map(({ batch }) => batch.waited));
  }

  itemsOf(room: string): number[] {
    return this.frames
      .filter((frame) => frame.room === room)
      .flatMap(({ batch }) => batch.parts.map(({ items }) => Number(Buffer.from(items.bytes).toString())));
  }

  #flushDue() {
    for (const [room, { window }] of this.#channels) {
      const due = window.due();
      if (due === undefined || due > this.now) continue;
      const batch = window.flush(due);
      if (batch) this.frames.push({ room, at: due, batch });
    }
  }
}

describe('the windows of a gateway', () => {
  it('keep no message of a chat of ten for long, and merge those of a crowd as maxDelay says', () => {
    const rooms = new Rooms();
    rooms.add('chat', 10);
    rooms.add('crowd', 100_000);
    rooms.play(5, 10);
    const waits = (room: string) =>
      rooms.frames.filter((frame) => frame.room === room && frame.at >= 1_000).map(({ batch }) => batch.waited);
    assert.ok(Math.max(...waits('chat')) <= 50, `${waits('chat')}`);
    assert.ok(waits('crowd').length <= 10, `${waits('crowd').length} frames in 9 s`);
  });

  it('of many rooms at once keep their frames within the budget, and are short again when they are quiet', () => {
    const rooms = new Rooms();
    for (let i = 0; i < 300; i++) rooms.add(`${i}`, 100);
    rooms.play(30, 4);
    assert.ok(rooms.coresSince(2_000, 100) <= MOST_CORES * 1.1, `${rooms.coresSince(2_000, 100)} cores`);
    assert.ok(rooms.coresSince(2_000, 100) >= MOST_CORES / 2.5, `${rooms.coresSince(2_000, 100)} cores`);
    const quiet = rooms.now;
    rooms.play(1, 8);
    assert.ok(rooms.longestWait(quiet + 6_000) <= 50, `${rooms.longestWait(quiet + 6_000)} ms`);
  });

  it('are longer while the gateway is strained, and never longer than maxDelay', () => {
    const waits = [QUIET, { ...QUIET, busy: 1 }].map((load) => {
      const rooms = new Rooms(settingsWith({ gateway: { batching: { maxDelay: '300ms' } } }));
      for (let i = 0; i < 100; i++) rooms.add(`${i}`, 100);
      for (let i = 0; i < 10; i++) rooms.windows.measured(load);
      rooms.play(60, 3);
      return rooms.longestWait(2_000);
    });
    assert.ok(waits[1]! > 2 * waits[0]! && waits[1]! <= 300, `${waits}`);
  });

  it('leave the order of every room as it is, whatever the load', () => {
    const phases = fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.double({ min: 0, max: 1, noNaN: true })), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 8 }),
        phases,
        (sizes, phases) => {
          const rooms = new Rooms();
          for (const [i, members] of sizes.entries()) rooms.add(`${i}`, members);
          for (const [rate, busy] of phases) {
            rooms.windows.measured({ ...QUIET, busy });
            rooms.play(rate, 1);
          }
          for (const [i] of sizes.entries()) {
            const items = rooms.itemsOf(`${i}`);
            // Each phase counts from 1.
            assert.ok(
              items.every((item, at) => at === 0 || item === 1 || item === items[at - 1]! + 1),
              `${items}`,
            );
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  it('are all as long as maxDelay if they are not adaptive', () => {
    const rooms = new Rooms(settingsWith({ gateway: { batching: { adaptive: false } } }));
    rooms.add('chat', 10);
    rooms.play(5, 10);
    assert.ok(rooms.frames.length <= 11, `${rooms.frames.length}`);
    assert.deepEqual(rooms.lengths, []);
  });
});
