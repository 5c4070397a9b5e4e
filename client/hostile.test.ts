import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { until } from '@pushcluster/test/harness/until.ts';
import fc from 'fast-check';
import type { Socket } from './connection.ts';
import { PushClient } from './pushClient.ts';
import { pushFrame, SimulatedClock, SimulatedNetwork, type SimulatedSocket, turn } from './simulation.ts';

/** The SDK in bad company: whatever a page passes and a platform does, it makes no storm, no unhandled error, and goes on. */

// What a promise rejects with, where a number was asked for, is its page's: it is no value of `random`.
const rejecting = async () => {
  throw null;
};

const VALUES: readonly unknown[] = [
  undefined,
  null,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  -1,
  0,
  0.5,
  1,
  2 ** 31,
  1e300,
  '',
  'text',
  '500',
  true,
  false,
  7n,
  Symbol('odd'),
  [],
  ['pushcluster.v1'],
  [''],
  ['a', 'a'],
  ['two words'],
  [7],
  {},
  { base: undefined },
  { base: null, cap: undefined, stable: null },
  { base: Number.NaN },
  { base: 0, cap: 0, stable: 0 },
  { base: 0 },
  { cap: '1' },
  { base: 1e300, cap: Number.POSITIVE_INFINITY },
  () => undefined,
  () => null,
  () => Number.NaN,
  () => 7,
  () => -1,
  () => 'text',
  () => ({}),
  () => {
    throw new Error('thrown');
  },
  () => {
    throw undefined;
  },
  rejecting,
  async () => 'late',
  () => new Promise(() => {}),
  // A thenable, and one that breaks.
  // biome-ignore lint/suspicious/noThenProperty: it is the point
  () => ({ then: (resolve: (token: string) => void) => resolve('thenable') }),
  // biome-ignore lint/suspicious/noThenProperty: it is the point
  () => ({ then: () => assert.fail('broken') }),
];

const OPTIONS = [
  'token',
  'compression',
  'protocols',
  'WebSocket',
  'backoff',
  'queueLimit',
  'openTimeout',
  'idleTimeout',
  'probeTimeout',
  'signal',
  'random',
  'clock',
] as const;

/** Attempts in any minute at most: what may come at once, and one a second. */
const IN_A_MINUTE = 10 + 60;

/** Runs `play` and gives what was thrown where nobody catches. */
async function uncaughtOf(play: () => Promise<void>): Promise<unknown[]> {
  const uncaught: unknown[] = [];
  const note = (error: unknown) => uncaught.push(error);
  const runners = process.listeners('uncaughtException');
  const rejected = process.listeners('unhandledRejection');
  process.removeAllListeners('uncaughtException').on('uncaughtException', note);
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', note);
  try {
    await play();
    await turn();
  } finally {
    process.removeAllListeners('uncaughtException').removeAllListeners('unhandledRejection');
    for (const listener of runners) process.on('uncaughtException', listener);
    for (const listener of rejected) process.on('unhandledRejection', listener);
  }
  return uncaught;
}

/** Nothing is left of it but what the test's own timers do. */
async function closed(push: PushClient, network: SimulatedNetwork, clock: SimulatedClock) {
  push.close();
  const sockets = network.sockets.length;
  await clock.advance(20_000);
  assert.equal(clock.pending, 0);
  assert.equal(network.sockets.length, sockets);
}

/** A gateway's and platform's answer to an attempt. */
const FATES: Record<string, (socket: SimulatedSocket, clock: SimulatedClock) => void> = {
  refused: (socket) => socket.end(1006),
  'refused by an event without fields': (socket) => (socket.onclose as (event?: unknown) => void)(),
  'an error and nothing else': (socket) => (socket.onerror as (event?: unknown) => void)({}),
  silent: () => {},
  'opened and ended': (socket) => {
    socket.accept();
    socket.end(1006);
  },
  'opened, and ended twice': (socket) => {
    const { onclose } = socket;
    socket.accept();
    socket.end(1011);
    (onclose as (event?: unknown) => void)({ code: 1011, reason: '' });
  },
  'opened twice': (socket) => {
    socket.accept();
    socket.accept();
  },
  'opened after it was closed': (socket, clock) => {
    const { onopen, onmessage } = socket;
    clock.after(11_000, () => {
      (onopen as (event: unknown) => void)({});
      (onmessage as (event: unknown) => void)({ data: '{}' });
    });
  },
  'no valid token': (socket) => {
    socket.accept();
    socket.end(4401);
  },
  'told to leave at once': (socket) => {
    socket.accept();
    socket.ok();
    socket.say({ type: 'RECONNECT', data: { withinMs: 0 } });
  },
  'told to leave before it came': (socket) => {
    socket.accept();
    socket.ok();
    socket.say({ type: 'RECONNECT', data: { withinMs: -1e9 } });
  },
  'broken frame': (socket) => {
    socket.accept();
    socket.say('{"type":');
  },
  'broken deflate': (socket) => {
    socket.accept();
    socket.say(new ArrayBuffer(9));
  },
  served: (socket) => {
    socket.accept();
    socket.ok();
    socket.say(pushFrame('r', 'a', 1, 3));
  },
};

