import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import type { IdRun } from '@pushcluster/protocol/frames.ts';
import { joinItems } from '@pushcluster/protocol/push.ts';
import { DEFLATE_MIN_BYTES, Form } from '@pushcluster/protocol/wireForms.ts';
import fc from 'fast-check';
import { ALL, roomKey, userKey } from '../ipc/channelKey.ts';
import type { Frame } from '../ipc/frame.ts';
import { encodeFrames, idRuns } from './encodeFrames.ts';
import { type MessagePart, slicePart } from './messagePart.ts';

const EVERY_FORM = Form.plain | Form.v1 | Form.deflate;

function part(publisher: string, first: number, ...texts: string[]): MessagePart {
  return { publisher, first, at: 0, items: joinItems(texts.map((text) => Buffer.from(text))) };
}

function frame(frames: readonly Frame[], form: Form): Frame {
  const found = frames.find((frame) => frame.form === form);
  assert.ok(found, `no frame of form ${form}`);
  return found;
}

const textOf = (frames: readonly Frame[], form: Form) => frame(frames, form).bytes.toString();

describe('the frames of a batch', () => {
  it('are those of go-push without a subprotocol, and have ids in v1', () => {
    const frames = encodeFrames(roomKey('r'), [part('p', 7, '{"a":1}', '"x"')], EVERY_FORM);
    assert.equal(textOf(frames, Form.plain), '{"type":"PUSH","data":{"room":"r","items":[{"a":1},"x"]}}');
    const v1 = '{"type":"PUSH","data":{"room":"r","ids":[["p",7,2]],"items":[{"a":1},"x"]}}';
    assert.equal(textOf(frames, Form.v1), v1);
    assert.equal(textOf(frames, Form.deflate), v1);
  });

  it('have no room when they go to all, and are marked in v1 when they go to a user', () => {
    const one = [part('p', 1, '1')];
    assert.equal(textOf(encodeFrames(ALL, one, Form.plain), Form.plain), '{"type":"PUSH","data":{"items":[1]}}');
    assert.equal(
      textOf(encodeFrames(ALL, one, Form.v1), Form.v1),
      '{"type":"PUSH","data":{"ids":[["p",1,1]],"items":[1]}}',
    );
    const user = encodeFrames(userKey('u'), one, Form.plain | Form.v1);
    assert.equal(textOf(user, Form.plain), '{"type":"PUSH","data":{"items":[1]}}');
    assert.equal(textOf(user, Form.v1), '{"type":"PUSH","data":{"user":true,"ids":[["p",1,1]],"items":[1]}}');
  });

  it('are made only in the forms asked for', () => {
    for (const mask of [0, 1, 2, 3, 4, 5, 6, 7]) {
      const forms = encodeFrames(roomKey('r'), [part('p', 1, '1')], mask).map(({ form }) => form);
      assert.deepEqual(
        forms,
        [Form.plain, Form.v1, Form.deflate].filter((form) => form & mask),
      );
    }
  });

  it('carry the items byte for byte, parsed or valid or not', () => {
    const odd = ['1e400', '0.10', '12345678901234567890', '"\\u00e9\\/"', '{ "b" : 1,\n"b":2 }', '"😀"', 'not json'];
    const frames = encodeFrames(roomKey('r'), [part('p', 1, ...odd)], EVERY_FORM);
    assert.ok(textOf(frames, Form.plain).endsWith(`"items":[${odd.join(',')}]}}`));
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { minLength: 1, maxLength: 20 }),
        (items) => {
          const mixed: MessagePart[] = items.map((bytes, i) => ({
            publisher: 'p',
            first: i + 1,
            at: 0,
            items: joinItems([bytes]),
          }));
          const joined = Buffer.concat(items.flatMap((bytes, i) => (i === 0 ? [bytes] : [Buffer.from(','), bytes])));
          const made = encodeFrames(roomKey('r'), mixed, EVERY_FORM);
          const expected = (head: string) => Buffer.concat([Buffer.from(head), joined, Buffer.from(']}}')]);
          const plain = expected('{"type":"PUSH","data":{"room":"r","items":[');
          const v1 = expected(`{"type":"PUSH","data":{"room":"r","ids":[["p",1,${items.length}]],"items":[`);
          assert.deepEqual(frame(made, Form.plain).bytes, plain);
          assert.deepEqual(frame(made, Form.v1).bytes, v1);
          const { bytes, binary } = frame(made, Form.deflate);
          assert.deepEqual(binary ? inflateRawSync(bytes) : bytes, v1);
        },
      ),
    );
  });

  it('escape the name of the room and nothing else', () => {
    const name = 'a"b\\\n\u2028😀';
    const text = textOf(encodeFrames(roomKey(name), [part('p', 1, '1')], Form.plain), Form.plain);
    assert.equal((JSON.parse(text) as { data: { room: string } }).data.room, name);
  });

  it('are binary DEFLATE of the v1 text from DEFLATE_MIN_BYTES on, and below it the very bytes of v1', () => {
    const envelope = encodeFrames(roomKey('r'), [part('p', 1, '""')], Form.v1)[0]!.bytes.length;
    const item = (bytes: number) => `"${'x'.repeat(bytes - envelope)}"`;
    const below = encodeFrames(roomKey('r'), [part('p', 1, item(DEFLATE_MIN_BYTES - 1))], EVERY_FORM);
    assert.equal(frame(below, Form.v1).bytes.length, DEFLATE_MIN_BYTES - 1);
    assert.equal(frame(below, Form.deflate).binary, false);
    assert.equal(frame(below, Form.deflate).bytes, frame(below, Form.v1).bytes, 'not encoded twice');
    const at = encodeFrames(roomKey('r'), [part('p', 1, item(DEFLATE_MIN_BYTES))], EVERY_FORM);
    assert.equal(frame(at, Form.deflate).binary, true);
    assert.deepEqual(inflateRawSync(frame(at, Form.deflate).bytes), frame(at, Form.v1).bytes);
    assert.ok(frame(at, Form.deflate).bytes.length < DEFLATE_MIN_BYTES / 2);
  });
});

