import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { judge, lineOf, type Verdict } from './checker.ts';
import type { Event } from './record.ts';

const ROOM = 'r';
const [PUSHES, CLIENTS] = [20, 3];
const item = (n: number) => `p:${n}`;
const seqOf = (n: number) => 10 + 3 * n;

/** A run in which everything is right: pushes one after another, and clients that get each a little later. */
function run(): Event[] {
  const events: Event[] = [];
  for (let c = 0; c < CLIENTS; c++) events.push({ type: 'joined', t: 0, client: `c${c}`, room: ROOM });
  for (let n = 0; n < PUSHES; n++) {
    const t = 100 * (n + 1);
    events.push({ type: 'attempt', t, room: ROOM, item: item(n) });
    events.push({ type: 'acked', t: t + 10, room: ROOM, item: item(n), epoch: 'e', seq: seqOf(n) });
    for (let c = 0; c < CLIENTS; c++)
      events.push({ type: 'item', t: t + 20 + c, client: `c${c}`, room: ROOM, item: item(n) });
  }
  for (let n = 0; n < PUSHES; n++)
    events.push({ type: 'stored', t: 9_000, room: ROOM, epoch: 'e', seq: seqOf(n), items: [item(n)] });
  return events;
}

const isItem = (client: string, n: number) => (event: Event) =>
  event.type === 'item' && event.client === client && event.item === item(n);

/** What the run shows once `change` has been done to it. */
function changed(change: (events: Event[]) => void): Verdict {
  const events = run();
  change(events);
  return judge(events.sort((a, b) => a.t - b.t));
}

function remove(events: Event[], is: (event: Event) => boolean): Event {
  const at = events.findIndex(is);
  assert.ok(at >= 0, 'there is nothing to remove');
  return events.splice(at, 1)[0]!;
}

/** The checks that found something, such as `A5`, or `told`. */
const checks = ({ problems }: Verdict) => problems.map((problem) => /^A\d+|told/.exec(problem)?.[0]).sort();

