import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { FakeSocket } from '../simulation/shard.ts';
import { ANYONE, confirm, join, loop, type Peer, push, pushes, ROOM, reset, shard } from '../simulation/testShard.ts';
import { connectionEvents } from './connectionEvents.ts';
import { LongTurn } from './longTurn.ts';
import type { UserData } from './upgradeHandler.ts';

/** A socket of the engine, whose events go where those of a shard go. */
class EngineSocket extends FakeSocket {
  readonly data: UserData = {
    connection: undefined,
    open: (ws, data) => {
      data.connection = shard.open(ws, Form.v1, ANYONE, undefined);
    },
  };

  getUserData(): UserData {
    return this.data;
  }
}

const PING = new TextEncoder().encode('{"type":"PING"}').buffer;

let handled: number;
let failed: unknown[];
let events: ReturnType<typeof connectionEvents>;

beforeEach(() => {
  reset();
  handled = 0;
  failed = [];
  const protection = { ended: () => {}, closed: () => {} };
  events = connectionEvents(shard, protection, { handled: () => handled++ }, (error) => failed.push(error));
});

function opened(): EngineSocket {
  const socket = new EngineSocket();
  socket.onEnd = (code) => events.close(socket, code);
  events.open(socket);
  return socket;
}

describe('what peers do', () => {
  it('may be followed by what the hub has sent, and nothing that this process does itself', () => {
    const counts: Record<string, number> = {};
    const count = (what: string, act: () => void) => {
      const before = handled;
      act();
      counts[what] = handled - before;
    };
    const socket = opened();
    count('opens', () => opened());
    count('message', () => events.message(socket, PING, false));
    count('ping', () => events.ping(socket));
    count('drain', () => events.drain(socket));
    count('close', () => events.close(socket, 1001));
    const ours = opened();
    count('closed by the hub', () => {
      shard.handle({ type: 'disconnectUser', user: 'nobody', reason: '' });
      void shard.endAll();
      loop.idle();
    });
    assert.equal(ours.ended?.code, CloseCode.goingAway);
    assert.deepEqual(counts, { opens: 0, message: 1, ping: 1, drain: 1, close: 1, 'closed by the hub': 0 });
    assert.deepEqual(failed, []);
  });

  it('costs its own connection only where it fails, and the turn goes on', () => {
    const [socket, other] = [opened(), opened()];
    events.message(socket, 'no buffer' as never, false);
    assert.equal(failed.length, 1);
    assert.ok(socket.data.connection?.closed);
    assert.ok(!other.data.connection?.closed);
    assert.ok(handled > 0);
  });

  it('in thousands does not hold up a room: what the hub sends reaches it in the middle of the turn', () => {
    const socket = opened();
    const peer: Peer = { connection: socket.data.connection!, socket };
    join(peer, 'r');
    confirm(ROOM);
    // More members than are sent to at once.
    for (let i = 0; i < 100; i++) {
      const other = opened();
      join({ connection: other.data.connection!, socket: other }, 'r');
    }
    const turn = new LongTurn({
      loop,
      serve: (ms) => {
        push(ROOM);
        shard.broadcast(ms);
      },
    });
    const protection = { ended: () => {}, closed: () => {} };
    const busy = connectionEvents(shard, protection, turn, (error) => failed.push(error));
    const strangers = Array.from({ length: 40 }, () => opened());
    for (const stranger of strangers) {
      loop.time++;
      busy.message(stranger, PING, false);
    }
    assert.equal(pushes(peer).length, 9);
    assert.deepEqual(failed, []);
  });
});