describe('id runs', () => {
  it('join neighbours of one publisher that follow each other, and begin anew at a gap or another publisher', () => {
    assert.deepEqual(
      idRuns([part('a', 1, '1', '2'), part('a', 3, '3'), part('b', 9, '1'), part('a', 4, '4'), part('a', 6, '6', '7')]),
      [
        ['a', 1, 3],
        ['b', 9, 1],
        ['a', 4, 1],
        ['a', 6, 2],
      ],
    );
  });

  it('carry what tells a retry, apart from their neighbours, and the place in its push where a frame was cut', () => {
    const id = 'abcdefghijklmnopqrstuv/0';
    const whole = { ...part('a', 2, '2', '3', '4'), id, origin: 2 };
    const pushed = [part('a', 1, '1'), slicePart(whole, 0, 1, 0, 1), slicePart(whole, 1, 3, 2, 5), part('a', 5, '5')];
    assert.deepEqual(idRuns(pushed), [
      ['a', 1, 1],
      ['a', 2, 3, 'abcdefghij'],
      ['a', 5, 1],
    ]);
    assert.deepEqual(idRuns(pushed.slice(2)), [
      ['a', 3, 2, 'abcdefghij', 1],
      ['a', 5, 1],
    ]);
  });

  it('name what was skipped before the first items that follow it, and not again', () => {
    const after = { ...part('a', 5, '5', '6'), skipped: { first: 2, count: 3 } };
    const [front, back] = [slicePart(after, 0, 1, 0, 1), slicePart(after, 1, 2, 2, 3)];
    assert.deepEqual(idRuns([part('a', 1, '1'), front]), [
      ['a', 1, 1],
      ['a', 2, 0, 3],
      ['a', 5, 1],
    ]);
    assert.deepEqual(idRuns([back]), [['a', 6, 1]]);
  });

  it('name every item once, in order', () => {
    const parts = fc.array(
      fc.record({
        publisher: fc.constantFrom('a', 'b'),
        skip: fc.constantFrom(0, 0, 1, 5),
        count: fc.integer({ min: 1, max: 4 }),
      }),
      { maxLength: 30, size: 'max' },
    );
    fc.assert(
      fc.property(parts, (parts) => {
        const next = { a: 1, b: 1 };
        const made = parts.map(({ publisher, skip, count }) => {
          const first = next[publisher] + skip;
          next[publisher] = first + count;
          return part(publisher, first, ...new Array<string>(count).fill('1'));
        });
        const expand = (runs: readonly IdRun[]) =>
          runs.flatMap(([publisher, first, length]) => Array.from({ length }, (_, i) => `${publisher}${first + i}`));
        const runs = idRuns(made);
        assert.deepEqual(
          expand(runs),
          expand(made.map(({ publisher, first, items }) => [publisher, first, items.lengths.length])),
        );
        for (const [i, [publisher, first]] of runs.entries()) {
          const before = runs[i - 1];
          assert.ok(!before || before[0] !== publisher || before[1] + before[2] !== first, 'two runs that are one');
        }
      }),
    );
  });
});
