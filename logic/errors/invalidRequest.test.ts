import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { invalidRequest, type RequestPart } from './invalidRequest.ts';

const Body = z.strictObject({ to: z.strictObject({ room: z.string() }), items: z.array(z.unknown()).min(1) });

function problemOf(input: unknown, part: RequestPart = 'body', schema: z.ZodType = Body) {
  const { error } = schema.safeParse(input, { reportInput: true });
  return invalidRequest(error!.issues, part);
}

describe('a request that does not match its schema', () => {
  it('is refused with a sentence and a pointer for each place', () => {
    const { message, errors } = problemOf({ to: { room: 7 }, items: [] });
    assert.equal(message, 'to.room must be a string; items must not be empty.');
    assert.deepEqual(errors, [
      { pointer: '#/to/room', detail: 'must be a string' },
      { pointer: '#/items', detail: 'must not be empty' },
    ]);
  });

  it('names unknown fields first: what is missing is often misspelt', () => {
    assert.equal(
      problemOf({ to: { room: 'r' }, itmes: [1] }).message,
      'The body has an unknown field "itmes"; items is missing, must be an array.',
    );
    const { message } = problemOf({ to: { rom: 'r', roomm: 'r' }, items: [1] });
    assert.equal(message, 'to has unknown fields "rom", "roomm"; to.room is missing, must be a string.');
  });

  it('names the body as a whole, the query, and a parameter', () => {
    assert.equal(problemOf([]).message, 'The body must be an object.');
    const Query = z.strictObject({ limit: z.number().min(1) });
    const { message, errors } = problemOf({ limit: 0, lmit: 5 }, 'query', Query);
    assert.equal(message, 'The query has an unknown parameter "lmit"; limit must be at least 1.');
    assert.deepEqual(errors, [
      { parameter: '', detail: 'has an unknown parameter "lmit"' },
      { parameter: 'limit', detail: 'must be at least 1' },
    ]);
  });

  it('is answered briefly, however long it is', () => {
    const names = z.array(z.string());
    const many = problemOf(Array(1_000).fill(7), 'body', names);
    assert.equal(many.errors?.length, 10);
    assert.ok(problemOf({ ['k'.repeat(900_000)]: 1 }, 'body', z.strictObject({})).message.length < 1_000);
  });

  it('escapes what a JSON pointer and a URI fragment have a meaning for', () => {
    const Field = z.object({ 'a/b~ü': z.string() });
    assert.deepEqual(problemOf({ 'a/b~ü': 1 }, 'body', Field).errors, [
      { pointer: '#/a~1b~0%C3%BC', detail: 'must be a string' },
    ]);
  });
});
