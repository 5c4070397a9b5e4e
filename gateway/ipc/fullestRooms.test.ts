import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FullestRooms, jsonWithin } from './fullestRooms.ts';

test('the fullest of any rooms are those that a whole sort would find, up to who has as many as the last', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 200 }), fc.integer({ min: 0, max: 50 }), (counts, limit) => {
      const fullest = new FullestRooms(limit);
      for (const [i, connections] of counts.entries()) fullest.add(`r${i}`, connections);
      const sorted = counts.filter((count) => count > 0).sort((a, b) => b - a);
      const { list } = fullest;
      assert.deepEqual(
        list.map(({ connections }) => connections),
        sorted.slice(0, limit),
      );
      for (const { room, connections } of list) assert.equal(counts[Number(room.slice(1))], connections);
      assert.equal(new Set(list.map(({ room }) => room)).size, list.length);
    }),
  );
});

test('the JSON of rooms stays within its bytes, whatever they are named', () => {
  const name = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constantFrom('\u0001', '"', '\\', '\u2028', '😀').map((char) => char.repeat(30)),
  );
  fc.assert(
    fc.property(fc.array(name), fc.nat(3_000), (names, bytes) => {
      const rooms = names.map((room) => ({ room, connections: 1 }));
      const texts = jsonWithin(rooms, bytes);
      assert.ok(Buffer.byteLength(texts.join(',')) <= bytes);
      assert.deepEqual(JSON.parse(`[${texts.join(',')}]`), JSON.parse(JSON.stringify(rooms.slice(0, texts.length))));
      const next = rooms[texts.length];
      if (next) assert.ok(Buffer.byteLength([...texts, JSON.stringify(next)].join(',')) + 1 > bytes);
    }),
  );
});
