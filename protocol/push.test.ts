import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  decodePush,
  decodeUserPush,
  encodePush,
  encodeUserPush,
  type Items,
  itemsSize,
  joinItems,
  type Push,
  type PushHeader,
  processOf,
  sliceItems,
  type UserEntry,
  userEntrySize,
} from './push.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** What a reader sees of items. */
function partsOf({ lengths, bytes }: Items): string[] {
  const parts: string[] = [];
  let at = 0;
  for (const length of lengths) {
    parts.push(textOf(bytes.subarray(at, at + length)));
    at += length + 1;
  }
  return parts;
}

const parts = fc.array(fc.json({ maxDepth: 2 }), { maxLength: 20 });
const items = parts.map((texts) => joinItems(texts.map(bytesOf)));
const header: fc.Arbitrary<PushHeader> = fc
  .record(
    {
      publisher: fc.string({ unit: fc.constantFrom(...'abcXYZ019-_'), minLength: 1, maxLength: 32 }),
      counter: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      at: fc.integer({ min: 0, max: 4e12 }),
      begun: fc.integer({ min: 0, max: 4e12 }),
      beat: fc.integer({ min: 0, max: 4e9 }),
      first: fc.integer({ min: 0, max: 4e9 }),
      urgent: fc.boolean(),
      id: fc.string({ unit: 'binary', maxLength: 60 }).filter((id) => id.isWellFormed() && bytesOf(id).length <= 255),
      since: fc.integer({ min: 0, max: 4e9 }),
    },
    { noNullPrototype: true },
  )
  .map(({ since, ...head }) => ({ ...head, mark: Math.max(1, head.counter - since) }));
const entry: fc.Arbitrary<UserEntry> = fc.record({
  users: fc.array(fc.string({ maxLength: 30 }), { maxLength: 5 }),
  id: fc.string({ maxLength: 30 }),
  urgent: fc.boolean(),
  items,
});

// Made by hand from the format, so that a change of writer and reader together is noticed.
const V1_PUSH =
  '01210001076c6f6769632d3100000000008044400000c006450c7a420772657472792d370200000011000000010000007b2274657874223a2268c3a96c6c6f227d2c37';
const V1_USERS =
  '01210001076c6f6769632d3100000000008044400000c006450c7a420772657472792d3702000000020005616c69636503626f620001010000000400000022686922010003e382ab026532000200000004000000030000006e756c6c2c5b315d';
const V2_PUSH =
  '02250000076c6f6769632d320000000000001c400000c006450c7a42036b2f300000804804e779420200000007000000010000007b2261223a317d2c32';
const V3_PUSH =
  '03300001096c6f6769632d332e3100000000000022400000c006450c7a42000000804804e77942290000000100000028000000010000000400000074727565';
const V9_PUSH =
  '09440000076c6f6769632d3900000000000010400010c006450c7a42000000804804e779424d000000010000000c0000000d756e6b6e6f776e20746f207573ffffffffffffffff010000000400000074727565';

describe('push messages', () => {
  test('a push to a room or to all comes back as it was written', () => {
    fc.assert(
      fc.property(header, items, (head, content) => {
        const { items: read, ...readHeader } = decodePush(encodePush({ ...head, items: content }));
        assert.deepEqual(readHeader, head);
        assert.deepEqual(partsOf(read), partsOf(content));
        assert.equal(Buffer.compare(read.bytes, content.bytes), 0);
      }),
    );
  });

  test('a push to users comes back as it was written', () => {
    fc.assert(
      fc.property(header, fc.array(entry, { maxLength: 6 }), (head, entries) => {
        const { entries: read, ...readHeader } = decodeUserPush(encodeUserPush({ ...head, entries }));
        assert.deepEqual(readHeader, head);
        const shown = (list: readonly UserEntry[]) => list.map((each) => ({ ...each, items: partsOf(each.items) }));
        assert.deepEqual(shown(read), shown(entries));
      }),
    );
  });

  test('sizes are told before anything is written', () => {
    fc.assert(
      fc.property(header, entry, (head, each) => {
        const empty = encodeUserPush({ ...head, entries: [] }).length;
        assert.equal(encodeUserPush({ ...head, entries: [each, each] }).length, empty + 2 * userEntrySize(each));
        const none = joinItems([]);
        assert.equal(
          encodePush({ ...head, items: each.items }).length,
          encodePush({ ...head, items: none }).length - itemsSize(none) + itemsSize(each.items),
        );
      }),
    );
  });

  test('items stay in the bytes of the message: nothing is copied', () => {
    const bytes = encodePush({ ...sample(), items: joinItems([bytesOf('"x"')]) });
    assert.equal(decodePush(bytes).items.bytes.buffer, bytes.buffer);
  });

  test('a message inside a larger buffer is read from its own place', () => {
    const bytes = encodePush({ ...sample(), items: joinItems([bytesOf('1'), bytesOf('2')]) });
    const around = new Uint8Array(bytes.length + 20).fill(0xff);
    around.set(bytes, 7);
    assert.deepEqual(partsOf(decodePush(around.subarray(7, 7 + bytes.length)).items), ['1', '2']);
  });
});

