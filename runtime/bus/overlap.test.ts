import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { headers as natsHeaders } from 'nats';
import type { BusMessage } from './bus.ts';
import { Overlap } from './overlap.ts';

const bytesOf = (text: string) => Buffer.from(text);

describe('two connections that hear the same', () => {
  it('bring each message once and in order, wherever the new one begins and the old one ends', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 30 }),
        fc.nat(30),
        fc.nat(30),
        fc.infiniteStream(fc.boolean()),
        (published, x, y, turns) => {
          const begin = Math.min(x, y, published.length);
          const end = Math.min(Math.max(x, y), published.length);
          const got: string[] = [];
          const handler = (bytes: Uint8Array) => got.push(Buffer.from(bytes).toString());
          const overlap = new Overlap('new');
          let [old, next] = [0, begin];
          while (old < end || next < published.length) {
            const oldsTurn = next === published.length || (old < end && turns.next().value);
            if (oldsTurn && old < begin) handler(bytesOf(published[old++]!));
            else if (oldsTurn) overlap.receive('old', 1, handler, bytesOf(published[old++]!), 's', {});
            else overlap.receive('new', 1, handler, bytesOf(published[next++]!), 's', {});
          }
          overlap.release();
          assert.deepEqual(got, published);
        },
      ),
    );
  });

  it('are told apart by subject and by subscription', () => {
    const got: string[] = [];
    const overlap = new Overlap('new');
    const to = (name: string) => () => got.push(name);
    overlap.receive('old', 1, to('old 1'), bytesOf('x'), 's', {});
    overlap.receive('new', 1, to('new 1'), bytesOf('x'), 's', {});
    overlap.receive('new', 2, to('new 2'), bytesOf('x'), 's', {});
    overlap.receive('new', 1, to('other subject'), bytesOf('x'), 't', {});
    assert.deepEqual(got, ['old 1']);
    overlap.release();
    assert.deepEqual(got, ['old 1', 'new 2', 'other subject']);
  });

  it('are told apart by headers, if there are any', () => {
    const got: string[] = [];
    const overlap = new Overlap('new');
    const seq = (...values: string[]) => {
      const headers = natsHeaders();
      for (const value of values) headers.append('Seq', value);
      return { headers };
    };
    const brings = (source: string, message: BusMessage) =>
      overlap.receive(source, 1, (_, __, { headers }) => got.push(String(headers)), bytesOf('x'), 's', message);
    const both: BusMessage[] = [{}, seq('1'), seq('2'), seq('1', '2')];
    const newOnly: BusMessage[] = [seq('3'), seq('1', '3')];
    for (const message of both) brings('old', message);
    for (const message of newOnly) brings('new', message);
    for (const message of [{}, seq('1'), seq('2'), seq('1', '2')]) brings('new', message);
    overlap.release();
    assert.deepEqual(
      got,
      [...both, ...newOnly].map(({ headers }) => String(headers)),
    );
  });

  it('are together no longer than there is room for the headers of what is held', async () => {
    const overlap = new Overlap('new');
    const headers = natsHeaders();
    headers.set('a', 'x'.repeat(1_048_576));
    for (let i = 0; i < 65; i++) overlap.receive('new', i, () => {}, bytesOf(''), 's', { headers });
    await overlap.full;
  });

  it('are together no longer than there is room for what is held', async () => {
    const overlap = new Overlap('new');
    const big = new Uint8Array(8 * 1_048_576);
    for (let i = 0; i < 9; i++) overlap.receive('new', i, () => {}, big, 's', {});
    await overlap.full;
  });
});
