import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { itemsSize } from '@pushcluster/protocol/push.ts';
import { HEADER_BYTES, MessageSplitter, partId } from './messageSplitter.ts';

const splitter = (body: number) => new MessageSplitter(() => body + HEADER_BYTES);
const texts = (...lengths: number[]) => lengths.map((length) => Buffer.alloc(length, '1'));

describe('a message splitter', () => {
  it('keeps items together that fit, and splits in order those that do not', () => {
    const items = texts(40, 40, 40, 10);
    assert.equal(splitter(1_000).items(items, 0).length, 1);
    const parts = splitter(100).items(items, 0);
    assert.deepEqual(
      parts.map(({ lengths }) => [...lengths]),
      [
        [40, 40],
        [40, 10],
      ],
    );
    for (const part of parts) assert.ok(itemsSize(part) <= 100);
  });

  it('counts what else a body holds', () => {
    assert.equal(splitter(100).items(texts(40, 40), 0).length, 1);
    assert.equal(splitter(100).items(texts(40, 40), 20).length, 2);
  });

  it('refuses an item that no message can hold, by its index', () => {
    assert.throws(() => splitter(100).items(texts(10, 93), 0), { code: 'item_too_large', message: /^items\[1\] / });
    assert.equal(splitter(100).items(texts(10, 92), 0).length, 2);
  });

  it('splits users so that their names take a quarter of a body', () => {
    const users = ['aaaa', 'bbbb', 'cccc', 'a name longer than a quarter', 'd'];
    assert.deepEqual(splitter(40).users(users), [['aaaa', 'bbbb'], ['cccc'], ['a name longer than a quarter'], ['d']]);
  });

  it('follows the limit of the server that the bus is connected to', () => {
    let maxPayload = 1_000 + HEADER_BYTES;
    const follows = new MessageSplitter(() => maxPayload);
    assert.equal(follows.items(texts(400, 400), 0).length, 1);
    maxPayload = 500 + HEADER_BYTES;
    assert.equal(follows.items(texts(400, 400), 0).length, 2);
  });
});

describe('the id of a part', () => {
  it('differs for each part of a push, and is empty if the push has none', () => {
    assert.deepEqual([partId('k', 0), partId('k', 1), partId('', 1)], ['k/0', 'k/1', '']);
  });
});