describe('the checker of runs with history', () => {
  it('finds nothing in a run in which all is right', () => {
    const verdict = judge(run());
    assert.deepEqual(verdict.problems, []);
    assert.equal(
      lineOf(verdict, 7),
      'published 20, acked 20, unknown 0, delivered 60, lost 0, twice 0, disorder 0, resets 0 (needless 0), told 0, longest silence 0.1 s, faults 0, seed 7',
    );
  });

  it('finds items that were lost, and says where', () => {
    const lose = (n: number) => changed((events) => void remove(events, isItem('c1', n)));
    assert.deepEqual([checks(lose(5)), lose(5).lost], [['A5'], { prefix: 0, middle: 1, postfix: 0 }]);
    assert.deepEqual([checks(lose(0)), lose(0).lost], [['A5'], { prefix: 1, middle: 0, postfix: 0 }]);
    assert.deepEqual([checks(lose(19)), lose(19).lost], [['A7'], { prefix: 0, middle: 0, postfix: 1 }]);
  });

  it('finds a client that gets nothing at all', () => {
    const verdict = changed((events) => {
      for (let n = 0; n < PUSHES; n++) remove(events, isItem('c2', n));
    });
    assert.equal(verdict.lost.prefix, PUSHES);
  });

  it('finds items that came twice, or too late', () => {
    const twice = changed((events) =>
      events.push({ type: 'item', t: 8_000, client: 'c0', room: ROOM, item: item(PUSHES - 1) }),
    );
    assert.deepEqual([checks(twice), twice.twice, twice.disorder], [['A4'], 1, 0]);
    const late = changed((events) => {
      const moved = remove(events, isItem('c0', 4));
      events.push({ ...moved, t: 650 });
    });
    assert.deepEqual([checks(late), late.disorder], [['A3'], 1]);
  });

  it('finds items that nobody pushed, or whose push was refused', () => {
    const foreign = changed((events) => events.push({ type: 'item', t: 500, client: 'c0', room: ROOM, item: 'x:1' }));
    assert.deepEqual(checks(foreign), ['A1']);
    const refused = changed((events) => {
      events.push({ type: 'attempt', t: 500, room: ROOM, item: 'x:1' });
      events.push({ type: 'refused', t: 510, room: ROOM, item: 'x:1' });
      events.push({ type: 'item', t: 520, client: 'c0', room: ROOM, item: 'x:1' });
    });
    assert.deepEqual(checks(refused), ['A1']);
  });

  it('finds positions that say different things', () => {
    const moved = changed((events) =>
      events.push({ type: 'acked', t: 560, room: ROOM, item: item(3), epoch: 'e', seq: 2_000 }),
    );
    assert.ok(checks(moved).includes('A10'));
    const shared = changed((events) => {
      events.push({ type: 'attempt', t: 505, room: ROOM, item: 'x:1' });
      events.push({ type: 'acked', t: 560, room: ROOM, item: 'x:1', epoch: 'e', seq: seqOf(3) });
    });
    assert.ok(checks(shared).includes('A2'));
    const twice = changed((events) =>
      events.push({ type: 'stored', t: 9_000, room: ROOM, epoch: 'e', seq: 5_000, items: [item(2)] }),
    );
    assert.ok(checks(twice).includes('A10'), 'without deduplication, a push is stored twice');
  });

  it('finds an accepted push that is not stored, unless it is beyond the limits', () => {
    const isStored = (n: number) => (event: Event) => event.type === 'stored' && event.seq === seqOf(n);
    assert.deepEqual(checks(changed((events) => void remove(events, isStored(7)))), ['A11']);
    assert.deepEqual(checks(changed((events) => void remove(events, isStored(0)))), []);
  });

  it('finds a later push with a smaller number', () => {
    const verdict = changed((events) => {
      events.push({ type: 'attempt', t: 1_500, room: ROOM, item: 'x:1' });
      events.push({ type: 'acked', t: 1_505, room: ROOM, item: 'x:1', epoch: 'e', seq: seqOf(2) + 1 });
      events.push({ type: 'stored', t: 9_000, room: ROOM, epoch: 'e', seq: seqOf(2) + 1, items: ['x:1'] });
    });
    assert.ok(checks(verdict).includes('A9'));
  });

  it('counts what a reset covers as told, and finds a reset without a reason', () => {
    const reset = (events: Event[]) => {
      for (const n of [6, 7]) remove(events, isItem('c1', n));
      events.push({
        type: 'reset',
        t: 850,
        client: 'c1',
        room: ROOM,
        reason: 'unrecovered',
        epoch: 'e',
        seq: seqOf(7),
      });
    };
    const needless = changed(reset);
    assert.deepEqual([checks(needless), needless.told, needless.lost.middle], [['A8'], 2, 0]);
    const right = changed((events) => {
      reset(events);
      events.push({ type: 'break', t: 700 });
    });
    assert.deepEqual([right.problems, right.resets, right.needless, right.told], [[], 1, 0, 2]);
    const again = changed((events) => {
      reset(events);
      events.push({ type: 'break', t: 700 });
      events.push({ type: 'reset', t: 1_250, client: 'c1', room: ROOM, reason: 'reset', epoch: 'e', seq: seqOf(11) });
    });
    assert.equal(again.needless, 1, 'one break is one reason');
  });

  /** The history begins anew after the push `from`, whose numbers are given again; the pushes before stay or go. */
  function renewed(events: Event[], from: number, { keeps }: { keeps: boolean }) {
    const reset = { type: 'reset', room: ROOM, reason: 'reset', epoch: 'f', seq: seqOf(from - 5) } as const;
    const place = (n: number) => (n < from ? { epoch: 'e', seq: seqOf(n) } : { epoch: 'f', seq: seqOf(n - 4) });
    for (const event of events) {
      if (event.type !== 'acked' && event.type !== 'stored') continue;
      const n = Number((event.type === 'acked' ? event.item : event.items[0]!).slice(2));
      Object.assign(event, place(n));
      // What the history still has counts in the new one.
      if (event.type === 'stored') event.epoch = 'f';
    }
    if (!keeps)
      for (let n = 0; n < from; n++) remove(events, (event) => event.type === 'stored' && event.items[0] === item(n));
    events.push({ type: 'break', t: 100 * from + 50 });
    for (let c = 0; c < CLIENTS; c++) events.push({ ...reset, t: 100 * from + 60, client: `c${c}` });
  }

  it('finds nothing where a history is made anew or set back, and everybody is told', () => {
    for (const keeps of [true, false])
      assert.deepEqual(changed((events) => renewed(events, 12, { keeps })).problems, []);
  });

  it('counts as told what a client missed around another history, and finds what it missed later', () => {
    const verdict = changed((events) => {
      renewed(events, 12, { keeps: false });
      for (const n of [10, 11, 12]) remove(events, isItem('c1', n));
      remove(events, isItem('c1', 15));
    });
    // The reset told of what was before the push 12.
    assert.deepEqual([verdict.told, verdict.lost.middle, verdict.needless], [2, 2, 0]);
  });

  it('knows that a client that was away gets what a stream that was set back has kept', () => {
    const away = (change: (events: Event[]) => void = () => {}) =>
      changed((events) => {
        renewed(events, 12, { keeps: true });
        // It was away since the push 2, and was told that the room is behind the push 4.
        for (let n = 3; n < 12; n++) remove(events, isItem('c1', n));
        const reset = remove(events, (event) => event.type === 'reset' && event.client === 'c1');
        events.push({ ...reset, seq: seqOf(4) } as Event);
        for (const n of [5, 6, 7]) events.push({ type: 'item', t: 1_270 + n, client: 'c1', room: ROOM, item: item(n) });
        change(events);
      });
    const right = away();
    // What came after the push 7 was set back.
    assert.deepEqual([right.problems, right.told, right.disorder], [[], 6, 0]);
    const lost = away((events) => void remove(events, isItem('c1', 6)));
    assert.deepEqual([checks(lost), lost.lost.middle], [['A5'], 1], 'it has what follows');
    const late = away((events) => {
      const moved = remove(events, isItem('c1', 6));
      events.push({ ...moved, t: 1_450 });
    });
    assert.deepEqual([checks(late), late.disorder], [['A3'], 1]);
    const gone = away(
      (events) => void events.push({ type: 'item', t: 1_279, client: 'c1', room: ROOM, item: item(9) }),
    );
    assert.deepEqual([checks(gone), gone.disorder], [['A3'], 1], 'that place has another push now');
  });

  it('finds a client that was not told of another history, unless it cannot be told', () => {
    const untold = changed((events) => {
      renewed(events, 12, { keeps: false });
      remove(events, (event) => event.type === 'reset' && event.client === 'c1');
    });
    assert.deepEqual(checks(untold), ['A8']);
    const deaf = changed((events) => {
      renewed(events, 12, { keeps: false });
      remove(events, (event) => event.type === 'reset' && event.client === 'c1');
      for (const event of events) if (event.type === 'joined' && event.client === 'c1') event.form = 'go-push';
    });
    assert.deepEqual(deaf.problems, []);
  });

  it('accepts that a client that cannot be told of a reset lacks items once for each break of the store', () => {
    const lacking = (form: 'go-push' | 'v1', breaks: number[], ...lost: number[]) =>
      changed((events) => {
        for (const n of lost) remove(events, isItem('c1', n));
        for (const event of events) if (event.type === 'joined' && event.client === 'c1') event.form = form;
        for (const t of breaks) events.push({ type: 'break', t });
      });
    const cutOff = lacking('go-push', [750], 6, 7);
    assert.deepEqual([cutOff.problems, cutOff.cutOff, cutOff.told], [[], 2, 0]);
    assert.deepEqual(checks(lacking('go-push', [], 6, 7)), ['A5'], 'nothing had broken');
    assert.deepEqual(checks(lacking('go-push', [1_200], 6, 7)), ['A5'], 'it broke later');
    assert.deepEqual(checks(lacking('go-push', [-60_000], 6, 7)), ['A5'], 'it broke long before');
    assert.equal(lacking('go-push', [750], 6, 7, 12, 13).lost.middle, 2, 'a break accounts for one interruption');
    assert.deepEqual(checks(lacking('v1', [750], 6, 7)), ['A5'], 'others are told');
    const crossing = changed((events) => {
      renewed(events, 12, { keeps: false });
      remove(events, (event) => event.type === 'reset' && event.client === 'c1');
      for (const event of events) if (event.type === 'joined' && event.client === 'c1') event.form = 'go-push';
      for (const n of [11, 12, 15]) remove(events, isItem('c1', n));
    });
    assert.deepEqual([crossing.cutOff, crossing.lost.middle], [2, 1], 'the change of the history is that interruption');
  });

  it('knows that what was stored and delivered may be gone before it was answered, and stored again', () => {
    const again = changed((events) => {
      renewed(events, 12, { keeps: false });
      const attempt = events.find((event) => event.type === 'attempt' && event.item === item(12))!;
      attempt.t = 100 * 12 + 40;
      for (let c = 0; c < CLIENTS; c++)
        events.push({ type: 'item', t: 100 * 12 + 55, client: `c${c}`, room: ROOM, item: item(12) });
    });
    assert.deepEqual(again.problems, []);
  });

  it('finds another history that nothing explains', () => {
    const verdict = changed((events) => {
      renewed(events, 12, { keeps: false });
      remove(events, ({ type }) => type === 'break');
    });
    assert.ok(verdict.problems.some((problem) => problem.includes('another history without a reason')));
  });

  it('judges each connection of a client that does not resume up to its last item', () => {
    const closed = changed((events) => {
      for (let n = 14; n < PUSHES; n++) remove(events, isItem('c1', n));
      events.push({ type: 'closed', t: 1_600, client: 'c1', room: ROOM });
    });
    assert.deepEqual(closed.problems, []);
  });

  it('leaves rooms without history to others', () => {
    const verdict = changed((events) => {
      events.push({ type: 'room without history', t: 0, room: 'n' });
      events.push({ type: 'joined', t: 0, client: 'x', room: 'n' });
      events.push({ type: 'attempt', t: 100, room: 'n', item: 'x:1' });
      events.push({ type: 'told', t: 500, client: 'x', room: 'n', what: 'gap', items: 1 });
    });
    assert.deepEqual([verdict.problems, verdict.published], [[], PUSHES]);
  });

  it('finds a client that was told of losses in another way', () => {
    const verdict = changed((events) =>
      events.push({ type: 'told', t: 500, client: 'c0', room: ROOM, what: 'gap', items: 1 }),
    );
    assert.deepEqual(checks(verdict), ['told']);
  });

  it('finds what a store that was set back without another epoch does to positions', () => {
    const verdict = changed((events) => {
      events.push({ type: 'attempt', t: 2_100, room: ROOM, item: 'x:1' });
      events.push({ type: 'acked', t: 2_110, room: ROOM, item: 'x:1', epoch: 'e', seq: seqOf(10) });
      events.push({ type: 'stored', t: 9_000, room: ROOM, epoch: 'e', seq: seqOf(10), items: ['x:1'] });
    });
    assert.ok(checks(verdict).includes('A2') && checks(verdict).includes('A9'));
  });
});