describe('messages of other versions', () => {
  test('version 1 is read: it lacks only the time and the beat at which its publisher began', () => {
    const { items: content, ...rest } = decodePush(Buffer.from(V1_PUSH, 'hex'));
    assert.deepEqual(rest, {
      publisher: 'logic-1',
      counter: 41,
      at: 1_790_000_000_000,
      begun: 0,
      beat: 0,
      mark: 41,
      first: 0,
      urgent: true,
      id: 'retry-7',
    });
    assert.deepEqual(partsOf(content), ['{"text":"héllo"}', '7']);
  });

  test('version 1 to users is read', () => {
    const { entries, counter, begun } = decodeUserPush(Buffer.from(V1_USERS, 'hex'));
    assert.equal(counter, 41);
    assert.equal(begun, 0);
    assert.deepEqual(
      entries.map((each) => ({ ...each, items: partsOf(each.items) })),
      [
        { users: ['alice', 'bob'], id: '', urgent: true, items: ['"hi"'] },
        { users: ['カ'], id: 'e2', urgent: false, items: ['null', '[1]'] },
      ],
    );
  });

  test('version 2 is read: it lacks only the beats', () => {
    const { items: content, ...rest } = decodePush(Buffer.from(V2_PUSH, 'hex'));
    assert.deepEqual(rest, {
      publisher: 'logic-2',
      counter: 7,
      at: 1_790_000_000_000,
      begun: 1_780_000_000_000,
      beat: 0,
      mark: 7,
      first: 0,
      urgent: false,
      id: 'k/0',
    });
    assert.deepEqual(partsOf(content), ['{"a":1}', '2']);
  });

  test('version 3 is read, and written', () => {
    const bytes = Buffer.from(V3_PUSH, 'hex');
    const { items: content, ...rest } = decodePush(bytes);
    assert.deepEqual(rest, {
      publisher: 'logic-3.1',
      counter: 9,
      at: 1_790_000_000_000,
      begun: 1_780_000_000_000,
      beat: 41,
      mark: 8,
      first: 40,
      urgent: true,
      id: '',
    });
    assert.deepEqual(partsOf(content), ['true']);
    assert.equal(Buffer.from(encodePush({ ...rest, items: content })).toString('hex'), V3_PUSH);
  });

  test('the process of a publisher is what comes before the dot', () => {
    assert.deepEqual(['abc', 'abc.1', 'abc.12'].map(processOf), ['abc', 'abc', 'abc']);
  });

  test('a later version with a longer header is read: what is unknown is skipped', () => {
    const { items: content, ...rest } = decodePush(Buffer.from(V9_PUSH, 'hex'));
    assert.deepEqual(rest, {
      publisher: 'logic-9',
      counter: 4,
      at: 1_790_000_000_001,
      begun: 1_780_000_000_000,
      beat: 77,
      mark: 3,
      first: 12,
      urgent: false,
      id: '',
    });
    assert.deepEqual(partsOf(content), ['true']);
  });

  test('a reader that knows only version 1 would find the items of today', () => {
    const bytes = Buffer.from(encodePush({ ...sample(), items: joinItems([bytesOf('"x"')]) }));
    const itemsAt = 3 + bytes.readUInt16LE(1);
    assert.equal(bytes.readUInt32LE(itemsAt), 1);
    assert.equal(bytes.toString('utf8', itemsAt + 8), '"x"');
  });
});