const fates = fc.array(fc.constantFrom(...Object.keys(FATES)), { minLength: 1, maxLength: 6 });
const values = fc.constantFrom(...VALUES);

for (const option of OPTIONS)
  test(`${option} is refused with a sentence, or works: with any value there is no storm and no unhandled error`, async () => {
    for (const value of VALUES) {
      if (option === 'random' && value === rejecting) continue;
      const uncaught = await uncaughtOf(async () => {
        const clock = new SimulatedClock();
        const network = new SimulatedNetwork();
        network.onOpen = (socket) => {
          clock.after(1, () => socket.onopen && FATES['opened and ended']!(socket, clock));
        };
        let push: PushClient;
        try {
          const options = { WebSocket: network.WebSocket, clock, [option]: value };
          push = new PushClient('ws://127.0.0.1:9/connect', options as never);
        } catch (error) {
          assert.ok(error instanceof TypeError, `${String(error)}`);
          assert.match(error.message, new RegExp(`^${option}[.a-zA-Z]* must be .+\\.$`));
          return;
        }
        // Without our own clock or network nothing more can be played.
        if (option !== 'clock' && option !== 'WebSocket') await clock.advance(60_000);
        assert.ok(network.sockets.length <= IN_A_MINUTE, `${network.sockets.length} attempts with ${String(value)}`);
        assert.ok(push.state !== 'closed' || option === 'signal', `${option} ${String(value)}: ${push.state}`);
        await closed(push, network, clock);
      });
      assert.deepEqual(uncaught, [], `with ${String(value)}`);
    }
  });

test('any options together, and any fate of connections: bounded attempts, no unhandled error, always a way on', async () => {
  const wild = fc.record(Object.fromEntries(OPTIONS.map((option) => [option, values])), { requiredKeys: [] });
  await fc.assert(
    fc.asyncProperty(
      wild.filter(({ random }) => random !== rejecting),
      fates,
      fc.boolean(),
      async (options, plan, withRoom) => {
        const uncaught = await uncaughtOf(async () => {
          const clock = new SimulatedClock();
          const network = new SimulatedNetwork();
          const at: number[] = [];
          network.onOpen = (socket) => {
            const fate = FATES[plan[at.length % plan.length]!]!;
            at.push(clock.now());
            clock.after(1, () => socket.onopen && fate(socket, clock));
          };
          let push: PushClient;
          try {
            push = new PushClient('ws://127.0.0.1:9/connect', {
              ...options,
              WebSocket: network.WebSocket,
              clock,
            } as never);
          } catch (error) {
            assert.ok(error instanceof TypeError);
            return;
          }
          if (withRoom) push.join('r');
          await clock.advance(180_000);
          for (const [i, begun] of at.entries())
            assert.ok((at[i + IN_A_MINUTE] ?? Number.POSITIVE_INFINITY) - begun > 60_000, `${at.length} attempts`);
          if (push.state === 'waiting') {
            const before = at.length;
            await clock.advance(2 ** 31);
            assert.ok(at.length > before, 'nothing will happen any more');
          }
          await closed(push, network, clock);
        });
        assert.deepEqual(uncaught, []);
      },
    ),
    { numRuns: 150 },
  );
});

test('an option that is undefined or null means its default', async () => {
  for (const nothing of [undefined, null]) {
    const clock = new SimulatedClock();
    const network = new SimulatedNetwork();
    const options = Object.fromEntries(OPTIONS.map((option) => [option, nothing]));
    const push = new PushClient('ws://gateway/connect', {
      ...options,
      backoff: { base: nothing, cap: nothing, stable: nothing },
      WebSocket: network.WebSocket,
      clock,
    });
    assert.deepEqual(network.last.protocols, ['pushcluster.v1.deflate', 'pushcluster.v1']);
    assert.equal(network.last.url.search, '', 'no token');
    const waits: number[] = [];
    push.on('close', ({ retryIn }) => waits.push(retryIn!));
    network.last.end(1006);
    assert.ok(waits[0]! > 0 && waits[0]! <= 500);
    push.close();
    new PushClient('ws://127.0.0.1:9/connect', nothing).close();
  }
});

