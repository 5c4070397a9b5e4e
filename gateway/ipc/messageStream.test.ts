import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { describe, it } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { PACE_MS } from '@pushcluster/runtime/pace.ts';
import fc from 'fast-check';
import { ALL, roomKey, userKey } from './channelKey.ts';
import type { FrameMessage } from './frame.ts';
import { MessageStream } from './messageStream.ts';
import type { HubMessage, ShardMessage } from './messages.ts';

/** One end of a socket pair: keeps what is written, and is handed what arrives. */
class FakeEnd extends Duplex {
  readonly written: Buffer[] = [];
  /** System calls: what was written together counts as one. */
  calls = 0;

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void) {
    this.calls++;
    this.written.push(chunk);
    done();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void) {
    this.calls++;
    for (const { chunk } of chunks) this.written.push(chunk);
    done();
  }

  override _read() {}
}

type Heard = { type: 'message'; message: HubMessage } | { type: 'frame'; frame: FrameMessage };

function hubEnd(clock?: FakeClock): { end: FakeEnd; wire: MessageStream<HubMessage, ShardMessage> } {
  const end = new FakeEnd();
  return {
    end,
    wire: new MessageStream(
      end as unknown as Socket,
      () => {},
      () => {},
      (error) => assert.fail(String(error)),
      clock,
    ),
  };
}

function shardEnd(): { end: FakeEnd; heard: Heard[]; errors: unknown[] } {
  const end = new FakeEnd();
  const heard: Heard[] = [];
  const errors: unknown[] = [];
  new MessageStream<ShardMessage, HubMessage>(
    end as unknown as Socket,
    (message) => {
      if (message.type === 'mark') throw new Error('it can’t');
      heard.push({ type: 'message', message });
    },
    (frame) => heard.push({ type: 'frame', frame }),
    (error) => errors.push(error),
  );
  return { end, heard, errors };
}

/** Lets what was written in this turn go out. */
const turn = () => new Promise(setImmediate);

type FrameInput = Omit<FrameMessage, 'size'>;

function sendFrame(wire: MessageStream<HubMessage, ShardMessage>, message: FrameInput): number {
  const { key, items, ages, frames, place } = message;
  return wire.sendFrame(key, items, ages, frames, place);
}

/** Hands `bytes` over in pieces of the lengths given, and the rest as one. */
function arrive(end: FakeEnd, bytes: Buffer, lengths: readonly number[]) {
  let at = 0;
  for (const length of lengths) {
    if (at >= bytes.length) break;
    end.emit('data', bytes.subarray(at, at + length));
    at += length;
  }
  if (at < bytes.length) end.emit('data', bytes.subarray(at));
}

/** Objects as JSON.parse makes them. */
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(model, { noNullPrototype: true });
const key = fc.oneof(
  fc.constant(ALL),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).map(roomKey),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }).map(userKey),
);
const frames = fc.subarray([Form.plain, Form.v1, Form.deflate]).chain((forms) =>
  fc.tuple(
    ...forms.map((form) =>
      record({
        form: fc.constant(form),
        binary: fc.boolean(),
        bytes: fc
          .oneof(fc.constantFrom(0, 1, 5, 65_535, 65_536, 70_000), fc.nat(300))
          .map((size) => Buffer.alloc(size, `${form}abc`)),
      }),
    ),
  ),
);
const frameInput: fc.Arbitrary<FrameInput> = record({
  key,
  items: fc.nat(2 ** 32 - 1),
  ages: fc.array(fc.tuple(fc.double({ min: 0, max: 2e12, noNaN: true }), fc.nat(2 ** 32 - 1)), { maxLength: 64 }),
  frames,
  place: fc.option(
    record({
      epoch: fc.string({ minLength: 1, maxLength: 60 }),
      prev: fc.nat(Number.MAX_SAFE_INTEGER),
      seq: fc.nat(Number.MAX_SAFE_INTEGER),
    }),
    { nil: undefined },
  ),
});
const message: fc.Arbitrary<HubMessage> = fc.oneof(
  record({ type: fc.constant('subscribed' as const), key, mask: fc.nat(7), generation: fc.nat() }),
  record({
    type: fc.constant('disconnectUser' as const),
    user: fc.string({ unit: 'grapheme' }),
    reason: fc.string(),
  }),
  record({ type: fc.constant('stopListening' as const) }),
);
const step = fc.oneof(
  frameInput.map((frame) => ({ type: 'frame' as const, frame })),
  message.map((message) => ({ type: 'message' as const, message })),
);
const pieces = fc.oneof(
  fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 400, size: 'max' }),
  fc.array(fc.integer({ min: 1, max: 100_000 }), { maxLength: 30 }),
);

