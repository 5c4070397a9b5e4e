import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { newCounts } from '../ipc/counts.ts';
import type { HubMessage } from '../ipc/messages.ts';
import { type MovableShard, ShardMoves } from './shardMoves.ts';

type Link = MovableShard & { messages: HubMessage[] };

function link(unasked: number, movable = unasked): Link {
  const messages: HubMessage[] = [];
  const counts = { ...newCounts(), connections: unasked + 1, unasked, movable };
  return { counts, listening: true, messages, send: (message) => messages.push(message) };
}

describe('moves', () => {
  let links: Link[];
  let moves: ShardMoves;

  beforeEach(() => {
    links = [link(30, 10), link(10, 10), link(0)];
    moves = new ShardMoves(() => links);
  });

  it('count what the shards last said, and ask each for its part', () => {
    assert.deepEqual([moves.connections, moves.unasked, moves.movable], [43, 40, 20]);
    const time = { withinMs: 8_000, overlapMs: 2_000 };
    moves.askToMove(8, time, 'drain');
    moves.askOldestToMove(4, time, true);
    assert.deepEqual(
      links.map(({ messages }) => messages),
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
    assert.deepEqual(links[0]!.messages, [{ type: 'reportOften', on: true }]);
    second();
    assert.deepEqual(links[0]!.messages.at(-1), { type: 'reportOften', on: false });
  });

  it('tell a new shard what the others were told', () => {
    const late = link(0);
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
    links[2]!.listening = false;
    let fresh = false;
    const waiting = moves.freshCounts().then(() => {
      fresh = true;
    });
    links[0]!.counts = newCounts();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(fresh, false);
    links[1]!.counts = newCounts();
    await waiting;
  });
});
