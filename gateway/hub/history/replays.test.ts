import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { roomKey } from '../../ipc/channelKey.ts';
import { messageOf, type ResumeFrame } from '../../ipc/resume.ts';
import { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import { type Push, type Replay, Replays } from './replays.ts';
import type { RoomHistory } from './roomHistory.ts';

const [PLAIN, V1, DEFLATE] = WIRE_FORMS as [(typeof WIRE_FORMS)[0], (typeof WIRE_FORMS)[0], (typeof WIRE_FORMS)[0]];
const KEY = roomKey('r');

let replays: Replays;
let room: RoomHistory;

beforeEach(() => {
  replays = new Replays({
    decode: (bytes: Uint8Array, decode: (b: Uint8Array) => unknown) => decode(bytes),
  } as IgnoredMessages);
  room = {} as RoomHistory;
});

/** Pushes of so many items each, with numbers from 1. */
function pushesOf(counts: readonly number[], size = 1): Push[] {
  return counts.map((count, i) => {
    const items = joinItems(Array.from({ length: count }, () => Buffer.from(`"${'x'.repeat(size)}"`)));
    const header = {
      publisher: 'p',
      counter: i + 1,
      at: 0,
      begun: 0,
      beat: 1,
      mark: 1,
      first: 1,
      urgent: false,
      id: '',
    };
    return { seq: i + 1, bytes: encodePush({ ...header, items }) };
  });
}

function replayOf(pushes: readonly Push[], form = V1, batching: object = {}): Replay {
  const channel = new HubChannel(KEY, Settings.parse({ gateway: { batching } }));
  const replay = replays.of({ channel, room, form }, 0, { epoch: 'e', seq: pushes.length }, pushes);
  assert.ok(replay);
  return replay;
}

async function framesOf(replay: Replay): Promise<readonly ResumeFrame[]> {
  return replay.compressed ? await replay.compressed : replay.frames;
}

function itemsOf(frame: ResumeFrame): unknown[] {
  const message = messageOf(frame);
  const text = typeof message === 'string' ? message : inflateRawSync(message).toString();
  return (JSON.parse(text) as { data: { items: unknown[] } }).data.items;
}

describe('missed pushes as frames', () => {
  it('are cut where batches of the room are, and a push is never split', () => {
    const { frames, isAll } = replayOf(pushesOf([4, 4, 3, 25, 1, 9]), V1, { maxItems: 10 });
    assert.deepEqual(
      frames.map((frame) => itemsOf(frame).length),
      [8, 3, 25, 10],
    );
    assert.deepEqual(
      frames.map(({ seq }) => seq),
      [2, 3, 4, 6],
    );
    assert.ok(isAll);
    const { frames: small } = replayOf(pushesOf([1, 1, 1, 1], 1_000), V1, { maxBytes: 2_100 });
    assert.equal(small.length, 2);
  });

  it('are compressed in the form that is, from 256 bytes on, once for all who ask', async () => {
    for (const size of [100, 20_000]) {
      const pushes = pushesOf([1, 1, 1, 1], size);
      const replay = replayOf(pushes, DEFLATE);
      const frames = await framesOf(replay);
      assert.ok(frames.every((frame) => 'deflated' in frame));
      assert.deepEqual(frames.flatMap(itemsOf), (await framesOf(replayOf(pushes, V1))).flatMap(itemsOf));
      assert.equal(replayOf(pushes, DEFLATE), replay);
    }
    assert.ok('text' in (await framesOf(replayOf(pushesOf([1]), DEFLATE)))[0]!);
    for (const form of [PLAIN, V1])
      assert.ok((await framesOf(replayOf(pushesOf([1], 20_000), form))).every((frame) => 'text' in frame));
  });

  it('are not more at a time than may wait to be compressed', async () => {
    const channel = new HubChannel(KEY, Settings.parse({}));
    const place = { epoch: 'e', seq: 100 };
    const pushes = pushesOf([1], 20_000);
    const ask = () => replays.of({ channel, room: {} as RoomHistory, form: DEFLATE }, 0, place, pushes);
    const made = Array.from({ length: 100 }, ask).filter((replay) => replay !== undefined);
    assert.equal(made.length, 64);
    await Promise.all(made.map(({ compressed }) => compressed));
    assert.ok(ask());
  });
});