test('each option is read once, and a getter that throws leaves nothing behind', () => {
  for (const option of OPTIONS) {
    const reads: string[] = [];
    const network = new SimulatedNetwork();
    const clock = new SimulatedClock();
    const signal = new AbortController().signal;
    const all: Record<string, unknown> = { WebSocket: network.WebSocket, clock, signal, token: 't' };
    const options: object = {};
    for (const name of OPTIONS)
      Object.defineProperty(options, name, {
        get() {
          reads.push(name);
          if (name === option) throw new Error(`no ${name}`);
          return all[name];
        },
      });
    assert.throws(() => new PushClient('ws://gateway/connect', options), { message: `no ${option}` });
    assert.equal(new Set(reads).size, reads.length);
    assert.equal(network.sockets.length, 0);
    assert.equal(clock.pending, 0);
  }
});

test('addresses that no WebSocket can have are refused with a sentence', () => {
  const network = new SimulatedNetwork();
  for (const url of [undefined, null, 7, {}, '', 'nonsense', 'ftp://a/', 'javascript:1', 'ws://', 'file:///etc'])
    assert.throws(
      () => new PushClient(url as string, { WebSocket: network.WebSocket }),
      (error: Error) => error instanceof TypeError && /^url must be a /.test(error.message),
      String(url),
    );
  assert.equal(network.sockets.length, 0);
  const url = new URL('https://gateway/connect');
  const push = new PushClient(url, { WebSocket: network.WebSocket });
  assert.equal(network.last.url.href, 'wss://gateway/connect');
  assert.equal(url.href, 'https://gateway/connect', 'the URL of the page is not touched');
  push.close();
});

// ── platforms ──

type Platform = { name: string; make: (socket: Socket, network: SimulatedNetwork) => Socket };

function failing(name: string, member: keyof Socket, times: number): Platform {
  let left = times;
  return {
    name,
    make: (socket) =>
      new Proxy(socket, {
        get(target, key) {
          const value = Reflect.get(target, key);
          if (typeof value !== 'function') return value;
          return (...args: unknown[]) => {
            if (key === member && left-- > 0) throw new Error(name);
            return value.apply(target, args);
          };
        },
        set(target, key, value) {
          if (key === member && left-- > 0) throw new Error(name);
          return Reflect.set(target, key, value);
        },
      }),
  };
}

const PLATFORMS: (() => Platform)[] = [
  () => ({
    name: 'a constructor that throws',
    make: (_socket, network) => {
      if (network.sockets.length > 1 && network.sockets.length < 5) throw new Error('SecurityError');
      return network.last;
    },
  }),
  () => ({
    name: 'a constructor that throws nothing in particular, the first time',
    make: (_socket, network) => {
      if (network.sockets.length === 1) throw undefined;
      return network.last;
    },
  }),
  () => failing('send that throws', 'send', 3),
  () => failing('close that throws', 'close', 3),
  () => failing('a binaryType that can not be set', 'binaryType', 3),
  () => failing('an onclose that can not be set', 'onclose', 3),
];

for (const platform of PLATFORMS)
  test(`on a platform with ${platform().name} the client comes back by itself`, async () => {
    const { make } = platform();
    const clock = new SimulatedClock();
    const network = new SimulatedNetwork();
    const uncaught = await uncaughtOf(async () => {
      network.onSend = (socket, { type }) => type === 'PING' && socket.say({ type: 'PONG', data: {} });
      const WebSocket = new Proxy(network.WebSocket, {
        construct: (target, args) => make(Reflect.construct(target, args), network),
      });
      const push = new PushClient('ws://gateway/connect', { WebSocket, clock, random: () => 1 });
      const errors: string[] = [];
      push.on('error', (error) => errors.push(error.code));
      const room = push.join('r');
      let ended = false;
      for (let i = 0; i < 60; i++) {
        await clock.advance(1_000);
        const socket = network.last;
        if (push.state === 'connecting' && socket.onopen) socket.accept();
        socket.ok();
        await turn();
        if (push.state === 'open' && !ended) {
          ended = true;
          socket.end(1006);
        }
      }
      await room.joined;
      assert.equal(push.state, 'open');
      assert.ok(network.sockets.length <= IN_A_MINUTE);
      assert.ok(errors.every((code) => code === 'connect'));
      push.close();
      assert.equal(clock.pending, 0);
    });
    assert.deepEqual(uncaught, []);
  });

