import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { closing, loop, open, reset, shard, start, TIME, toHub } from '../simulation/testShard.ts';

beforeEach(reset);

describe('one connection per user', () => {
  beforeEach(() => start({ gateway: { connections: { onePerUser: true } } }));

  it('closes the older ones here with 4004 and tells the hub', () => {
    const first = open(Form.v1, { user: 'u', expires: 0 });
    const other = open(Form.v1, { user: 'v', expires: 0 });
    const second = open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    assert.deepEqual([first, other, second].map(closing), [4004, undefined, undefined]);
    const words = toHub.filter((message) => message.type === 'session');
    assert.deepEqual(
      words.map(({ user }) => user),
      ['u', 'v', 'u'],
    );
  });

  it('closes those that are older than one opened elsewhere, and not one of which the hub had yet to hear', () => {
    const peer = open(Form.v1, { user: 'u', expires: 0 });
    const { sessionNumber } = peer.connection;
    shard.handle({ type: 'replaced', user: 'u', upTo: sessionNumber - 1 });
    loop.idle();
    assert.equal(closing(peer), undefined);
    shard.handle({ type: 'replaced', user: 'u', upTo: sessionNumber });
    loop.idle();
    assert.equal(closing(peer), 4004);
  });

  it('closes those too that were opened before it was set', () => {
    start();
    const peer = open(Form.v1, { user: 'u', expires: 0 });
    shard.handle({ type: 'replaced', user: 'u', upTo: 0 });
    loop.idle();
    assert.equal(closing(peer), 4004);
  });

  it('leaves one that was asked to move: the newer connection is its move', () => {
    const moving = open(Form.v1, { user: 'u', expires: 0 });
    shard.moving.ask(1, TIME, 'leave');
    open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    assert.equal(closing(moving), undefined);
  });

  it('closes one that was asked to move, and did not, when its time is over', () => {
    const [moving, staying] = [open(Form.v1, { user: 'u', expires: 0 }), open(Form.v1, { user: 'v', expires: 0 })];
    shard.moving.askOldest(2, TIME, false);
    open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    mock.timers.tick(TIME.withinMs);
    assert.deepEqual([moving, staying].map(closing), [4004, undefined]);
  });

  it('closes nobody where it is not set', () => {
    start();
    const first = open(Form.v1, { user: 'u', expires: 0 });
    open(Form.v1, { user: 'u', expires: 0 });
    loop.idle();
    assert.equal(closing(first), undefined);
    assert.ok(toHub.every(({ type }) => type !== 'session'));
  });
});
