import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { roomKey } from '../../ipc/channelKey.ts';
import type { ResumeAnswer } from '../../ipc/resume.ts';
import { FakeShard } from '../../simulation/hub.ts';
import { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import { Resumes } from './resumes.ts';
import type { RoomHistory } from './roomHistory.ts';
import { RingBudget, RoomRing } from './roomRing.ts';

const KEY = roomKey('r');
const HEAD = 40;

/** A quiet room at `HEAD` in the epoch `e`, with all of it in the ring, and a stream that has no more. */
class Room implements Partial<RoomHistory> {
  readonly head = HEAD;
  epoch = 'e';
  readonly ring = new RoomRing(new RingBudget(), 0);
  readonly isPending = false;
  mayBeSetBack = false;
  last = HEAD;
  asked = 0;

  place() {
    return { epoch: this.epoch, seq: HEAD };
  }

  formerMs = 4_000;

  isAhead(): void {}

  async looked(): Promise<void> {}

  async next(): Promise<number> {
    return Number.POSITIVE_INFINITY;
  }

  async hasReached(seq: number): Promise<boolean> {
    this.asked++;
    return this.last >= seq;
  }
}

describe('a client that is ahead of its gateway', () => {
  let clock: FakeClock;
  let room: Room;
  let shard: FakeShard;
  let resumes: Resumes;

  beforeEach(() => {
    clock = new FakeClock();
    room = new Room();
    shard = new FakeShard(0);
    const channel = new HubChannel(KEY, Settings.parse({}));
    channel.history = room as unknown as RoomHistory;
    resumes = new Resumes({
      channel: () => channel,
      clock,
      ignored: {} as IgnoredMessages,
      metrics: { resumes: { inc: () => {} } } as never,
      failed: () => {},
    });
  });

  /** It asks for what follows a push that the gateway does not have. */
  function ask(): void {
    void resumes.resume(shard, KEY, 1, Form.v1, { type: 'join', since: { epoch: 'e', seq: HEAD + 1 }, away: 1_000 });
  }

  function answer(): ResumeAnswer | undefined {
    return shard.messagesOf('resumed')[0]?.answer;
  }

  it('is answered once the stream is known to have what it has', async () => {
    ask();
    await clock.pass(1_000);
    assert.equal(answer(), undefined);
    room.last = HEAD + 1;
    await clock.pass(500);
    assert.deepEqual(answer(), {
      ...{ type: 'resumed', place: { epoch: 'e', seq: HEAD }, recovered: true },
      ...{ frames: [], isAll: true, replayTo: HEAD + 1 },
    });
  });

  it('is told that its place is lost once no former leader can have answered, and the stream is asked less and less', async () => {
    ask();
    await clock.pass(3_900);
    assert.equal(answer(), undefined);
    assert.ok(room.asked > 5 && room.asked < 40, `asked ${room.asked} times`);
    await clock.pass(700);
    assert.deepEqual(answer(), {
      ...{ type: 'resumed', place: { epoch: 'e', seq: HEAD }, recovered: false },
      ...{ frames: [], isAll: true },
    });
  });

  it('is told so at once by a store that has no former leaders', async () => {
    room.formerMs = 0;
    ask();
    await clock.pass(10);
    assert.equal((answer() as Extract<ResumeAnswer, { type: 'resumed' }>).recovered, false);
  });

  it('is not told so in a history that is about to become another one: it asks again', async () => {
    room.mayBeSetBack = true;
    ask();
    await clock.pass(5_600);
    assert.deepEqual(answer(), { type: 'unavailable' });
    shard.messages.splice(0);
    ask();
    await clock.pass(1_000);
    [room.epoch, room.mayBeSetBack] = ['f', false];
    await clock.pass(600);
    const { place, recovered } = answer() as Extract<ResumeAnswer, { type: 'resumed' }>;
    assert.deepEqual([place, recovered], [{ epoch: 'f', seq: HEAD }, false], 'told once, in the new one');
  });
});