test('bytes come as ArrayBuffer, as a view, as a Blob, or from another realm: they are the same frames', async () => {
  const { runInNewContext } = await import('node:vm');
  const clock = new SimulatedClock();
  const network = new SimulatedNetwork();
  const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock });
  const seen: number[] = [];
  push.all.on('item', (item) => seen.push((item as { n: number }).n));
  const sizes: number[] = [];
  push.on('frame', ({ bytes }) => sizes.push(bytes));
  network.last.accept();
  const say = (data: unknown) => (network.last.onmessage as ((event: unknown) => void) | null)?.({ data });
  const body = (n: number) => new Uint8Array(deflateRawSync(JSON.stringify(pushFrame(undefined, 'a', n, n))));
  say(body(1).buffer);
  say(body(2));
  say(new Blob([body(3)]));
  const foreign = runInNewContext('new ArrayBuffer(size)', { size: body(4).length });
  new Uint8Array(foreign).set(body(4));
  say(foreign);
  await until('all frames are read', () => seen.length === 4);
  assert.deepEqual(seen, [1, 2, 3, 4]);
  assert.deepEqual(
    sizes,
    [1, 2, 3, 4].map((n) => body(n).length),
  );
  push.close();
});

test('messages of no known type are a broken frame: told, and the client comes back', async () => {
  for (const data of [undefined, null, 7, 1e12, {}, [], true, Symbol('odd'), new Map(), { arrayBuffer: 7 }]) {
    const uncaught = await uncaughtOf(async () => {
      const clock = new SimulatedClock();
      const network = new SimulatedNetwork();
      const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, clock });
      const errors: string[] = [];
      push.on('error', ({ code }) => errors.push(code));
      push.on('frame', () => assert.fail('a frame that is none'));
      network.last.accept();
      (network.last.onmessage as ((event: unknown) => void) | null)?.({ data });
      await until('the frame is told', () => errors.length > 0);
      assert.deepEqual(errors, ['frame']);
      await clock.advance(500);
      assert.equal(network.sockets.length, 2);
      push.close();
    });
    assert.deepEqual(uncaught, []);
  }
});

/** A client that has asked for the room `r`, and the items that it was given for all. */
function joinedClient() {
  const network = new SimulatedNetwork();
  const options = { WebSocket: network.WebSocket, clock: new SimulatedClock() };
  const push = new PushClient('ws://gateway/connect', options);
  push.join('r').joined.catch(() => {});
  const seen: unknown[] = [];
  push.all.on('item', (item) => seen.push(item));
  return { network, push, seen };
}

test('frames of any JSON neither throw nor stop what comes after them', async () => {
  const types = fc.constantFrom('PUSH', 'LAGGED', 'RECONNECT', 'LEAVE', 'OK', 'ERROR', 'PONG', 'RESET', 7, null);
  const runs = fc.array(fc.oneof(fc.tuple(fc.jsonValue(), fc.jsonValue(), fc.jsonValue()), fc.jsonValue()));
  const data = fc.oneof(
    fc.jsonValue(),
    fc.record(
      {
        items: fc.oneof(fc.jsonValue(), fc.array(fc.jsonValue())),
        ids: fc.oneof(runs, fc.jsonValue()),
        room: fc.oneof(fc.constant('r'), fc.jsonValue()),
        user: fc.jsonValue(),
        dropped: fc.jsonValue(),
        reason: fc.jsonValue(),
        withinMs: fc.oneof(fc.double({ noNaN: true }), fc.jsonValue()),
        code: fc.jsonValue(),
      },
      { requiredKeys: [] },
    ),
  );
  const frame = fc.record({ type: types, id: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.jsonValue()), data });
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 20 }), fc.boolean(), async (odd, compressed) => {
      const uncaught = await uncaughtOf(async () => {
        const { network, push, seen } = joinedClient();
        const socket = network.last;
        socket.accept();
        for (const one of odd) {
          const text = JSON.stringify(one);
          if (compressed) socket.say(new Uint8Array(deflateRawSync(text)).buffer);
          else socket.say(text);
        }
        socket.say({ type: 'PUSH', data: { items: ['the last'] } });
        await until('the last frame is read', () => seen.at(-1) === 'the last');
        push.close();
      });
      assert.deepEqual(uncaught, []);
    }),
    // Each smaller example would be waited for in vain too.
    { endOnFailure: true },
  );
});

