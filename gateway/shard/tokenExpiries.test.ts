import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { ALL } from '../ipc/channelKey.ts';
import { FakeSocket, NO_BACKLOG } from '../simulation/shard.ts';
import { Channel } from './channel.ts';
import { Connection, type Member } from './connection.ts';
import { TokenExpiries } from './tokenExpiries.ts';

const all = new Channel<Member>(ALL);
const connection = (id: number) => new Connection(id, new FakeSocket(), Form.v1, all, undefined, NO_BACKLOG);

it('hands out each connection once, at its second or at the next look after it', () => {
  const expiries = new TokenExpiries();
  const [a, b, c, late] = [connection(1), connection(2), connection(3), connection(4)];
  expiries.add(10, a);
  expiries.add(10, b);
  expiries.add(12, c);
  assert.deepEqual(expiries.due(9), []);
  assert.deepEqual(expiries.due(11), [a, b]);
  assert.deepEqual(expiries.due(11), []);
  expiries.add(5, late);
  assert.deepEqual(new Set(expiries.due(13)), new Set([c, late]));
});

it('forgets a connection that has a later end now, or is gone', () => {
  const expiries = new TokenExpiries();
  const [a, b] = [connection(1), connection(2)];
  expiries.add(10, a);
  expiries.add(10, b);
  expiries.delete(10, a);
  expiries.delete(99, a);
  expiries.add(20, a);
  assert.deepEqual(expiries.due(10), [b]);
  assert.deepEqual(expiries.due(20), [a]);
});
