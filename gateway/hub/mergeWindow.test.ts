import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { joinItems } from '@pushcluster/protocol/push.ts';
import type { ChannelRules } from '@pushcluster/protocol/roomPolicies.ts';
import { Chance } from '@pushcluster/test/harness/chance.ts';
import fc from 'fast-check';
import type { Batch } from './batch.ts';
import { MergeWindow } from './mergeWindow.ts';
import type { MessagePart } from './messagePart.ts';

const RULES: ChannelRules = { minDelay: 0, adaptive: true, maxDelay: 1_000, maxItems: 1_000, maxBytes: 262_144 };

/** Plays the hub's part: a clock, a timer set to `due()` that may fire late, and the log of what went in and out. */
class Player {
  readonly window: MergeWindow;
  readonly offered: { id: string; size: number; at: number }[] = [];
  readonly sent: { batch: Batch; ids: string[]; at: number; why: 'timer' | 'urgent' | 'offer' }[] = [];
  rules: ChannelRules;
  now = 0;
  readonly #counters = new Map<string, number>();
  readonly #lateness: number;

  /** @param lateness milliseconds that the timer fires late: offers may come between */
  constructor(rules: ChannelRules, { lateness = 0, random }: { lateness?: number; random?: () => number } = {}) {
    this.rules = rules;
    this.window = new MergeWindow(rules, random);
    this.#lateness = lateness;
  }

  configure(rules: ChannelRules): void {
    this.rules = rules;
    this.window.rules = rules;
  }

  /** Lets time pass, with the timer firing on its way. */
  advance(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const due = this.window.due();
      const fires = due === undefined ? Number.POSITIVE_INFINITY : Math.max(this.now, due + this.#lateness);
      if (fires > until) break;
      this.now = fires;
      const batch = this.window.flush(this.now);
      assert.ok(batch, 'where something is due, something is flushed');
      this.#note([batch], 'timer');
    }
    this.now = until;
  }

  /** Offers items of `sizes` bytes, marked so that each is known again. Returns the batches that left at once. */
  offer(publisher: string, sizes: readonly number[], urgent = false): Batch[] {
    const first = this.#counters.get(publisher) ?? 1;
    this.#counters.set(publisher, first + sizes.length);
    const texts = sizes.map((size, i) => JSON.stringify(`${publisher}${first + i}`).padEnd(size));
    for (const text of texts) this.offered.push({ id: text.trim(), size: text.length, at: this.now });
    const items = joinItems(texts.map((text) => Buffer.from(text)));
    const batches = this.window.offer({ publisher, first, at: this.now, items }, this.now, urgent);
    this.#note(batches, urgent ? 'urgent' : 'offer');
    return batches;
  }

  /** Ids of the items that left, in order. */
  get out(): string[] {
    return this.sent.flatMap(({ ids }) => ids);
  }

  get cut(): number {
    return this.sent.reduce((sum, { batch }) => sum + batch.cut, 0);
  }

  #note(batches: readonly Batch[], why: 'timer' | 'urgent' | 'offer') {
    for (const batch of batches) this.sent.push({ batch, ids: batch.parts.flatMap(idsOf), at: this.now, why });
  }
}

/** Cuts a part by its lengths: each item must be the text that its counter says. */
function idsOf(part: MessagePart): string[] {
  const { lengths, bytes } = part.items;
  let at = 0;
  const ids = Array.from(lengths, (length, i) => {
    const text = Buffer.from(bytes.subarray(at, at + length))
      .toString()
      .trim();
    assert.equal(text, JSON.stringify(`${part.publisher}${part.first + i}`), 'an item under the counter of another');
    at += length + 1;
    return text;
  });
  assert.equal(bytes.length, Math.max(0, at - 1), 'lengths and bytes of a part differ');
  return ids;
}

function bytesOf(batch: Batch): number {
  const items = batch.parts.reduce((sum, part) => sum + part.items.bytes.length, 0);
  return items + Math.max(0, batch.parts.length - 1);
}

