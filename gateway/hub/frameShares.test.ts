import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FrameShares } from './frameShares.ts';

const BUDGET = 0.5;
const account = () => ({ period: 0, demand: 0 });
/** Messages a second, and cost of a frame, of each of some rooms. */
const crowd = fc.array(
  fc.record({ rate: fc.integer({ min: 1, max: 200 }), cost: fc.integer({ min: 20, max: 100_000 }) }),
  { minLength: 1, maxLength: 50 },
);
type Crowd = { rate: number; cost: number }[];

/** Rooms whose messages come evenly. */
class Rooms {
  readonly shares: FrameShares;
  /** The share after the first message of each second. */
  readonly beginnings: number[] = [];
  readonly #accounts = new Map<number, ReturnType<typeof account>>();
  now = 0;

  constructor(budget = BUDGET) {
    this.shares = new FrameShares(budget);
  }

  /** Returns the lowest share of each second. */
  play(rooms: Crowd, seconds: number): number[] {
    const lowest: number[] = [];
    for (let second = 0; second < seconds; second++) {
      const messages = rooms
        .flatMap(({ rate, cost }, room) => Array.from({ length: rate }, (_, i) => ({ at: i / rate, room, cost })))
        .sort((a, b) => a.at - b.at);
      let least = 1;
      for (const [i, { at, room, cost }] of messages.entries()) {
        const own = this.#accounts.get(room) ?? account();
        this.#accounts.set(room, own);
        this.shares.add(own, cost, this.now + at * 1_000);
        if (i === 0) this.beginnings.push(this.shares.share);
        least = Math.min(least, this.shares.share);
      }
      this.now += 1_000;
      lowest.push(least);
    }
    return lowest;
  }
}

const demandOf = ({ rate, cost }: Crowd[number]) => (rate * cost) / 1e6;
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const total = (rooms: Crowd) => sum(rooms.map(demandOf));

describe('the share of a channel', () => {
  it('is not limited while all that is demanded is within the budget', () => {
    fc.assert(
      fc.property(crowd, (rooms) => {
        fc.pre(total(rooms) < BUDGET);
        assert.ok(new Rooms().play(rooms, 5).every((share) => share === 1));
      }),
    );
  });

  it('keeps all frames together within the budget, and uses at least a half of it', () => {
    fc.assert(
      fc.property(crowd, (rooms) => {
        fc.pre(total(rooms) > BUDGET * 1.01);
        const share = new Rooms().play(rooms, 3).at(-1)!;
        const used = sum(rooms.map((room) => Math.min(demandOf(room), share)));
        assert.ok(used <= BUDGET * 1.01, `uses ${used} cores`);
        assert.ok(used >= BUDGET * 0.49, `uses ${used} cores`);
      }),
    );
  });

  it('does not swing: the same rooms with the same messages get the same share, second by second', () => {
    fc.assert(
      fc.property(crowd, (rooms) => {
        const settled = new Rooms().play(rooms, 12).slice(2);
        assert.deepEqual(
          settled,
          settled.map(() => settled[0]),
        );
      }),
    );
  });

  it('does not follow small changes of demand upwards: it rises by a quarter or more', () => {
    const noise = fc.array(fc.double({ min: 0.9, max: 1.1, noNaN: true }), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(crowd, noise, (rooms, noise) => {
        const played = new Rooms();
        for (const by of noise)
          played.play(
            rooms.map(({ rate, cost }) => ({ rate, cost: Math.round(cost * by) })),
            1,
          );
        const { beginnings } = played;
        for (const [i, share] of beginnings.entries()) {
          const before = beginnings[i - 1] ?? 1;
          assert.ok(share <= before || share >= before * 1.25 || share === 1, `${beginnings}`);
        }
      }),
    );
  });

  it('falls, or stays, if more is demanded', () => {
    fc.assert(
      fc.property(crowd, crowd, (rooms, others) => {
        const alone = new Rooms().play(rooms, 4).at(-1)!;
        const together = new Rooms().play([...rooms, ...others], 4).at(-1)!;
        // Demand is sorted into powers of two: levels are no more exact than that.
        assert.ok(together <= alone * 2.001, `${together} after ${alone}`);
      }),
    );
  });

  it('falls within the second in which a burst begins', () => {
    const rooms = new Rooms();
    rooms.play([{ rate: 5, cost: 100 }], 3);
    const burst = Array.from({ length: 2_000 }, () => ({ rate: 20, cost: 50 }));
    const [first] = rooms.play(burst, 1);
    assert.ok(first! <= (2 * BUDGET) / 2_000, `${first}`);
  });

  it('recovers within seconds after a burst', () => {
    fc.assert(
      fc.property(crowd, (burst) => {
        const rooms = new Rooms();
        rooms.play(burst, 3);
        const shares = rooms.play([{ rate: 5, cost: 100 }], 12);
        assert.equal(shares.at(-1), 1);
        assert.ok(
          shares.every((share, i) => i === 0 || share >= shares[i - 1]!),
          `${shares}`,
        );
      }),
    );
  });

  it('recovers in a silence too', () => {
    const rooms = new Rooms();
    rooms.play(
      Array.from({ length: 1_000 }, () => ({ rate: 100, cost: 50 })),
      2,
    );
    rooms.now += 60_000;
    assert.equal(rooms.play([{ rate: 1, cost: 50 }], 1).at(-1), 1);
  });

  it('of a room that demands little is not less because one demands much', () => {
    const rooms = new Rooms();
    const share = rooms.play(
      [{ rate: 200, cost: 100_000 }, ...Array.from({ length: 50 }, () => ({ rate: 5, cost: 100 }))],
      3,
    );
    assert.ok(share.at(-1)! > BUDGET / 2, `${share}`);
  });

  it('follows the budget', () => {
    const rooms = new Rooms();
    const crowd = Array.from({ length: 100 }, () => ({ rate: 100, cost: 1_000 }));
    const before = rooms.play(crowd, 3).at(-1)!;
    rooms.shares.budget = BUDGET / 10;
    assert.ok(Math.abs(rooms.play(crowd, 3).at(-1)! - before / 10) < before / 1_000);
  });

  it('stays above 0, and comes back, where all that is demanded is the budget but for a rounding error', () => {
    const shares = new FrameShares(0.0532);
    for (const cost of [17_734, 17_733, 17_733]) shares.add(account(), cost, 0);
    assert.ok(shares.share > 0.01, `${shares.share}`);
    for (let second = 1; second <= 5; second++) {
      shares.add(account(), 20, second * 1_000);
      assert.ok(shares.share > 0.01, `${shares.share}`);
    }
    assert.equal(shares.share, 1);
  });
});
