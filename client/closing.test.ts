import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { deflateRawSync } from 'node:zlib';
import { until } from '@pushcluster/test/harness/until.ts';
import fc from 'fast-check';
import type { PushOptions } from './options.ts';
import { PushClient } from './pushClient.ts';
import type { PushEvents } from './pushEvents.ts';
import { jwt, pushFrame, SimulatedClock, SimulatedNetwork, type SimulatedSocket, turn } from './simulation.ts';
import type { StreamEvents } from './stream.ts';

/** What is over is over: after close() and leave() nothing comes, and nothing stays behind. */

const CLIENT_EVENTS: (keyof PushEvents)[] = [
  'state',
  'open',
  'close',
  'moved',
  'lagged',
  'gap',
  'left',
  'error',
  'frame',
];
const STREAM_EVENTS: (keyof StreamEvents<unknown>)[] = ['item', 'lagged', 'gap'];

type World = { clock: SimulatedClock; network: SimulatedNetwork; push: PushClient };

const deflated = (frame: object) => new Uint8Array(deflateRawSync(JSON.stringify(frame))).buffer;
const live = ({ network }: World) => network.sockets.filter(({ onmessage }) => onmessage);
const each = (act: (socket: SimulatedSocket) => void) => (world: World) => live(world).forEach(act);

/** What may happen to a client. */
const STEPS: Record<string, (world: World) => void | Promise<void>> = {
  accept: ({ network }) => network.sockets.forEach((socket) => void (socket.onopen && socket.accept())),
  ok: each((socket) => socket.ok()),
  push: each((socket) => socket.say(pushFrame('r', 'a', 1, 3))),
  'push to all, with a gap': each((socket) => socket.say(pushFrame(undefined, 'a', 7, 9))),
  'push, compressed': each((socket) => socket.say(deflated(pushFrame('r', 'a', 2, 2_000)))),
  lagged: each((socket) => socket.say({ type: 'LAGGED', data: { room: 'r', dropped: 2, reason: 'slow' } })),
  'lagged, of all': each((socket) => socket.say({ type: 'LAGGED', data: { dropped: 2, reason: 'slow' } })),
  'taken out': each((socket) => socket.say({ type: 'LEAVE', data: { room: 'r', reason: 'why' } })),
  refuse: each((socket) => {
    for (const { id } of socket.sent.splice(0))
      if (id) socket.say({ type: 'ERROR', id, data: { code: 'room_forbidden', message: 'no' } });
  }),
  later: each((socket) => {
    for (const { id } of socket.sent.splice(0))
      if (id) socket.say({ type: 'ERROR', id, data: { code: 'unavailable', message: 'no bus' } });
  }),
  reconnect: each((socket) => socket.say({ type: 'RECONNECT', data: { withinMs: 2_000 } })),
  'broken frame': each((socket) => socket.say('{')),
  'broken compression': each((socket) => socket.say(new ArrayBuffer(3))),
  lost: each((socket) => socket.end(1006)),
  'the oldest lost': (world) => live(world)[0]?.end(1012),
  'ended for good': each((socket) => socket.end(4403, 'no')),
  join: ({ push }) => void (push.state !== 'closed' && push.join('r').joined.catch(() => {})),
  leave: ({ push }) => void (push.state !== 'closed' && push.join('r').leave()),
  'a moment': ({ clock }) => clock.advance(300),
  'a while': ({ clock }) => clock.advance(5_000),
  long: ({ clock }) => clock.advance(60_000),
  'a turn': () => turn(),
};

const TOKENS: Record<string, PushOptions['token']> = {
  none: undefined,
  fixed: 'token',
  fetched: async () => jwt({ exp: 1_700_000_030 }),
  failing: () => Promise.reject(new Error('down')),
};