type Step =
  | { type: 'advance'; ms: number }
  | { type: 'offer'; publisher: string; sizes: number[]; urgent: boolean }
  | { type: 'rules'; rules: ChannelRules }
  | { type: 'length'; ms: number };

const rules: fc.Arbitrary<ChannelRules> = fc.record({
  minDelay: fc.constant(0),
  maxDelay: fc.constantFrom(0, 1, 20, 1_000, 5_000),
  adaptive: fc.constant(true),
  maxItems: fc.constantFrom(1, 2, 7, 1_000),
  maxBytes: fc.constantFrom(1_024, 2_000, 262_144),
});
const sizes = fc.array(fc.oneof(fc.integer({ min: 10, max: 40 }), fc.integer({ min: 900, max: 1_500 })), {
  minLength: 1,
  maxLength: 12,
});
const offer = fc.record({
  type: fc.constant('offer' as const),
  publisher: fc.constantFrom('a', 'b'),
  sizes,
  urgent: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});
const advance = fc.record({ type: fc.constant('advance' as const), ms: fc.constantFrom(0, 1, 5, 19, 300, 999, 2_500) });
const change = fc.record({ type: fc.constant('rules' as const), rules });
const steps = fc.array(
  fc.oneof({ weight: 5, arbitrary: offer }, { weight: 4, arbitrary: advance }, { weight: 1, arbitrary: change }),
  { maxLength: 60, size: 'max' },
);

/** Windows of all lengths, and frames that wait for further items. */
const adaptive = {
  rules: fc
    .tuple(rules, fc.constantFrom(0, 1, 15, 400))
    .map(([rules, minDelay]) => ({ ...rules, minDelay: Math.min(minDelay, rules.maxDelay) })),
  steps: fc.array(
    fc.oneof(
      { weight: 5, arbitrary: offer },
      { weight: 4, arbitrary: advance },
      {
        weight: 2,
        arbitrary: fc.record({ type: fc.constant('length' as const), ms: fc.constantFrom(0, 2, 17, 600, 9_999) }),
      },
    ),
    { maxLength: 60, size: 'max' },
  ),
};

function play(player: Player, script: readonly Step[], after: (step: Step) => void = () => {}) {
  for (const step of script) {
    if (step.type === 'advance') player.advance(step.ms);
    else if (step.type === 'offer') player.offer(step.publisher, step.sizes, step.urgent);
    else if (step.type === 'length') player.window.length = step.ms;
    else player.configure(step.rules);
    after(step);
  }
  player.advance(20_000);
}

