import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { STAT_STALE_MS, Stat } from '@pushcluster/protocol/control.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus, BusEvent, Handler } from '@pushcluster/runtime/bus/bus.ts';
import { Peers } from './peers.ts';

const subjects = new Subjects('p');
let now = 0;
let connected = true;
let say: (text: string) => void;
let happens: (event: BusEvent) => void;
let ignored = 0;
let moves = 0;
let subscribed: string[] = [];

/** The bus as peers use it, so that a test decides when it is away. */
const bus: Bus = {
  get connected() {
    return connected;
  },
  maxPayload: 1_000_000,
  publish: () => assert.fail('peers only listen'),
  flush: () => Promise.resolve(),
  subscribe(subject: string, handler: Handler) {
    subscribed.push(subject);
    say = (text) => handler(Buffer.from(text), subject, {});
    return { ready: Promise.resolve(), unsubscribe: () => subscribed.pop() };
  },
  onEvent(listener) {
    happens = listener;
    return () => {};
  },
  close: () => Promise.resolve(),
};

let peers: Peers;
beforeEach(() => {
  [now, connected, ignored, moves, subscribed] = [1_000, true, 0, 0, []];
  peers = new Peers({
    gateway: 'me',
    bus,
    subjects,
    clock: { now: () => now },
    ignored: () => ignored++,
    rebalancing: () => moves++,
    maxPeers: 3,
  });
});

function stat(gateway: string, more: Partial<Stat> = {}): string {
  const totals = { rooms: 0, shards: 1, messagesDelivered: 0, framesSent: 0, bytesSent: 0, messagesDropped: 0 };
  const rest = { connections: 5, draining: false, startedAt: 1, template: 'a', rebalancing: false, leaving: false };
  return JSON.stringify({ gateway, ...totals, ...rest, ...more });
}

describe('peers', () => {
  it('are the other gateways that were heard, as they last said', () => {
    say(stat('a', { connections: 10, unasked: 7 }));
    say(stat('b', { draining: true }));
    say(stat('me'));
    say(stat('a', { connections: 8, unasked: 6, rebalancing: true }));
    assert.deepEqual(subscribed, ['p.ctl.stat.*']);
    assert.deepEqual(peers.all, [
      { gateway: 'a', draining: false, rebalancing: true, template: 'a', unasked: 6 },
      { gateway: 'b', draining: true, rebalancing: false, template: 'a', unasked: 5 },
    ]);
  });

  it('share a pace while they drain and have somebody left to ask', () => {
    say(stat('a', { draining: true, unasked: 3 }));
    say(stat('b', { draining: true, unasked: 0 }));
    say(stat('c', { draining: false, unasked: 9 }));
    assert.equal(peers.draining, 1);
    say(stat('a', { draining: true, leaving: true }));
    assert.equal(peers.draining, 0);
  });

  it('of an older version say nothing of who was asked, nor what they are', () => {
    const { unasked: _, rebalancing: __, template: ___, ...old } = Stat.parse(JSON.parse(stat('a')));
    say(JSON.stringify(old));
    assert.deepEqual(peers.all, [{ gateway: 'a', draining: false, rebalancing: false, template: '', unasked: 5 }]);
  });

  it('are forgotten when they are silent, but not while the bus is away', () => {
    say(stat('a'));
    now += STAT_STALE_MS;
    assert.equal(peers.all.length, 1);
    connected = false;
    now += 60_000;
    assert.equal(peers.all.length, 1, 'nobody could be heard');
    connected = true;
    happens({ type: 'connected', reconnects: 1 });
    assert.equal(peers.all.length, 1);
    now += STAT_STALE_MS + 1;
    assert.deepEqual(peers.all, []);
    assert.equal(peers.changedAt, now);
  });

  it('change when one comes, goes, begins to drain or is another build, and not by what they count', () => {
    const changes = (text: string) => {
      now += 10;
      say(text);
      return peers.changedAt === now;
    };
    assert.equal(changes(stat('a')), true);
    assert.equal(changes(stat('a', { connections: 9 })), false);
    assert.equal(changes(stat('a', { draining: true })), true);
    assert.equal(changes(stat('a', { draining: true, template: 'b' })), true);
    assert.equal(changes(stat('a', { leaving: true })), true);
    assert.equal(changes(stat('a', { leaving: true })), false);
  });

  it('tell at once when one begins to move its surplus, and when it has ended to', () => {
    say(stat('a'));
    assert.equal(moves, 0);
    say(stat('a', { rebalancing: true }));
    say(stat('a', { rebalancing: true }));
    assert.equal(moves, 1);
    say(stat('a'));
    say(stat('b', { rebalancing: true }));
    assert.equal(moves, 3);
  });

  it('are bounded, and what is no report is counted', () => {
    for (const name of ['a', 'b', 'c', 'd']) say(stat(name));
    say('{');
    say('{"gateway":5}');
    assert.deepEqual(
      peers.all.map(({ gateway }) => gateway),
      ['a', 'b', 'c'],
    );
    assert.equal(ignored, 2);
    now += STAT_STALE_MS + 1;
    say(stat('d'));
    assert.equal(peers.all.length, 1, 'room again');
    peers.close();
    assert.deepEqual([subscribed, peers.all], [[], []]);
  });
});
