import assert from 'node:assert/strict';
import { beforeEach, describe, it, mock } from 'node:test';
import { FakeLoop, FakeSocket } from '../simulation/shard.ts';
import { Echo, EchoPeer } from './echo.ts';

const closing = (socket: FakeSocket) => socket.ended?.code;
const bytes = (text: string) => new TextEncoder().encode(text).buffer;

describe('the diagnostic echo', () => {
  let echo: Echo;
  beforeEach(() => {
    mock.timers.reset();
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'setImmediate'] });
    echo = new Echo();
  });

  function open(capacity?: number): { session: EchoPeer; socket: FakeSocket } {
    const session = new EchoPeer();
    const socket = new FakeSocket(capacity);
    socket.onEnd = () => echo.closed(session);
    echo.opened(session, socket);
    return { session, socket };
  }

  it('sends back what it got, as text or binary as it came', () => {
    const { session, socket } = open();
    echo.received(session, socket, bytes('héllo'), false);
    echo.received(session, socket, bytes('\u0000'), true);
    assert.deepEqual(
      socket.sent.map(({ bytes, binary }) => [bytes.toString(), binary]),
      [
        ['héllo', false],
        ['\u0000', true],
      ],
    );
  });

  it('says heartbeat every second, from some two seconds on, and nothing to a peer that is gone', () => {
    const peers = [open(), open()];
    mock.timers.tick(2_200);
    assert.deepEqual(peers[0]!.socket.sent, []);
    mock.timers.tick(100);
    echo.closed(peers[0]!.session);
    mock.timers.tick(2_000);
    echo.closed(peers[1]!.session);
    mock.timers.tick(5_000);
    assert.deepEqual(
      peers.map(({ socket }) => socket.texts),
      [['heartbeat'], ['heartbeat', 'heartbeat', 'heartbeat']],
    );
  });

  it('queues 1,000 messages for a peer that does not read, and cuts it at the next, with all that waits for it', () => {
    const { session, socket } = open();
    socket.reading = false;
    for (let i = 0; i < 1_000; i++) echo.received(session, socket, bytes('x'), false);
    mock.timers.tick(0);
    assert.equal(closing(socket), undefined);
    echo.received(session, socket, bytes('x'), false);
    assert.equal(echo.backlog.bytes, 1_001);
    mock.timers.tick(0);
    assert.equal(closing(socket), 1006);
    assert.equal(echo.backlog.bytes, 0);
  });

  it('counts anew for a peer that has read all', () => {
    const { session, socket } = open();
    for (let round = 0; round < 3; round++) {
      socket.reading = false;
      for (let i = 0; i < 900; i++) echo.received(session, socket, bytes('x'), false);
      echo.drained(session, socket);
      assert.equal(session.queued, 900, 'what was written in part is not read');
      socket.drain();
      echo.drained(session, socket);
    }
    mock.timers.tick(0);
    assert.equal(closing(socket), undefined);
  });

  it('closes a peer once whose message the engine dropped', () => {
    const { session, socket } = open(0);
    echo.received(session, socket, bytes('x'), false);
    echo.received(session, socket, bytes('x'), false);
    mock.timers.tick(0);
    assert.equal(closing(socket), 1006);
  });

  it('cuts who holds the most where all together hold more than they may', () => {
    const loop = new FakeLoop();
    echo = new Echo(loop);
    echo.backlogBudget = 100;
    const [most, less] = [open(), open()];
    for (const { socket } of [most, less]) socket.reading = false;
    for (let i = 0; i < 60; i++) echo.received(most.session, most.socket, bytes('x'), false);
    for (let i = 0; i < 40; i++) echo.received(less.session, less.socket, bytes('x'), false);
    loop.idle();
    assert.deepEqual(
      [most, less].map(({ socket }) => closing(socket)),
      [undefined, undefined],
    );
    echo.received(less.session, less.socket, bytes('x'), false);
    loop.idle();
    assert.deepEqual(
      [most, less].map(({ socket }) => closing(socket)),
      [1006, undefined],
    );
    assert.equal(echo.backlog.bytes, 41);
  });

  it('serves 256 peers at most', () => {
    const peers = Array.from({ length: 256 }, () => {
      assert.ok(echo.hasRoom);
      return open();
    });
    assert.ok(!echo.hasRoom);
    echo.closed(peers[7]!.session);
    assert.ok(echo.hasRoom);
    for (const { session } of peers) echo.closed(session);
  });

  it('closes everyone with 1012 when the gateway leaves', () => {
    const peers = [open(), open()];
    echo.endAll();
    assert.deepEqual(
      peers.map(({ socket }) => socket.ended?.code),
      [1012, 1012],
    );
    assert.ok(echo.hasRoom);
  });
});
