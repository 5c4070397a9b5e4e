import assert from 'node:assert/strict';
import { it } from 'node:test';
import { HeldSessions } from '@pushcluster/protocol/control.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { FakeShard } from '../simulation/hub.ts';
import { UserSessions } from './userSessions.ts';

it('sessions are said anew in messages that a bus takes, whatever their users are called', () => {
  const clock = new FakeClock();
  const shard = new FakeShard(0);
  const messages: string[] = [];
  const sessions = new UserSessions({
    gateway: 'here',
    clock,
    shards: () => [shard],
    publish: (message) => messages.push(JSON.stringify(message)) > 0,
  });
  const users = Array.from({ length: 1_000 }, (_, i) => `${'\u0001'.repeat(124)}${String(i).padStart(4, '0')}`);
  for (const [i, user] of users.entries()) sessions.opened(shard, { user, session: i + 1, at: 0 });
  messages.length = 0;
  sessions.repeat();
  for (let i = 0; i < 1_000; i++) clock.advance(100);
  for (const message of messages) assert.ok(Buffer.byteLength(message) < 65_536, `${message.length} bytes`);
  const said = messages.flatMap((message) => HeldSessions.parse(JSON.parse(message)).held.map(([user]) => user));
  assert.deepEqual(said, users);
});

it('sessions of a shard that died are no newer ones of their users, before they are forgotten', () => {
  const clock = new FakeClock();
  const shards = [new FakeShard(0), new FakeShard(1)] as const;
  const messages: object[] = [];
  const sessions = new UserSessions({
    gateway: 'here',
    clock,
    shards: () => shards,
    publish: (message) => messages.push(message) > 0,
  });
  clock.advance(10);
  for (const user of ['a', 'b', 'c']) sessions.opened(shards[0], { user, session: 1, at: 5 });
  sessions.shardDied(shards[0]);
  messages.length = 0;
  sessions.receive(Buffer.from(JSON.stringify({ gateway: 'elsewhere', user: 'a', at: 5, order: 1 })));
  assert.deepEqual(messages, [], 'it is not told that one here is newer');
  shards[1].messages.length = 0;
  sessions.opened(shards[1], { user: 'b', session: 1, at: 3 });
  assert.deepEqual(
    shards[1].messagesOf('replaced').filter(({ user }) => user === 'b'),
    [],
  );
  clock.advance(10);
  sessions.opened(shards[0], { user: 'c', session: 1, at: 15 });
  for (const user of ['a', 'b', 'c']) sessions.forgetIfLost(user);
  messages.length = 0;
  sessions.repeat();
  assert.deepEqual(
    messages.map((message) => HeldSessions.parse(message).held.map(([user]) => user)),
    [['b', 'c']],
  );
});
