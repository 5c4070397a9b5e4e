import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decodeUserPush, joinItems, type UserEntry } from '@pushcluster/protocol/push.ts';
import type { Message, MessagePublisher } from './messagePublisher.ts';
import { MessageSplitter } from './messageSplitter.ts';
import { UserBatcher } from './userBatcher.ts';

const NUMBERING = { publisher: 'p', counter: 1, at: 0, begun: 0, beat: 0, mark: 1, first: 0 };

function entry(users: string[], id = '', items = ['1']): UserEntry {
  return { users, id, urgent: false, items: joinItems(items.map((item) => Buffer.from(item))) };
}

/** A batcher, and the messages that it published: users of each. */
function start(maxPayload = 1_048_576, publish = () => Promise.resolve()) {
  const sent: Message[] = [];
  const messages: MessagePublisher = {
    publish(subject, [message]) {
      assert.equal(subject, 'users');
      sent.push(message!);
      return publish();
    },
  };
  const batcher = new UserBatcher(messages, 'users', new MessageSplitter(() => maxPayload));
  const users = () =>
    sent.map((message) => decodeUserPush(message.encode(NUMBERING)).entries.flatMap((one) => one.users));
  return { batcher, sent, users };
}

describe('a batch of pushes to users', () => {
  test('is sent when its milliseconds are over, as one message', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { batcher, sent, users } = start();
    const pushes = [batcher.add(entry(['a'], '', ['1', '2'])), batcher.add(entry(['b', 'c'], 'k/0'))];
    t.mock.timers.tick(1);
    assert.equal(sent.length, 0);
    t.mock.timers.tick(1);
    await Promise.all(pushes);
    assert.deepEqual(users(), [['a', 'b', 'c']]);
    assert.deepEqual([sent[0]!.itemCount, sent[0]!.retriable], [3, true]);
  });

  test('is sent at once when the next push does not fit, and once only', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { batcher, users } = start(2_048);
    for (const user of ['a', 'b', 'c']) void batcher.add(entry([user], '', ['x'.repeat(400)]));
    assert.deepEqual(users(), [['a', 'b']]);
    t.mock.timers.tick(2);
    assert.deepEqual(users(), [['a', 'b'], ['c']]);
  });

  test('rejects every push in it with what publishing rejects', async () => {
    const { batcher } = start(1_048_576, () => Promise.reject(new Error('not sent')));
    for (const outcome of await Promise.allSettled([batcher.add(entry(['a'])), batcher.add(entry(['b']))]))
      assert.equal(outcome.status, 'rejected');
  });
});
