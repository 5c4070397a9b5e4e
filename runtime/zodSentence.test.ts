import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { zodSentence } from './zodSentence.ts';

function sentence(schema: z.ZodType, input: unknown, withInput = true): string {
  const issue = schema.safeParse(input, { reportInput: true }).error?.issues[0];
  assert.ok(issue);
  return zodSentence(issue, { withInput });
}

test('each kind of mistake has its sentence', () => {
  assert.equal(sentence(z.object({ a: z.string() }), {}), 'is missing, must be a string');
  assert.equal(sentence(z.object({}), 5), 'must be an object, is 5');
  assert.equal(sentence(z.array(z.string()), {}), 'must be an array, is an object');
  assert.equal(sentence(z.boolean(), 'yes'), 'must be true or false, is "yes"');
  assert.equal(sentence(z.int(), 1.5), 'must be a whole number, is 1.5');
  assert.equal(sentence(z.number().min(1), 0), 'must be at least 1');
  assert.equal(sentence(z.number().positive(), 0), 'must be more than 0');
  assert.equal(sentence(z.number().lt(5), 5), 'must be less than 5');
  assert.equal(sentence(z.number().max(5), 6), 'must be at most 5');
  assert.equal(sentence(z.string().min(1), ''), 'must not be empty');
  assert.equal(sentence(z.string().max(2), 'abc'), 'must have at most 2 characters');
  assert.equal(sentence(z.array(z.int()).min(2), [1]), 'must have at least 2 entries');
  assert.equal(sentence(z.enum(['a', 'b']), 'c'), 'must be "a" or "b", is "c"');
  assert.equal(sentence(z.url(), 'x'), 'must be a URL, is "x"');
  assert.equal(sentence(z.union([z.literal('auto'), z.int()]), 'x'), 'must be "auto" or a number, is "x"');
  assert.equal(sentence(z.union([z.int(), z.boolean()], 'must be fit'), 'x'), 'must be fit, is "x"');
  assert.equal(
    sentence(
      z.string().refine(() => false, 'must rhyme'),
      'x',
    ),
    'must rhyme',
  );
});

test('without the input nothing of it is repeated, and with it a bounded part', () => {
  assert.equal(sentence(z.object({}), 'secret', false), 'must be an object');
  assert.equal(sentence(z.enum(['a']), 'secret', false), 'must be "a"');
  assert.equal(sentence(z.int(), 'x'.repeat(1_000)), `must be a number, is "${'x'.repeat(56)}...`);
});
