import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import fc from 'fast-check';
import { ALL, roomKey } from '../ipc/channelKey.ts';
import { FakeSocket, NO_BACKLOG } from '../simulation/shard.ts';
import { Channel } from './channel.ts';
import type { ChannelTask } from './channelTask.ts';
import { Connection, Member } from './connection.ts';
import { Group } from './group.ts';

const all = new Channel<Member>(ALL);
let lastId = 0;

function connection(form: Form = Form.v1): Connection {
  return new Connection(++lastId, new FakeSocket(), form, all, undefined, NO_BACKLOG);
}

function memberOf(channel: Channel<Member>, of = connection()): Member {
  const member = new Member(channel);
  member.connection = of;
  of.members.push(member);
  return member;
}

function task(items: number): ChannelTask<Member> {
  return { type: 'send', items, frames: [undefined, undefined, undefined], ages: [], size: 0 };
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant('add' as const), n: fc.constant(0) }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('remove' as const), n: fc.nat({ max: 1_000 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('begin' as const), n: fc.constant(0) }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('advance' as const), n: fc.integer({ min: 1, max: 4 }) }) },
);

describe('a group', () => {
  it('gives a task to each member that was there when it began and stayed, once, and to no newcomer', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const channel = new Channel<Member>(roomKey('r'));
        const group = new Group<Member>();
        let present: Member[] = [];
        let running: { due: Set<Member>; got: Set<Member> } | undefined;
        const finishIfThrough = () => {
          if (!running || group.cursor < group.end) return;
          const stayed = [...running.due].filter((member) => present.includes(member));
          for (const member of stayed) assert.ok(running.got.has(member), 'a member was passed over');
          running = undefined;
          group.cursor = 0;
          group.end = 0;
        };
        for (const { what, n } of steps) {
          if (what === 'add') {
            const member = memberOf(channel);
            group.add(member);
            present.push(member);
          } else if (what === 'remove') {
            const member = present[n % Math.max(1, present.length)];
            if (!member) continue;
            group.remove(member);
            present = present.filter((other) => other !== member);
          } else if (what === 'begin') {
            if (running) continue;
            running = { due: new Set(present), got: new Set() };
            group.cursor = 0;
            group.end = group.members.length;
          } else if (running) {
            for (let i = 0; i < n && group.cursor < group.end; i++) {
              const member = group.members[group.cursor++]!;
              assert.ok(running.due.has(member), 'a newcomer got it');
              assert.ok(!running.got.has(member), 'a member got it twice');
              assert.ok(present.includes(member), 'one that left got it');
              running.got.add(member);
            }
          }
          finishIfThrough();
          assert.equal(group.members.length, present.length);
          assert.deepEqual(new Set(group.members), new Set(present));
          for (const [i, member] of group.members.entries()) {
            assert.equal(member.index, i);
            assert.equal(group.sockets[i], member.connection.ws, 'a socket at the place of another member');
          }
          assert.equal(group.sockets.length, group.members.length);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('keeps no socket of a member that is behind, or that joins while it lags', () => {
    const channel = new Channel<Member>(roomKey('r'));
    const group = channel.group(Form.v1);
    const first = memberOf(channel);
    const slow = memberOf(channel);
    slow.behind = { since: 0, reason: 'slow' };
    group.add(first);
    group.add(slow);
    assert.deepEqual(group.sockets, [first.connection.ws, undefined]);
    channel.fallBehind(first, 'slow');
    channel.catchUp(slow);
    assert.deepEqual(group.sockets, [undefined, slow.connection.ws]);
    group.remove(first);
    assert.deepEqual(group.sockets, [slow.connection.ws]);
  });
});

describe('a channel', () => {
  it('knows the forms of its members', () => {
    const channel = new Channel<Member>(roomKey('r'));
    assert.equal(channel.mask, 0);
    const member = memberOf(channel, connection(Form.deflate));
    channel.group(Form.deflate).add(member);
    channel.group(Form.plain).add(memberOf(channel, connection(Form.plain)));
    assert.equal(channel.mask, Form.deflate | Form.plain);
    assert.equal(channel.size, 2);
    channel.group(Form.deflate).remove(member);
    assert.equal(channel.mask, Form.plain);
  });

  it('says of each member how many items have passed it, also in the middle of a task', () => {
    const channel = new Channel<Member>(roomKey('r'));
    const group = channel.group(Form.v1);
    const [first, second] = [memberOf(channel), memberOf(channel)];
    group.add(first);
    group.add(second);
    channel.add(task(3));
    channel.add(task(4));
    channel.begin();
    group.cursor = 1;
    const late = memberOf(channel);
    group.add(late);
    const plain = memberOf(channel, connection(Form.plain));
    channel.group(Form.plain).add(plain);
    assert.deepEqual(
      [first, second, late, plain].map((member) => channel.positionOf(member)),
      [3, 0, 3, 3],
    );
    channel.finish();
    assert.equal(channel.positionOf(second), 3);
    channel.begin();
    assert.equal(channel.positionOf(late), 3, 'the second task is for it too');
    channel.finish();
    assert.equal(channel.position, 7);
    assert.equal(channel.begin(), undefined);
  });
});
