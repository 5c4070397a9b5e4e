import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ANYONE, closing, join, leave, loop, open, reset, send, shard } from '../simulation/testShard.ts';

beforeEach(reset);

describe('an answer that a full socket has no room for', () => {
  const full = (form: Form = Form.v1) => {
    const peer = open(form, ANYONE, 0);
    peer.socket.reading = false;
    return peer;
  };

  it('ends the connection with 4003 and is counted: nobody waits for it for ever', () => {
    const refused = full(Form.plain);
    const answered = full();
    join(refused, '', 1);
    leave(answered, 'a', 1);
    assert.deepEqual([refused, answered].map(closing), [undefined, undefined], 'not inside the engine’s handler');
    loop.idle();
    assert.deepEqual([refused, answered].map(closing), [4003, 4003]);
    assert.equal(shard.counts.answersDropped, 2);
    assert.equal(shard.counts.closed['4003'], 2);
  });

  it('ends one who would go on to believe that it is in a room', () => {
    const peer = full();
    join(peer, 'a');
    shard.handle({ type: 'disconnectRoom', room: 'a', reason: 'closed' });
    loop.idle();
    loop.idle();
    assert.equal(closing(peer), 4003);
  });

  it('is only counted where it is a PONG', () => {
    const peer = full();
    send(peer, { type: 'PING', data: {} });
    loop.idle();
    assert.equal(closing(peer), undefined);
    assert.equal(shard.counts.answersDropped, 1);
  });
});