describe('a merge window', () => {
  it('loses nothing, repeats nothing and keeps the order, whatever comes and whichever rules change meanwhile', () => {
    fc.assert(
      fc.property(rules, steps, fc.constantFrom(0, 3), (first, script, lateness) => {
        const player = new Player(first, { lateness });
        play(player, script);
        assert.deepEqual(
          player.out,
          player.offered.map(({ id }) => id),
        );
        assert.equal(player.cut, 0);
        assert.ok(player.window.idle);
        for (const { batch, ids } of player.sent) assert.equal(batch.items, ids.length);
      }),
    );
  });

  it('never fills a batch beyond maxItems or maxBytes, but for a single larger item alone', () => {
    fc.assert(
      fc.property(rules, steps, (first, script) => {
        const player = new Player(first);
        play(
          player,
          script.filter((step) => step.type !== 'rules'),
        );
        for (const { batch } of player.sent) {
          assert.ok(batch.items <= first.maxItems, `${batch.items} items`);
          assert.ok(bytesOf(batch) <= first.maxBytes || batch.items === 1, `${bytesOf(batch)} bytes`);
        }
      }),
    );
  });

  it('fills each batch by the largest rules that were in force while it was pending', () => {
    fc.assert(
      fc.property(rules, steps, (first, script) => {
        const player = new Player(first);
        let since = { maxItems: first.maxItems, maxBytes: first.maxBytes };
        let seen = 0;
        play(player, script, () => {
          for (const { batch } of player.sent.slice(seen)) {
            assert.ok(batch.items <= since.maxItems, `${batch.items} items`);
            assert.ok(bytesOf(batch) <= since.maxBytes || batch.items === 1, `${bytesOf(batch)} bytes`);
          }
          seen = player.sent.length;
          const { maxItems, maxBytes } = player.rules;
          since = player.window.idle
            ? { maxItems, maxBytes }
            : { maxItems: Math.max(since.maxItems, maxItems), maxBytes: Math.max(since.maxBytes, maxBytes) };
        });
      }),
    );
  });

  it('sends the message of a quiet channel at once, as much of it as a frame holds', () => {
    fc.assert(
      fc.property(rules, steps, sizes, (first, script, last) => {
        const player = new Player(first);
        play(player, script);
        const before = player.out.length;
        player.offer('c', last);
        const { maxItems, maxBytes } = player.rules;
        const bytesUpTo = (end: number) => last.slice(0, end).reduce((sum, size) => sum + size + 1, 0);
        let fits = 1;
        while (fits < last.length && fits < maxItems && bytesUpTo(fits + 1) <= maxBytes) fits++;
        assert.ok(player.out.length - before >= fits, `${player.out.length - before} of ${last.length} items left`);
      }),
    );
  });

  it('keeps no item longer than maxDelay, and says how long the first of a batch waited', () => {
    fc.assert(
      fc.property(rules, steps, fc.constantFrom(0, 3), (first, script, lateness) => {
        const player = new Player(first, { lateness });
        const longest = [first, ...script.flatMap((step) => (step.type === 'rules' ? [step.rules] : []))];
        const maxDelay = Math.max(...longest.map((rules) => rules.maxDelay));
        play(player, script);
        const offeredAt = new Map(player.offered.map(({ id, at }) => [id, at]));
        for (const { ids, at, batch } of player.sent) {
          const waits = ids.map((id) => at - offeredAt.get(id)!);
          assert.ok(Math.max(...waits) <= maxDelay + lateness, `waited ${Math.max(...waits)} ms`);
          assert.equal(batch.waited, waits[0]);
        }
      }),
    );
  });

  it('merges: a batch that is neither full nor urgent leaves no sooner than maxDelay after the one before', () => {
    fc.assert(
      fc.property(rules, steps, (first, script) => {
        const player = new Player(first);
        play(
          player,
          script.filter((step) => step.type !== 'rules'),
        );
        for (const [i, { batch, at, why, ids }] of player.sent.entries()) {
          const before = player.sent[i - 1];
          if (!before || why === 'urgent') continue;
          // The next item would not have fitted, with the comma that each item counts.
          const next = player.offered[player.out.indexOf(ids.at(-1)!) + 1]?.size ?? 0;
          const full = batch.items >= first.maxItems || bytesOf(batch) + 1 + next + 1 > first.maxBytes;
          if (!full) assert.ok(at - before.at >= first.maxDelay, `${at - before.at} ms after the last`);
        }
      }),
    );
  });

  it('flushes all that is queued with an urgent push', () => {
    fc.assert(
      fc.property(rules, steps, sizes, (first, script, last) => {
        const player = new Player(first);
        for (const step of script) if (step.type === 'offer') player.offer(step.publisher, step.sizes);
        player.offer('u', last, true);
        assert.ok(player.window.idle);
        assert.equal(player.out.length, player.offered.length);
      }),
    );
  });

  it('waits again by the new maxDelay when it is changed under pending items', () => {
    const player = new Player(RULES);
    player.offer('a', [10]);
    player.advance(10);
    player.offer('a', [10]);
    assert.equal(player.window.due(), 1_000);
    player.configure({ ...RULES, maxDelay: 50 });
    assert.equal(player.window.due(), 50);
    player.configure({ ...RULES, maxDelay: 3_000 });
    assert.equal(player.window.due(), 3_000);
    player.advance(2_990);
    assert.equal(player.out.length, 2);
    assert.equal(player.now, 3_000);
  });

  it('that changes its length loses nothing, keeps the order, and keeps no item longer than maxDelay', () => {
    fc.assert(
      fc.property(adaptive.rules, adaptive.steps, fc.constantFrom(0, 3), (rules, script, lateness) => {
        const player = new Player(rules, { lateness });
        play(player, script);
        assert.deepEqual(
          player.out,
          player.offered.map(({ id }) => id),
        );
        const offeredAt = new Map(player.offered.map(({ id, at }) => [id, at]));
        for (const { ids, at } of player.sent)
          for (const id of ids) assert.ok(at - offeredAt.get(id)! <= rules.maxDelay + lateness);
      }),
    );
  });

  it('keeps each frame for minDelay, unless it is full or urgent', () => {
    fc.assert(
      fc.property(adaptive.rules, adaptive.steps, (rules, script) => {
        const player = new Player({ ...rules, maxItems: 1_000, maxBytes: 262_144 });
        play(player, script);
        const offeredAt = new Map(player.offered.map(({ id, at }) => [id, at]));
        for (const { ids, at, why } of player.sent)
          if (why !== 'urgent') assert.ok(at - offeredAt.get(ids[0]!)! >= rules.minDelay);
      }),
    );
  });

  it('ends as soon as its length says', () => {
    const player = new Player(RULES);
    player.window.length = 20;
    player.offer('a', [10]);
    player.advance(5);
    player.offer('a', [10]);
    assert.equal(player.window.due(), 20);
    player.advance(16);
    assert.equal(player.offer('a', [10]).length, 0);
    assert.equal(player.window.due(), 40);
  });

  it('sends every message at once where maxDelay is 0', () => {
    const player = new Player({ ...RULES, maxDelay: 0 });
    for (let i = 0; i < 5; i++) assert.equal(player.offer('a', [10, 10]).length, 1);
  });
});