test('values that can not become a text neither throw nor stop what comes after them', async () => {
  const odd = { toString: 0 };
  const frames = [
    { type: 'LEAVE', data: { room: 'r', reason: odd } },
    { type: 'LEAVE', data: { room: 'r', reason: [odd], code: 'unavailable' } },
    { type: 'LEAVE', data: { room: 'r', reason: '', code: odd } },
    { type: 'ERROR', id: 1, data: { code: 'room_forbidden', message: odd } },
    { type: 'ERROR', id: 1, data: { code: odd, message: '' } },
    { type: 'ERROR', id: 1, data: { code: 'left', message: [odd] } },
    { type: 'LAGGED', data: { room: 'r', dropped: 1, reason: odd } },
    { type: 'PUSH', data: { ids: [['a', 1, 1, odd]], items: [1] } },
    { type: 'PUSH', data: { ids: [['a', 1, 0, odd]], items: [] } },
    { type: 'PUSH', data: { ids: [['a', 1, 1, 'push', odd]], items: [1] } },
    { type: 'PUSH', data: { room: 'r', epoch: 'e', seq: 1, prev: odd, items: [1] } },
    { type: 'PUSH', data: { room: 'r', epoch: odd, seq: odd, prev: 0, items: [1] } },
    { type: 'OK', id: 1, data: { epoch: 'e', seq: 1, recovered: true, replayTo: odd } },
    { type: 'OK', id: 1, data: { epoch: 'e', seq: odd, recovered: odd } },
  ];
  for (const frame of frames)
    for (const compressed of [false, true]) {
      const text = JSON.stringify(frame);
      const uncaught = await uncaughtOf(async () => {
        const { network, push, seen } = joinedClient();
        network.last.accept();
        network.last.say(compressed ? new Uint8Array(deflateRawSync(text)).buffer : text);
        network.last.say({ type: 'PUSH', data: { items: ['the last'] } });
        await until(`the frame after ${text} is read`, () => seen.at(-1) === 'the last');
        push.close();
      });
      assert.deepEqual(uncaught, [], text);
    }
});

test('a network that comes and goes does not put off what is due, nor make a storm', async () => {
  const page = globalThis as { addEventListener?: unknown; removeEventListener?: unknown };
  const listeners = new Set<() => void>();
  page.addEventListener = (_: string, listener: () => void) => listeners.add(listener);
  page.removeEventListener = (_: string, listener: () => void) => listeners.delete(listener);
  try {
    for (const [every, random] of [
      [100, 1],
      [100, 0],
      [1, 0],
      [450, 0.9],
    ] as const) {
      const clock = new SimulatedClock();
      const network = new SimulatedNetwork();
      const at: number[] = [];
      network.onOpen = (socket) => {
        at.push(clock.now());
        clock.after(1, () => socket.onclose && socket.end(1006));
      };
      const options = { WebSocket: network.WebSocket, clock, random: () => random };
      const push = new PushClient('ws://gateway/connect', options);
      for (let ms = 0; ms < 120_000; ms += every) {
        await clock.advance(every);
        for (const listener of listeners) listener();
      }
      assert.ok(at.length > 20, `only ${at.length} attempts`);
      for (const [i, begun] of at.entries())
        assert.ok((at[i + IN_A_MINUTE] ?? Number.POSITIVE_INFINITY) - begun > 60_000, `${at.length} attempts`);
      push.close();
      assert.equal(listeners.size, 0);
    }
  } finally {
    delete page.addEventListener;
    delete page.removeEventListener;
  }
});

test('where nothing can be inflated, compression is not offered, even where it was asked for', () => {
  const { DecompressionStream: kept } = globalThis;
  for (const broken of [
    undefined,
    class {
      constructor() {
        throw new TypeError('no deflate-raw here');
      }
    },
  ]) {
    Reflect.set(globalThis, 'DecompressionStream', broken);
    try {
      const network = new SimulatedNetwork();
      const push = new PushClient('ws://gateway/connect', { WebSocket: network.WebSocket, compression: true });
      assert.deepEqual(network.last.protocols, ['pushcluster.v1']);
      push.close();
    } finally {
      Reflect.set(globalThis, 'DecompressionStream', kept);
    }
  }
});