describe('the stream of messages between hub and shard', () => {
  it('brings everything in order, however the bytes are cut on their way', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 15 }), pieces, async (steps, lengths) => {
        const { end, wire } = hubEnd();
        const sizes = steps.map((step) => {
          if (step.type === 'frame') return sendFrame(wire, step.frame);
          wire.send(step.message);
          return 0;
        });
        await turn();
        const far = shardEnd();
        arrive(far.end, Buffer.concat(end.written), lengths);
        assert.equal(far.heard.length, steps.length);
        for (const [i, step] of steps.entries()) {
          const heard = far.heard[i]!;
          if (step.type === 'message') assert.deepEqual(heard, step);
          else assert.deepEqual(heard, { type: 'frame', frame: { ...step.frame, size: sizes[i] } });
        }
      }),
      { numRuns: 150 },
    );
  });

  it('takes every cut through a frame and a message', async () => {
    const { end, wire } = hubEnd();
    const bytes = Buffer.from('{"type":"PUSH"}');
    const frame: FrameInput = {
      key: roomKey('r'),
      items: 1,
      ages: [[5, 1]],
      frames: [{ form: 1, binary: false, bytes }],
    };
    sendFrame(wire, frame);
    wire.send({ type: 'exit' });
    sendFrame(wire, frame);
    await turn();
    const all = Buffer.concat(end.written);
    for (let first = 1; first < all.length; first++) {
      const { end: far, heard } = shardEnd();
      arrive(far, all, [first]);
      assert.deepEqual(
        heard.map(({ type }) => type),
        ['frame', 'message', 'frame'],
        `cut after ${first} bytes`,
      );
    }
    const { end: far, heard } = shardEnd();
    arrive(far, all, new Array<number>(all.length).fill(1));
    assert.equal(heard.length, 3);
  });

  it('goes on after a message that is none, and one that could not be followed', async () => {
    const { end, wire } = hubEnd();
    wire.send({ type: 'mark', on: true });
    wire.send({ type: 'stopListening' });
    await turn();
    const all = Buffer.concat(end.written);
    const garbage = Buffer.from('....\0{not JSON');
    garbage.writeUInt32LE(garbage.length - 5, 0);
    const nonsense = Buffer.from('....\x01a frame');
    nonsense.writeUInt32LE(nonsense.length - 5, 0);
    const { end: far, heard, errors } = shardEnd();
    arrive(far, Buffer.concat([garbage, all, nonsense, all]), []);
    assert.deepEqual(
      heard.map((one) => one.type === 'message' && one.message.type),
      ['stopListening', 'stopListening'],
    );
    assert.equal(errors.length, 4);
  });

  it('sends what is for many small rooms as one buffer', async () => {
    const { end, wire } = hubEnd();
    for (let i = 0; i < 100; i++) {
      const bytes = Buffer.from(`{"type":"PUSH","data":{"room":"${i}"}}`);
      sendFrame(wire, { key: roomKey(`${i}`), items: 1, ages: [[i, 1]], frames: [{ form: 1, binary: false, bytes }] });
    }
    await turn();
    assert.equal(end.written.length, 1);
    const { end: far, heard } = shardEnd();
    arrive(far, end.written[0]!, []);
    assert.deepEqual(
      heard.map((one) => one.type === 'frame' && one.frame.key),
      Array.from({ length: 100 }, (_, i) => roomKey(`${i}`)),
    );
  });

  it('lets messages gather for 4 ms while many are sent, and none after a quiet time', async () => {
    const clock = new FakeClock();
    const { end, wire } = hubEnd(clock);
    const writes = async (messages: number) => {
      const before = end.calls;
      for (let i = 0; i < messages; i++) wire.send({ type: 'stopListening' });
      await turn();
      return end.calls - before;
    };
    assert.equal(await writes(1), 1);
    assert.equal(await writes(1), 1, 'few');
    assert.equal(await writes(100), 1, 'the first of many');
    assert.equal(await writes(100), 0);
    clock.advance(PACE_MS - 1);
    assert.equal(await writes(100), 0);
    clock.advance(1);
    assert.equal(await writes(0), 0, 'it was written by the timer');
    assert.equal(end.calls, 4);
    clock.advance(1_000);
    assert.equal(await writes(1), 1, 'after a quiet time');
    assert.equal(await writes(1), 1);
    const { heard, end: far } = shardEnd();
    arrive(far, Buffer.concat(end.written), []);
    assert.equal(heard.length, 304);
  });

  it('leaves what was written unchanged while more is sent', async () => {
    const { end, wire } = hubEnd();
    wire.send({ type: 'stopListening' });
    await turn();
    const before = Buffer.from(end.written[0]!);
    for (let i = 0; i < 5_000; i++) wire.send({ type: 'mark', on: true });
    await turn();
    assert.deepEqual(end.written[0], before);
  });

  it('sends the very buffers of the frames, without a copy, and what is sent in one turn as one call', async () => {
    const { end, wire } = hubEnd();
    const bytes = Buffer.alloc(100_000, 'x');
    const frame: FrameInput = { key: ALL, items: 1, ages: [], frames: [{ form: 2, binary: false, bytes }] };
    for (let i = 0; i < 3; i++) sendFrame(wire, frame);
    wire.send({ type: 'stopListening' });
    await turn();
    assert.equal(end.written.filter((chunk) => chunk === bytes).length, 3);
    assert.equal(end.calls, 1);
    wire.send({ type: 'exit' });
    await turn();
    assert.equal(end.calls, 2);
  });
});
