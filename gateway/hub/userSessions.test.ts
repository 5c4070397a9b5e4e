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