/** Listens to all there is, and reads a room and all by `for await`. Calls `told` with the name of each. */
function listen(push: PushClient, told: (what: string) => void) {
  for (const name of CLIENT_EVENTS) push.on(name, () => told(name));
  const read = (place: string, stream: PushClient['all']) => {
    for (const name of STREAM_EVENTS) stream.on(name, () => told(`${place} ${name}`));
    // The loop itself ends by close(), and says so.
    (async () => {
      for await (const _ of stream) told(`${place} iterated`);
    })().catch(() => {});
  };
  read('room', push.join('r'));
  read('all', push.all);
}

test('after close(), called between any two steps, nothing comes: no event, no item, no state, no connection', async () => {
  const plan = fc.array(fc.constantFrom(...Object.keys(STEPS)), { maxLength: 12 });
  const rest = fc.array(fc.constantFrom(...Object.keys(STEPS)), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(plan, rest, fc.constantFrom(...Object.keys(TOKENS)), async (before, after, token) => {
      const clock = new SimulatedClock();
      const network = new SimulatedNetwork();
      const push = new PushClient('ws://gateway/connect', {
        WebSocket: network.WebSocket,
        clock,
        token: TOKENS[token],
      });
      const world = { clock, network, push };
      let isClosed = false;
      listen(push, (what) => assert.ok(!isClosed, `${what} after close()`));
      for (const name of before) await STEPS[name]!(world);
      push.close();
      isClosed = true;
      const sockets = network.sockets.length;
      assert.equal(push.state, 'closed');
      assert.equal(clock.pending, 0);
      // The platform may go on calling, and what was being inflated comes to its end.
      for (const name of [...after, 'a turn', 'long']) await STEPS[name]!(world);
      push.close();
      assert.equal(network.sockets.length, sockets);
      assert.equal(clock.pending, 0);
    }),
    { numRuns: 400 },
  );
});

test('after close(), called by a listener at the n-th thing that it is told, nothing comes', async () => {
  let closings = 0;
  const plan = fc.array(fc.constantFrom(...Object.keys(STEPS)), { minLength: 3, maxLength: 14 });
  await fc.assert(
    fc.asyncProperty(plan, fc.nat(12), fc.constantFrom(...Object.keys(TOKENS)), async (steps, nth, token) => {
      const clock = new SimulatedClock();
      const network = new SimulatedNetwork();
      const push = new PushClient('ws://gateway/connect', {
        WebSocket: network.WebSocket,
        clock,
        token: TOKENS[token],
      });
      let isClosed = false;
      let isClosing = false;
      let told = 0;
      listen(push, (what) => {
        assert.ok(!isClosed, `${what} after close()`);
        // The last word of close() is the state.
        if (isClosing) assert.equal(what, 'state');
        if (told++ !== nth) return;
        closings++;
        isClosing = true;
        push.close();
        isClosed = true;
      });
      const world = { clock, network, push };
      for (const name of ['accept', 'ok', ...steps]) await STEPS[name]!(world);
      const over = isClosed;
      const sockets = network.sockets.length;
      await clock.advance(60_000);
      if (over) {
        assert.equal(push.state, 'closed');
        assert.equal(network.sockets.length, sockets);
        assert.equal(clock.pending, 0);
      }
      isClosed = false;
      isClosing = true;
      push.close();
    }),
    { numRuns: 400 },
  );
  assert.ok(closings > 100, `only ${closings} runs came so far`);
});

test('a connection that ended while its frames were being inflated does not come back after close()', async () => {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock });
  network.last.accept();
  network.last.say(deflated(pushFrame(undefined, 'a', 1, 1)));
  network.last.end(1006);
  const told: unknown[] = [];
  push.on('close', (event) => told.push(event));
  push.on('state', (state) => told.push(state));
  push.close();
  for (let i = 0; i < 100; i++) await turn();
  await clock.advance(60_000);
  assert.deepEqual(told, ['closed']);
  assert.equal(network.sockets.length, 1);
});

test('a token that comes after close() opens nothing', async () => {
  let give = (_: string) => {};
  const token = () => new Promise<string>((resolve) => (give = resolve));
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, token });
  push.close();
  give('late');
  await turn();
  assert.equal(network.sockets.length, 0);
});

