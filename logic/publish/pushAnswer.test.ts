import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { Target } from '@pushcluster/protocol/api.ts';
import { decodePush } from '@pushcluster/protocol/push.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { LocalHistory } from '@pushcluster/runtime/history/localHistory.ts';
import { logLines } from '@pushcluster/test/harness/logLines.ts';
import { RoomHistories } from '../history/roomHistories.ts';
import { idempotencyKey } from './idempotencyKey.ts';
import { Publisher } from './publisher.ts';
import { answerPush } from './pushAnswer.ts';
import type { PushService } from './pushService.ts';

const MATCH = 'kept-*';
const settings = Settings.parse({ rooms: [{ match: MATCH, history: {} }] });
const subjects = new Subjects('test');

describe('the id of a push to rooms with a history', () => {
  let history: LocalHistory;
  let bus: LocalBus;
  let publisher: Publisher;

  beforeEach(() => {
    const { log } = logLines();
    bus = new LocalBus(log);
    history = new LocalHistory(bus, subjects);
    const histories = new RoomHistories({ store: history, bus, settings: () => settings, log });
    publisher = new Publisher(bus, subjects, {
      history: {
        ...{ store: history, histories, timeout: () => 1_000 },
        ...{ onStored: () => {}, onRetry: () => {}, onDuplicate: () => {}, onRefused: assert.fail },
      },
    });
  });

  const push = async (to: Target, { id = 'same', key = 'backend' } = {}) => {
    const pushes = { push: publisher.publish.bind(publisher) } as unknown as PushService;
    const caller = { name: key, scope: undefined };
    const { body } = await answerPush(pushes, caller, { to, items: [], urgent: false, id }, [Buffer.from('1')]);
    return body.rooms ?? [];
  };
  const stored = async (room: string) => (await history.read(MATCH, room, 1, 100)).pushes;

  it('holds for each room, whichever others the request names', async () => {
    const [first] = await push({ type: 'room', room: 'kept-1' });
    for (const rooms of [['kept-1'], ['kept-1', 'kept-2'], ['kept-3', 'kept-1', 'plain']])
      assert.deepEqual(
        (await push({ type: 'rooms', rooms })).find(({ room }) => room === 'kept-1'),
        first,
      );
    assert.deepEqual(await push({ type: 'room', room: 'kept-1' }), [first]);
    for (const room of ['kept-1', 'kept-2', 'kept-3']) assert.equal((await stored(room)).length, 1, room);
  });

  it('is in the stored message: by it a push is recognised whose history was replaced', async () => {
    await push({ type: 'rooms', rooms: ['kept-1', 'kept-2'] });
    for (const room of ['kept-1', 'kept-2']) {
      const [{ bytes } = assert.fail('nothing is stored')] = await stored(room);
      assert.equal(decodePush(bytes).id, `${idempotencyKey('backend', { type: 'room', room }, 'same')}/0`);
    }
  });

  it('is of one API key and one room', async () => {
    await push({ type: 'room', room: 'kept-1' });
    await push({ type: 'rooms', rooms: ['kept-1'] }, { key: 'another' });
    assert.equal((await stored('kept-1')).length, 2);
  });

  it('is of the whole request in other rooms', async () => {
    const ids: string[] = [];
    bus.subscribe(subjects.room('plain'), (bytes) => ids.push(decodePush(bytes).id));
    await push({ type: 'room', room: 'plain' });
    await push({ type: 'rooms', rooms: ['plain'] });
    await push({ type: 'rooms', rooms: ['plain', 'kept-1'] });
    assert.equal(new Set(ids).size, 3);
  });
});
