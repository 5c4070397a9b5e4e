import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseForm } from './formBody.ts';

const parse = (text: string) =>
  Object.fromEntries([...parseForm(Buffer.from(text))].map(([name, bytes]) => [name, bytes.toString()]));

test('a form is decoded as URLSearchParams does it, where both accept it', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))), (fields) => {
      const distinct = new Map(fields);
      assert.deepEqual(parse(new URLSearchParams([...distinct]).toString()), Object.fromEntries(distinct));
    }),
  );
});

test('curl -d without encoding, as in the go-push README, is understood', () => {
  assert.deepEqual(parse('room=default&items=[{"msg": "hi"},{"msg": "bye"}]'), {
    room: 'default',
    items: '[{"msg": "hi"},{"msg": "bye"}]',
  });
});

test('of equal names the first counts', () => {
  assert.deepEqual(parse('room=a&room=b&&x&=y'), { room: 'a', x: '', '': 'y' });
});

test('"=" in a value and "+" for a space are kept as the standard has them', () => {
  assert.deepEqual(parse('items=["a=b"]&t=1+1%2B1'), { items: '["a=b"]', t: '1 1+1' });
});

test('invalid UTF-8 and broken percent encodings are refused, encoded or not', () => {
  for (const body of ['room=%ff', 'room=%c3', '%ff=1', 'room=100%', 'room=%2', 'room=%zz', 'room=%ed%a0%80'])
    assert.throws(() => parseForm(Buffer.from(body)), { code: 'malformed_body' }, body);
  assert.throws(() => parseForm(Buffer.from([0x61, 0x3d, 0xff])), { code: 'malformed_body' });
});