test('leave() ends a loop at once: what was queued is not read any more, and no event of the room follows', async () => {
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock, queueLimit: 2 });
  const room = push.join<{ n: number }>('r');
  const lagged: unknown[] = [];
  push.on('lagged', (event) => lagged.push(event));
  network.last.accept();
  network.last.ok();
  const seen: number[] = [];
  const loop = (async () => {
    for await (const { n } of room) {
      seen.push(n);
      if (n === 1) room.leave();
    }
  })();
  network.last.say(pushFrame('r', 'a', 1, 3));
  await loop;
  assert.deepEqual(seen, [1]);
  room.on('item', () => assert.fail('it was left'));
  assert.equal((await room[Symbol.asyncIterator]().next()).done, true);
  network.last.say(pushFrame('r', 'a', 4, 5));
  assert.deepEqual(lagged, []);
  push.close();
});

test('what was queued when the gateway ended a room is still read', async () => {
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket });
  const room = push.join<{ n: number }>('r');
  network.last.accept();
  network.last.ok();
  const items = room[Symbol.asyncIterator]();
  network.last.say(pushFrame('r', 'a', 1, 2));
  network.last.say({ type: 'LEAVE', data: { room: 'r', reason: 'over' } });
  const seen: number[] = [];
  for await (const { n } of { [Symbol.asyncIterator]: () => items }) seen.push(n);
  assert.deepEqual(seen, [1, 2]);
  push.close();
});

// ── what stays behind ──

test('rooms that were joined with a signal, and left in any way, leave no listener on it', async () => {
  const { signal } = new AbortController();
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock });
  network.last.accept();
  const listeners = () => getEventListeners(signal, 'abort').length;
  const ends: Record<string, () => void> = {
    left: () => push.join('r').leave(),
    'left before the answer': () => {
      network.last.sent.length = 0;
      push.join('r').leave();
    },
    'taken out': () => {
      network.last.ok();
      network.last.say({ type: 'LEAVE', data: { room: 'r', reason: '' } });
    },
    refused: () => {
      const { id } = network.last.sent.at(-1)!;
      network.last.say({ type: 'ERROR', id, data: { code: 'room_forbidden', message: '' } });
    },
    'ended for good': () => network.last.end(4403),
  };
  for (const [end, act] of Object.entries(ends)) {
    for (let i = 0; i < 3; i++) push.join('r', { signal });
    assert.equal(listeners(), 1, end);
    act();
    assert.equal(listeners(), 0, end);
  }
  const other = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock, signal });
  other.join('r', { signal });
  other.join('', { signal });
  assert.equal(listeners(), 2);
  other.close();
  assert.equal(listeners(), 0);
  const third = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock, signal });
  third.join('r', { signal });
  network.last.accept();
  network.last.end(4002);
  assert.equal(listeners(), 0);
});

test('each signal with which a room was joined ends it for all, and one that has aborted joins nothing', async () => {
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket });
  network.last.accept();
  const [one, two] = [new AbortController(), new AbortController()];
  const room = push.join('r', { signal: one.signal });
  assert.equal(push.join('r', { signal: two.signal }), room);
  network.last.ok();
  await room.joined;
  const late = push.join('r', { signal: AbortSignal.abort() });
  await assert.rejects(late.joined, { code: 'left' });
  assert.equal((await late[Symbol.asyncIterator]().next()).done, true);
  assert.equal(network.last.sent.length, 0);
  two.abort();
  assert.deepEqual(
    network.last.sent.map(({ type, data }) => [type, data.room]),
    [['LEAVE', 'r']],
  );
  assert.notEqual(push.join('r'), room);
  one.abort();
  assert.equal(network.last.sent.filter(({ type }) => type === 'LEAVE').length, 1, 'it is another room by now');
  push.close();
});