describe('an overloaded window', () => {
  const overloaded = (policy: 'sample' | 'dropOldest' | 'dropNewest', maxRate = 10): ChannelRules => ({
    ...RULES,
    overload: { maxRate, policy },
  });
  const policies = fc.constantFrom('sample' as const, 'dropOldest' as const, 'dropNewest' as const);
  const overload = fc.record({ policy: policies, maxRate: fc.constantFrom(0.5, 3, 10, 200) });

  it('accounts for every item: kept and cut are what was offered, in order, each once', () => {
    fc.assert(
      fc.property(rules, overload, steps, (base, overload, script) => {
        const player = new Player({ ...base, overload });
        play(
          player,
          script.filter((step) => step.type !== 'rules'),
        );
        assert.equal(player.out.length + player.cut, player.offered.length);
        const position = new Map(player.offered.map(({ id }, i) => [id, i]));
        const positions = player.out.map((id) => position.get(id)!);
        assert.ok(positions.every((at, i) => i === 0 || at > positions[i - 1]!));
        for (const { batch } of player.sent) assert.ok(batch.items <= base.maxItems);
      }),
    );
  });

  it('accounts for every item also while its rules change', () => {
    const changes = fc.record({ type: fc.constant('rules' as const), rules });
    const either = fc.oneof(
      changes,
      fc.tuple(changes, overload).map(([change, overload]) => ({ ...change, rules: { ...change.rules, overload } })),
    );
    const script = fc.array(fc.oneof(offer, advance, either), { maxLength: 60, size: 'max' });
    fc.assert(
      fc.property(rules, overload, script, (base, overload, script) => {
        const player = new Player({ ...base, overload });
        play(player, script);
        assert.equal(player.out.length + player.cut, player.offered.length);
        assert.equal(new Set(player.out).size, player.out.length);
      }),
    );
  });

  it('keeps the rate: no span of offers brings more than its budget', () => {
    fc.assert(
      fc.property(rules, overload, steps, fc.constantFrom(0, 3), (base, overload, script, lateness) => {
        const player = new Player({ ...base, overload }, { lateness });
        play(
          player,
          script.filter((step) => step.type !== 'rules'),
        );
        const span = Math.max(1_000, base.maxDelay);
        const budget = Math.max(1, Math.round((overload.maxRate * span) / 1_000));
        const offeredAt = new Map(player.offered.map(({ id, at }) => [id, at]));
        const kept = player.out.map((id) => offeredAt.get(id)!).sort((a, b) => a - b);
        // Spans begin with an offer; any stretch as long as one touches two at most.
        for (const [i, from] of kept.entries()) {
          const within = kept.slice(i).filter((at) => at < from + span).length;
          assert.ok(within <= 2 * budget, `${within} items within ${span} ms, the budget is ${budget}`);
        }
      }),
    );
  });

  for (const lateness of [0, 1, 40])
    it(`keeps the rate up under a steady stream when its timer is ${lateness} ms late`, () => {
      const player = new Player(overloaded('sample', 100), { lateness });
      for (let ms = 0; ms < 20_000; ms += 2) {
        player.offer('a', [12]);
        player.advance(2);
      }
      player.advance(2_000);
      assert.ok(player.out.length >= 1_900 && player.out.length <= 2_100, `${player.out.length} items in 20 s`);
    });

  it('keeps the oldest of a window by dropNewest', () => {
    const player = new Player(overloaded('dropNewest'));
    player.offer('a', [10]);
    player.offer('a', new Array<number>(30).fill(12));
    player.advance(1_000);
    assert.deepEqual(
      player.out,
      Array.from({ length: 10 }, (_, i) => `"a${i + 1}"`),
    );
    assert.equal(player.sent.at(-1)?.batch.cut, 21);
  });

  it('keeps the newest of a window by dropOldest', () => {
    const player = new Player(overloaded('dropOldest'));
    player.offer('a', [10]);
    for (let i = 0; i < 10; i++) player.offer('a', [12, 12, 12]);
    player.advance(1_000);
    assert.deepEqual(player.out, ['"a1"', ...Array.from({ length: 9 }, (_, i) => `"a${i + 23}"`)]);
  });

  it('samples each item of a window with the same chance', () => {
    const random = seeded(20);
    const kept = new Array<number>(51).fill(0);
    const rounds = 4_000;
    for (let round = 0; round < rounds; round++) {
      const player = new Player(overloaded('sample', 11), { random });
      // The first leaves at once; ten of the fifty after it have room.
      player.offer('a', [10]);
      for (let i = 0; i < 10; i++) player.offer('a', [12, 12, 12, 12, 12]);
      player.advance(1_000);
      for (const id of player.out) kept[Number(id.slice(2, -1)) - 1]!++;
    }
    assert.equal(kept[0], rounds);
    // A fifth of the rounds each; five standard deviations of that.
    const tolerance = 5 * Math.sqrt(rounds * 0.2 * 0.8);
    for (const [i, count] of kept.slice(1).entries())
      assert.ok(Math.abs(count - rounds / 5) < tolerance, `item ${i + 2} was kept ${count} times of ${rounds}`);
  });

  it('samples the whole of maxDelay once it cuts, however short its windows are otherwise', () => {
    const player = new Player(overloaded('sample', 10), { random: seeded(3) });
    player.window.length = 5;
    for (let i = 0; i < 300; i++) {
      player.offer('a', [10]);
      player.advance(10);
    }
    const offeredAt = new Map(player.offered.map(({ id, at }) => [id, at]));
    const second = player.out.map((id) => offeredAt.get(id)!).filter((at) => at >= 2_000 && at < 3_000);
    assert.ok(second.some((at) => at < 2_500) && second.some((at) => at > 2_500), `${second}`);
    assert.ok(player.sent.filter(({ at }) => at >= 2_000 && at < 3_000).length <= 2);
    assert.equal(player.window.length, RULES.maxDelay);
  });

  it('has its own length again once the policy that cut has ended', () => {
    const player = new Player(overloaded('sample', 10));
    player.window.length = 5;
    for (let i = 0; i < 30; i++) player.offer('a', [10]);
    player.configure(RULES);
    player.advance(2_000);
    player.offer('a', [10]);
    player.advance(1);
    player.offer('a', [10]);
    assert.equal(player.window.length, 5);
    assert.equal(player.window.due(), player.now + 4);
  });

  it('tells what was cut even where nothing was kept', () => {
    const player = new Player({ ...overloaded('dropNewest', 0.5), maxDelay: 100 });
    player.offer('a', [10]);
    player.advance(200);
    player.offer('a', [10, 10]);
    player.advance(800);
    assert.deepEqual(
      player.sent.map(({ batch }) => [batch.items, batch.cut]),
      [
        [1, 0],
        [0, 2],
      ],
    );
  });

  it('keeps what it had sampled where its policy changes, or ends, under it', () => {
    for (const after of [undefined, overloaded('dropOldest').overload, overloaded('dropNewest').overload]) {
      const player = new Player(overloaded('sample'));
      player.offer('a', [10]);
      player.offer('a', new Array<number>(30).fill(12));
      player.configure({ ...RULES, overload: after });
      player.offer('a', [12, 12]);
      player.advance(3_000);
      assert.equal(player.out.length + player.cut, 33, after?.policy);
      assert.equal(player.out.length, after ? 10 : 12, after?.policy);
    }
  });
});

