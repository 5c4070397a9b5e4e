import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { FakeLoop } from '../simulation/shard.ts';
import { BacklogLimit, backlogBudget } from './backlogLimit.ts';

class Reader {
  waiting = 0;
  waitingSince = 0;
  /** What its socket holds. */
  held = 0;
  cut = false;
  readonly ws = { getBufferedAmount: () => this.held };
}

let loop: FakeLoop;
let budget: number;
let backlog: BacklogLimit<Reader>;

beforeEach(() => {
  loop = new FakeLoop();
  budget = 1_000;
  backlog = new BacklogLimit<Reader>({
    loop,
    budget: () => budget,
    cut: (reader) => {
      reader.cut = true;
      reader.held = 0;
      backlog.forget(reader);
    },
  });
});

function hold(reader: Reader, bytes: number) {
  reader.held = bytes;
  backlog.note(reader);
}

describe('what waits for all sockets', () => {
  it('is the sum of what each holds, whatever they do', () => {
    budget = Number.POSITIVE_INFINITY;
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat({ max: 4 }), fc.nat({ max: 3 }), fc.boolean())), (steps) => {
        const readers = Array.from({ length: 5 }, () => new Reader());
        for (const [who, bytes, gone] of steps) {
          const reader = readers[who]!;
          if (gone) {
            reader.held = 0;
            backlog.forget(reader);
          } else hold(reader, bytes);
          assert.equal(
            backlog.bytes,
            readers.reduce((sum, { held }) => sum + held, 0),
          );
        }
        for (const reader of readers) backlog.forget(reader);
        assert.equal(backlog.bytes, 0);
      }),
    );
  });

  it('is cut down to below the budget in the next turn, from those that hold the most on', () => {
    const readers = [400, 300, 200, 100].map((bytes) => {
      const reader = new Reader();
      hold(reader, bytes);
      return reader;
    });
    loop.idle();
    assert.deepEqual(
      readers.map(({ cut }) => cut),
      [false, false, false, false],
    );
    hold(readers[3]!, 101);
    assert.ok(
      readers.every(({ cut }) => !cut),
      'a group may be being walked',
    );
    loop.idle();
    assert.deepEqual(
      readers.map(({ cut }) => cut),
      [true, false, false, false],
    );
    assert.equal(backlog.bytes, 601);
  });

  it('spares those who hold nearly as much for a moment', () => {
    const stopped = Array.from({ length: 5 }, () => new Reader());
    for (const reader of stopped) hold(reader, 190);
    loop.time += 10_000;
    const reading = Array.from({ length: 5 }, () => new Reader());
    for (const reader of reading) hold(reader, 150);
    loop.idle();
    assert.ok(reading.every(({ cut }) => !cut));
    assert.ok(stopped.every(({ cut }) => cut));
  });

  it('does not spare one that reads a little now and then', () => {
    const sly = new Reader();
    hold(sly, 900);
    for (let i = 0; i < 100; i++) {
      loop.time += 1_000;
      hold(sly, 900 - i);
    }
    const honest = new Reader();
    loop.time += 1;
    hold(honest, 900);
    loop.idle();
    assert.deepEqual([sly.cut, honest.cut], [true, false]);
  });

  it('cuts nobody where it has been read by the next turn', () => {
    const reader = new Reader();
    hold(reader, 1_001);
    reader.held = 10;
    loop.idle();
    assert.equal(reader.cut, false);
    assert.equal(backlog.bytes, 10);
  });

  it('is looked at anew where the budget shrinks', () => {
    const reader = new Reader();
    hold(reader, 900);
    budget = 500;
    backlog.check();
    loop.idle();
    assert.ok(reader.cut);
  });
});

it('the budget is an eighth of the memory, shared by the shards, and never less than one connection may have', () => {
  const MIB = 1_048_576;
  assert.equal(backlogBudget(2_048 * MIB, 1, MIB), 256 * MIB);
  assert.equal(backlogBudget(2_048 * MIB, 4, MIB), 64 * MIB);
  assert.equal(backlogBudget(256 * MIB, 64, MIB), MIB);
});
