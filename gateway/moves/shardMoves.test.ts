import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { newCounts } from '../ipc/counts.ts';
import type { HubMessage } from '../ipc/messages.ts';
import { type MovableShard, ShardMoves } from './shardMoves.ts';

type TestShard = MovableShard & { messages: HubMessage[] };

function testShard(unasked: number, movable = unasked): TestShard {
  const messages: HubMessage[] = [];
  const counts = { ...newCounts(), connections: unasked + 1, unasked, movable };
  return { counts, listening: true, messages, send: (message) => messages.push(message) };
}

describe('moves', () => {
  let shards: TestShard[];
  let moves: ShardMoves;

  beforeEach(() => {
    shards = [testShard(30, 10), testShard(10, 10), testShard(0)];
    moves = new ShardMoves(() => shards);
  });

  it('count what the shards last said, and ask each for its part', () => {
    assert.deepEqual([moves.connections, moves.unasked, moves.movable], [43, 40, 20]);
    const time = { withinMs: 8_000, overlapMs: 2_000 };
    moves.askToMove(8, time, 'drain');
    moves.askOldestToMove(4, time, true);
    assert.deepEqual(
      shards.map(({ messages }) => messages),
      [
        [
          { type: 'move', count: 6, time, reason: 'drain' },
          { type: 'moveOldest', count: 2, time, others: true },
        ],
        [
          { type: 'move', count: 2, time, reason: 'drain' },
          { type: 'moveOldest', count: 2, time, others: true },
        ],
        [],
      ],
    );
  });

  it('have the shards report often as long as anybody follows them', () => {
    const first = moves.reportOften();
    const second = moves.reportOften();
    first();
    first();
    assert.deepEqual(shards[0]!.messages, [{ type: 'reportOften', on: true }]);
    second();
    assert.deepEqual(shards[0]!.messages.at(-1), { type: 'reportOften', on: false });
  });

  it('tell a new shard what the others were told', () => {
    const late = testShard(0);
    moves.started(late);
    assert.deepEqual(late.messages, []);
    moves.reportOften();
    moves.mark(true);
    moves.started(late);
    assert.deepEqual(late.messages, [
      { type: 'reportOften', on: true },
      { type: 'mark', on: true },
    ]);
  });

  it('are fresh once every shard that listens has reported anew', async (t) => {
    // Time stands: they are not given up after 2 s.
    t.mock.method(performance, 'now', () => 0);
    shards[2]!.listening = false;
    let fresh = false;
    const waiting = moves.freshCounts().then(() => {
      fresh = true;
    });
    shards[0]!.counts = newCounts();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(fresh, false);
    shards[1]!.counts = newCounts();
    await waiting;
  });
});