describe('losses', () => {
  const overload = (maxRate: number, policy: 'sample' | 'dropOldest' | 'dropNewest' = 'sample') => ({
    maxRate,
    policy,
  });

  it('are told once a second where maxDelay is 0, before the items of the next second, and counted exactly', () => {
    for (const policy of ['sample', 'dropOldest', 'dropNewest'] as const) {
      const player = new Player({ ...RULES, maxDelay: 0, overload: overload(10, policy) });
      for (let i = 0; i < 3_000; i++) {
        player.offer('a', [12]);
        player.advance(1);
      }
      player.advance(2_000);
      assert.equal(player.out.length, 30, policy);
      assert.equal(player.cut, 2_970, policy);
      const told = player.sent.filter(({ batch }) => batch.cut > 0);
      assert.equal(told.length, 3, policy);
      // Each second's ten, then how many of it were cut, then the next second's ten.
      const kinds = player.sent.map(({ batch }) => (batch.cut > 0 ? `cut ${batch.cut}+${batch.items}` : batch.items));
      assert.deepEqual(kinds.slice(10, 12), ['cut 990+0', 1], policy);
    }
  });

  const lose = fc.record({ type: fc.constant('lose' as const), items: fc.integer({ min: 1, max: 9 }) });
  const script = fc.array(fc.oneof(offer, advance, lose), { maxLength: 80, size: 'max' });
  const maybe = fc.option(
    fc.record({
      policy: fc.constantFrom('sample' as const, 'dropOldest' as const),
      maxRate: fc.constantFrom(0.5, 3, 10),
    }),
    { nil: undefined },
  );

  it('of either kind are told at most once a second, all of them, and soon', () => {
    fc.assert(
      fc.property(rules, maybe, script, fc.constantFrom(0, 3), (base, overload, script, lateness) => {
        const player = new Player({ ...base, overload }, { lateness });
        let lost = 0;
        for (const step of script) {
          if (step.type === 'lose') {
            player.window.lose(step.items);
            lost += step.items;
          } else if (step.type === 'advance') player.advance(step.ms);
          else player.offer(step.publisher, step.sizes, step.urgent);
        }
        player.advance(base.maxDelay + 2_000 + 2 * lateness);
        assert.ok(player.window.idle, 'something was never told');
        const of = ({ lost }: Batch) => lost.before + lost.after;
        assert.equal(
          player.sent.reduce((sum, { batch }) => sum + of(batch), 0),
          lost,
        );
        assert.equal(player.out.length + player.cut, player.offered.length);
        for (const count of [of, ({ cut }: Batch) => cut]) {
          const told = player.sent.filter(({ batch }) => count(batch) > 0).map(({ at }) => at);
          for (const [i, at] of told.entries()) assert.ok(i === 0 || at - told[i - 1]! >= 1_000, `${told}`);
        }
        for (const { batch } of player.sent) assert.ok(batch.lost.before === 0 || batch.lost.after === 0);
      }),
    );
  });
});