describe('what is no message', () => {
  test('a message cut short anywhere throws', () => {
    const push = encodePush({ ...sample(), items: joinItems([bytesOf('"one"'), bytesOf('"two"')]) });
    for (let length = 0; length < push.length; length++)
      assert.throws(() => decodePush(push.subarray(0, length)), RangeError, `${length} bytes`);
    const entries = [{ users: ['u', 'v'], id: 'i', urgent: true, items: joinItems([bytesOf('1')]) }];
    const users = encodeUserPush({ ...sample(), entries });
    for (let length = 0; length < users.length; length++)
      assert.throws(() => decodeUserPush(users.subarray(0, length)), RangeError, `${length} bytes`);
  });

  test('random bytes throw, or are a message no larger than they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        for (const decode of [decodePush, decodeUserPush])
          try {
            const push = decode(bytes);
            const all = 'items' in push ? [push.items] : push.entries.map((each) => each.items);
            for (const { lengths, bytes: content } of all) {
              assert.ok(lengths.length * 4 + content.length <= bytes.length);
              assert.equal(
                content.length,
                lengths.reduce((sum, length) => sum + length, Math.max(0, lengths.length - 1)),
              );
            }
          } catch (error) {
            assert.ok(error instanceof RangeError || error instanceof TypeError, String(error));
          }
      }),
      { numRuns: 2_000 },
    );
  });

  test('a true message with one byte changed throws or is read, and never anything else', () => {
    const entries = [{ users: ['alice', 'bob'], id: 'i', urgent: true, items: joinItems([bytesOf('1')]) }];
    const bytes = encodeUserPush({ ...sample(), entries });
    for (let at = 0; at < bytes.length; at++)
      for (const value of [0x00, 0x7f, 0x80, 0xff]) {
        const changed = Uint8Array.from(bytes);
        changed[at] = value;
        try {
          decodeUserPush(changed);
        } catch (error) {
          assert.ok(error instanceof RangeError || error instanceof TypeError, String(error));
        }
      }
  });

  test('counts of four billion cost no more than the bytes that are there', (t) => {
    const head = encodePush({ ...sample(), items: joinItems([]) });
    const most = Buffer.from('ffffffff', 'hex');
    const many = Buffer.concat([head.subarray(0, head.length - 4), most]);
    const lists = t.mock.method(globalThis, 'Uint32Array').mock;
    const reads = (['readUInt8', 'readUInt16LE', 'readUInt32LE'] as const).map(
      (name) => t.mock.method(Buffer.prototype, name).mock,
    );
    for (const [decode, bytes] of [
      [decodePush, many],
      [decodePush, Buffer.concat([many, Buffer.alloc(1_000, 0xff)])],
      [decodeUserPush, many],
      [decodeUserPush, Buffer.concat([many, Buffer.alloc(100_000)])],
    ] as const) {
      for (const each of [lists, ...reads]) each.resetCalls();
      assert.throws(() => decode(bytes), { name: 'RangeError', message: 'bus message is cut short' });
      const read = reads.reduce((sum, each) => sum + each.callCount(), 0);
      assert.ok(read > 0 && read <= bytes.length, `${read} reads of ${bytes.length} bytes`);
      const lengths = lists.calls.map(({ arguments: [length] }: { arguments: readonly unknown[] }) => Number(length));
      const listed = lengths.reduce((sum, length) => sum + length, 0);
      assert.ok(listed <= bytes.length, `room for ${listed} numbers`);
    }
  });

  test('version 0, counters that are no counts and times that are no times throw TypeError', () => {
    const bytes = Buffer.from(encodePush({ ...sample(), items: joinItems([]) }));
    assert.throws(() => decodePush(Buffer.concat([Buffer.from([0]), bytes.subarray(1)])), TypeError);
    for (const counter of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])
      assert.throws(
        () => decodePush(encodePush({ ...sample(), counter, mark: counter, items: joinItems([]) })),
        TypeError,
      );
    for (const time of [Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.throws(() => decodePush(encodePush({ ...sample(), at: time, items: joinItems([]) })), TypeError);
      assert.throws(() => decodePush(encodePush({ ...sample(), begun: time, items: joinItems([]) })), TypeError);
    }
    const late = Buffer.from(encodePush({ ...sample(), counter: 2, mark: 1, items: joinItems([]) }));
    // `counter − mark` of more than was counted.
    late.writeUInt32LE(2, late.length - 12);
    assert.throws(() => decodePush(late), TypeError);
  });

  test('what does not fit its field is refused when it is written', () => {
    assert.throws(() => encodePush({ ...sample(), id: 'x'.repeat(256), items: joinItems([]) }), RangeError);
  });
});

describe('items', () => {
  test('a slice has the items from one to before the other, in the same bytes', () => {
    fc.assert(
      fc.property(parts, fc.nat(20), fc.nat(20), (texts, a, b) => {
        const from = Math.min(a, b, texts.length);
        const to = Math.min(Math.max(a, b), texts.length);
        const whole = joinItems(texts.map(bytesOf));
        const slice = sliceItems(whole, from, to);
        assert.deepEqual(partsOf(slice), texts.slice(from, to));
        assert.equal(textOf(slice.bytes), texts.slice(from, to).join(','));
        assert.equal(slice.bytes.buffer, whole.bytes.buffer);
      }),
    );
  });

  test('they are joined by commas, so that brackets around them make a JSON array', () => {
    fc.assert(
      fc.property(parts, (texts) => {
        const array: unknown = JSON.parse(`[${textOf(joinItems(texts.map(bytesOf)).bytes)}]`);
        assert.deepEqual(
          array,
          texts.map((text) => JSON.parse(text) as unknown),
        );
      }),
    );
  });

  test('an empty part keeps its place', () => {
    assert.equal(textOf(joinItems([bytesOf(''), bytesOf('a'), bytesOf('')]).bytes), ',a,');
  });
});

function sample(): Omit<Push, 'items'> {
  return { publisher: 'p', counter: 1, at: 2, begun: 3, beat: 4, mark: 1, first: 4, urgent: false, id: '' };
}
