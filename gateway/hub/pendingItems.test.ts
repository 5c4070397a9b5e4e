import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { joinItems } from '@pushcluster/protocol/push.ts';
import type { MessagePart } from './messagePart.ts';
import { PendingItems } from './pendingItems.ts';

function part(first: number, ...texts: string[]): MessagePart {
  return { publisher: 'p', first, at: 0, items: joinItems(texts.map((text) => Buffer.from(text))) };
}

const textsOf = (parts: readonly MessagePart[]) => parts.map(({ items }) => Buffer.from(items.bytes).toString()).join();

describe('pending items', () => {
  it('are counted with their bytes, each with its comma, from when the first came', () => {
    const pending = new PendingItems();
    pending.append(part(1, 'a', 'bb'), 5);
    pending.append(part(3, 'ccc'), 9);
    assert.deepEqual([pending.items, pending.bytes, pending.since], [3, 9, 5]);
    assert.equal(textsOf(pending.take()), 'a,bb,ccc');
    assert.deepEqual([pending.items, pending.bytes], [0, 0]);
    pending.append(part(4, 'd'), 12);
    assert.equal(pending.since, 12);
  });

  it('lose their oldest, within a part too', () => {
    const pending = new PendingItems();
    pending.append(part(1, 'a', 'bb'), 0);
    pending.append(part(3, 'ccc', 'dddd', 'e'), 0);
    pending.removeOldest(3);
    assert.deepEqual([pending.items, pending.bytes], [2, 7]);
    const parts = pending.take();
    assert.equal(textsOf(parts), 'dddd,e');
    assert.equal(parts[0]?.first, 4);
  });

  it('stay in order and counted while they are a sample, and after it', () => {
    const pending = new PendingItems();
    pending.append(part(1, 'a', 'bb', 'c'), 3);
    assert.equal(pending.sampled, false);
    pending.removeFromSample(1);
    pending.addToSample(part(4, 'dd', 'eee'), 1, 3, 8);
    assert.equal(pending.sampled, true);
    assert.deepEqual([pending.items, pending.bytes, pending.since], [3, 8, 3]);
    pending.append(part(6, 'f'), 9);
    assert.equal(pending.sampled, false);
    assert.deepEqual([pending.items, pending.bytes], [4, 10]);
    assert.equal(textsOf(pending.take()), 'a,c,eee,f');
  });
});