describe('the work of a window', () => {
  /** The lengths of a part's items, which count how often one is looked at: slices of them count on. */
  function counting(lengths: Uint32Array, looks: { count: number }): Uint32Array {
    return new Proxy(lengths, {
      get(target, key) {
        if (key === 'subarray') return (from: number, to: number) => counting(target.subarray(from, to), looks);
        if (typeof key === 'string' && /^\d+$/.test(key)) looks.count++;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  const policies = [undefined, 'sample', 'dropOldest', 'dropNewest'] as const;
  for (const policy of policies)
    for (const maxItems of [1, 7, 1_000])
      it(`with ${policy ?? 'no'} overload policy and maxItems ${maxItems} is linear in the items of a message`, () => {
        const overload = policy && { maxRate: 500, policy };
        const window = new MergeWindow({ ...RULES, maxItems, overload }, seeded(7));
        const looks = { count: 0 };
        const total = 30_000;
        const items = joinItems(Array.from({ length: total }, (_, i) => Buffer.from(`${i}`)));
        let out = 0;
        let cut = 0;
        const note = (batch: Batch) => {
          out += batch.parts.reduce((sum, { items }) => sum + items.lengths.length, 0);
          cut += batch.cut;
        };
        const offered = {
          publisher: 'a',
          at: 0,
          items: { bytes: items.bytes, lengths: counting(items.lengths, looks) },
        };
        for (let i = 0; i < 3; i++)
          for (const batch of window.offer({ ...offered, first: 1 + i * total }, i)) note(batch);
        for (let now = 1_000; !window.idle; now += 1_000) note(window.flush(now)!);
        assert.equal(out + cut, 3 * total);
        assert.ok(looks.count <= 4 * 3 * total, `${looks.count} looks at ${3 * total} items`);
      });
});

/** Numbers from 0 to 1, the same at each run. */
function seeded(seed: number): () => number {
  const chance = new Chance(seed);
  return () => chance.next();
}

describe('messages with a position in a history', () => {
  const stored = (seq: number, epoch: string, ...texts: string[]): MessagePart => ({
    ...{ publisher: 'p', first: seq, at: 0, items: joinItems(texts.map((text) => Buffer.from(text))) },
    position: { seq, previous: seq - 1, epoch },
  });
  const seqs = (batches: readonly Batch[]) => batches.map(({ parts }) => parts.map(({ position }) => position?.seq));

  it('are never split: what is pending leaves first, and what is too large goes alone', () => {
    const window = new MergeWindow({ ...RULES, maxItems: 3 });
    assert.deepEqual(seqs(window.offer(stored(1, 'e', '1'), 0)), [[1]], 'the leading edge');
    assert.deepEqual(seqs(window.offer(stored(2, 'e', '1', '2'), 1)), []);
    assert.deepEqual(seqs(window.offer(stored(3, 'e', '1', '2'), 2)), [[2]]);
    assert.deepEqual(seqs(window.offer(stored(4, 'e', '1', '2', '3', '4', '5'), 3)), [[3], [4]]);
  });

  it('of two histories are in two frames', () => {
    const window = new MergeWindow(RULES);
    window.offer(stored(1, 'e', '1'), 0);
    window.offer(stored(2, 'e', '1'), 1);
    assert.deepEqual(seqs(window.offer(stored(1, 'f', '1'), 2)), [[2]]);
    assert.deepEqual(seqs([window.flush(2_000)!]), [[1]]);
  });
});