test('what mounts, unmounts and mounts again in one turn is in its room, once', async () => {
  const network = new SimulatedNetwork();
  const clock = new SimulatedClock();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock });
  const seen: string[] = [];
  const mount = (name: string) => {
    const unmount = new AbortController();
    const room = push.join<{ n: number }>('r', { signal: unmount.signal });
    room.on('item', ({ n }) => seen.push(`${name}${n}`));
    return () => unmount.abort();
  };
  mount('a')();
  const unmount = mount('b');
  network.last.accept();
  assert.deepEqual(
    network.last.sent.map(({ type }) => type),
    ['JOIN'],
  );
  network.last.ok();
  unmount();
  mount('c');
  network.last.ok();
  network.last.say(pushFrame('r', 'a', 1, 1));
  assert.deepEqual(seen, ['c1']);
  push.close();
});

test('iterators that are abandoned are forgotten, and who waits is not', async () => {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, queueLimit: 1 });
  network.last.accept();
  const lagged: number[] = [];
  push.on('lagged', ({ dropped }) => lagged.push(dropped));
  const seen: number[] = [];
  // Nothing but its own waiting holds it.
  (async () => {
    for await (const item of push.all) seen.push((item as { n: number }).n);
  })();
  await turn();
  const abandon = async () => {
    push.all[Symbol.asyncIterator]();
    const begun = push.all[Symbol.asyncIterator]();
    network.last.say(pushFrame(undefined, 'a', 1, 1));
    await begun.next();
    const returned = push.all[Symbol.asyncIterator]();
    await returned.return?.();
    for await (const _ of push.all) break;
  };
  const abandoned = abandon();
  await turn();
  network.last.say(pushFrame(undefined, 'a', 2, 2));
  await abandoned;
  await turn();
  let n = 2;
  await until('nobody lags any more', async () => {
    collect();
    await turn();
    lagged.length = 0;
    network.last.say(pushFrame(undefined, 'a', ++n, n));
    await turn();
    return lagged.length === 0;
  });
  assert.deepEqual(
    seen,
    Array.from({ length: n }, (_, i) => i + 1),
  );
  push.close();
});

test('what is kept during a move stays below its limit, whatever frames come on the new connection', async () => {
  const frames = fc.array(
    fc.oneof(
      fc.record({
        items: fc.constantFrom(1, 7, 100, 999, 5_000),
        room: fc.constantFrom('r', undefined),
        old: fc.nat(2),
      }),
      fc.constant('lagged' as const),
    ),
    { minLength: 50, maxLength: 400 },
  );
  await fc.assert(
    fc.asyncProperty(frames, async (plan) => {
      const clock = new SimulatedClock();
      const network = new SimulatedNetwork();
      const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock, random: () => 0 });
      const counts = { told: 0, delivered: 0 };
      push.join('r').on('item', () => counts.delivered++);
      push.all.on('item', () => counts.delivered++);
      push.on('lagged', () => counts.told++);
      const old = network.last;
      old.accept();
      old.ok();
      old.say({ type: 'RECONNECT', data: { withinMs: 8_000 } });
      await clock.advance(0);
      const next = network.last;
      next.accept();
      next.ok();
      const at = { r: 1, all: 1 };
      for (const step of plan.flatMap((step) => (step === 'lagged' ? Array(100).fill(step) : [step]))) {
        if (step === 'lagged') next.say({ type: 'LAGGED', data: { dropped: 1, reason: 'slow' } });
        else {
          const channel = step.room ?? 'all';
          const frame = pushFrame(step.room, 'a', at[channel as 'r'], at[channel as 'r'] + step.items - 1);
          at[channel as 'r'] += step.items;
          next.say(frame);
          if (step.old === 0) old.say(frame);
        }
      }
      counts.delivered = counts.told = 0;
      old.end(1012);
      await turn();
      assert.ok(counts.delivered + counts.told <= 10_000, `${counts.delivered} items, ${counts.told} others`);
      push.close();
    }),
    { numRuns: 30 },
  );
});
