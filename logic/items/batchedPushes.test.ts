import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Problem } from '../errors/problem.ts';
import { arrayPushes, type BatchedPush, linePushes } from './batchedPushes.ts';

const textOf = ({ bytes }: BatchedPush) => Buffer.from(bytes).toString();
const refusal = (parse: () => unknown) => {
  try {
    parse();
  } catch (error) {
    if (error instanceof Problem) return [error.code, error.message];
    throw error;
  }
  return 'accepted';
};

describe('a batch of pushes', () => {
  it('is split into the same pushes whether it is an array or lines, whatever JSON they are', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue(), { minLength: 1 }),
        fc.constantFrom('\n', '\r\n', '\n\n \n'),
        (values, end) => {
          const texts = values.map((value) => JSON.stringify(value));
          const expected = values.map((_, i) => ({ text: texts[i], value: JSON.parse(texts[i]!) as unknown }));
          const seen = (pushes: BatchedPush[]) =>
            pushes.map((push) => ({ text: textOf(push).trim(), value: push.parse() }));
          assert.deepEqual(seen(arrayPushes(Buffer.from(`[${texts.join(' ,\n')}]`))), expected);
          assert.deepEqual(seen(linePushes(Buffer.from(texts.map((text) => text + end).join('')))), expected);
          assert.deepEqual(seen(linePushes(Buffer.from(texts.join(end)))), expected, 'the last line needs no end');
        },
      ),
    );
  });

  it('is refused as a whole if it is no array, holds nothing, or holds too many', () => {
    assert.deepEqual(
      refusal(() => arrayPushes(Buffer.from('{"to":1}'))),
      ['invalid_request', 'The body must be an array of pushes.'],
    );
    for (const empty of [() => arrayPushes(Buffer.from(' [ ] ')), () => linePushes(Buffer.from('\n \r\n'))])
      assert.deepEqual(refusal(empty), ['invalid_request', 'The body must hold at least one push.']);
    assert.equal(refusal(() => arrayPushes(Buffer.from('[1,')))[0], 'malformed_body');
    for (const [count, expected] of [
      [1_000, 'accepted'],
      [1_001, ['too_many_pushes', 'The body holds more than 1000 pushes. Split the batch.']],
    ] as const) {
      assert.deepEqual(
        refusal(() => arrayPushes(Buffer.from(`[${Array(count).fill(1)}]`))),
        expected,
      );
      assert.deepEqual(
        refusal(() => linePushes(Buffer.from('1\n'.repeat(count)))),
        expected,
      );
    }
  });

  it('of lines has a line that is not JSON or UTF-8 refused by itself', () => {
    const [good, cut, bytes] = linePushes(Buffer.from('{"items":[1]}\n{"items":[\n{"items":["\xff"]}', 'latin1'));
    assert.deepEqual(good?.parse(), { items: [1] });
    assert.match(String(refusal(() => cut?.parse())), /malformed_body,The line is not JSON/);
    assert.match(String(refusal(() => bytes?.parse())), /malformed_body,The line is not valid UTF-8.*items\[0\]/);
  });
});
