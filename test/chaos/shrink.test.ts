import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { shortest } from './shrink.ts';

const numbers = (length: number) => Array.from({ length }, (_, i) => i);

/** Fails with the numbers that it needs, and counts how often it was asked. */
function needing(...needed: number[]) {
  const asked: number[][] = [];
  const fails = async (part: readonly number[]) => {
    asked.push([...part]);
    return needed.every((number) => part.includes(number));
  };
  return { fails, asked };
}

describe('the shortest schedule that fails', () => {
  it('is the entries that are needed, in their order, whichever they are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.array(fc.nat(39), { maxLength: 4 }),
        async (length, some) => {
          const needed = [...new Set(some.filter((number) => number < length))].sort((a, b) => a - b);
          assert.deepEqual(await shortest(numbers(length), needing(...needed).fails), needed);
        },
      ),
    );
  });

  it('is found in few runs', async () => {
    const { fails, asked } = needing(17);
    assert.deepEqual(await shortest(numbers(30), fails), [17]);
    assert.ok(asked.length <= 12, `${asked.length} runs`);
  });

  it('may be empty: the fault is there without any', async () => {
    assert.deepEqual(await shortest(numbers(30), async () => true), []);
  });

  it('is the shortest so far once no more may be tried', async () => {
    const { fails, asked } = needing(3, 25);
    const found = await shortest(numbers(30), fails, () => asked.length < 4);
    assert.equal(asked.length, 4);
    assert.ok(found.length < 30 && found.includes(3) && found.includes(25));
  });
});
