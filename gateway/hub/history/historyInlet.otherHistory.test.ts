import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assertChained, InletFixture } from './inletFixture.ts';

describe('the inlet of a room whose history is made anew, set back or not known', () => {
  it('begins anew where the history was made anew', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    await fixture.pass(1_500);
    fixture.deliver(fixture.store.append(6));
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6]);
    assert.deepEqual(fixture.taken.at(-1)!.position, { seq: 1, previous: 0, epoch: 'second' });
    assert.equal(fixture.lost, 1);
  });

  it('takes all pushes of a history that was made anew, from the first whose number it had before', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    for (let i = 6; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5], 'nothing is passed on before it is known which history it is of');
    await fixture.pass(100);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert.deepEqual(
      new Set(fixture.taken.slice(5).map(({ position }) => position?.epoch)),
      new Set(['second']),
      'none counts in the first',
    );
    assert.equal(fixture.lost, 1);
  });

  it('takes all pushes after the history was set back, once it is another one', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 9; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    for (let i = 10; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_000);
    assert.equal(fixture.items.length, 9, 'whose numbers these are nobody has said yet');
    fixture.store.epoch = 'second';
    // Another room has the last number.
    fixture.store.last += 10;
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items.slice(9), [10, 11, 12]);
    assert.equal(fixture.lost, 1);
  });

  it('takes a push that was given the last number again, although the stream has yet to become another history', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 3; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.pushes.splice(2);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    const again = fixture.store.append(6);
    fixture.deliver(again);
    await fixture.pass(200);
    assert.equal(again.seq, 6);
    fixture.store.epoch = 'second';
    await fixture.pass(300);
    fixture.deliver(fixture.store.append(7));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 6, 7], 1]);
  });

  it('drops a push of a stream that is gone whose number came with another one, and goes on', async () => {
    const fixture = await InletFixture.begun();
    const late = fixture.store.append(1);
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    await fixture.pass(1_100);
    fixture.deliver(fixture.store.append(4));
    assert.equal(late.seq, 2);
    fixture.deliver(late);
    fixture.deliver(fixture.store.append(5));
    await fixture.pass(3_000);
    assert.deepEqual([fixture.items, fixture.lost], [[4, 5], 1]);
  });

  it('believes no former leader because nobody could be asked for long', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_100);
    const { last } = fixture.store;
    fixture.store.last = 2;
    await fixture.pass(1_100);
    assert.ok(fixture.monitor.isUncertain);
    fixture.store.away = true;
    await fixture.pass(17_000);
    assert.ok(!fixture.monitor.isUncertain, 'what comes is believed');
    fixture.store.away = false;
    await fixture.pass(1_500);
    fixture.store.last = last;
    await fixture.pass(1_500);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4, 5], 0]);
  });

  it('tells how far the stream had come, also once it was set back and in the history before', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    const { last } = fixture.store;
    assert.deepEqual([...fixture.monitor.reached], [['first', last]]);
    fixture.deliver({ seq: last + 500, previous: last + 400, bytes: fixture.store.pushes[0]!.bytes });
    fixture.store.last = 2;
    fixture.store.pushes.splice(1);
    await fixture.pass(20_000);
    assert.deepEqual([...fixture.monitor.reached], [['first', last]], 'what was not taken is left out');
    Object.assign(fixture.store, { epoch: 'second', last: 3 });
    await fixture.pass(1_100);
    assert.deepEqual(
      [...fixture.monitor.reached],
      [
        ['first', last],
        ['second', 3],
      ],
    );
  });

  it('believes nothing after it was away where a leader has another push in place of the last one, until it names the history', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.away();
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    for (let i = 8; i <= 10; i++) fixture.store.append(i);
    fixture.connected();
    await fixture.pass(3_000);
    fixture.deliver(fixture.store.append(11));
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5]);
    fixture.store.epoch = 'second';
    await fixture.pass(1_000);
    fixture.deliver(fixture.store.append(12));
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items.at(-1), fixture.lost, fixture.inlet.epoch], [12, 1, 'second']);
  });

  it('takes all pushes after the history was set back where nobody but this gateway notices, once that is certain', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 9; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_050);
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    for (let i = 10; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(20_000);
    assert.deepEqual(fixture.items.slice(9), [10, 11, 12]);
    assert.equal(fixture.lost, 1);
  });

  it('reads nothing in place of what was set back', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    const { pushes } = fixture.store;
    // Another room had the last number, and no server said how far it knew this one.
    fixture.store.last += 100;
    fixture.store.headless = true;
    await fixture.pass(1_050);
    fixture.store.headless = false;
    pushes.splice(2);
    fixture.store.last = pushes.at(-1)!.seq;
    for (let i = 6; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(3_000);
    fixture.store.epoch = 'second';
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('takes nothing that a read brings in place of what was set back', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.unreadable = true;
    fixture.store.append(6);
    fixture.deliver(fixture.store.append(7));
    fixture.store.last += 100;
    await fixture.pass(1_050);
    const { pushes } = fixture.store;
    pushes.splice(2);
    fixture.store.last = pushes.at(-1)!.seq;
    for (let i = 8; i <= 12; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.unreadable = false;
    await fixture.pass(3_000);
    fixture.store.epoch = 'second';
    await fixture.pass(3_000);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]);
    assert.equal(fixture.lost, 1);
  });

  it('holds about 512 KiB of pushes whose history is not known, and reads those beyond', async () => {
    const fixture = await InletFixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    fixture.inlet.ring.clear(fixture.inlet.head!);
    fixture.store.leaderless = true;
    fixture.deliver(deliveries[1]!);
    for (let i = 4; i <= 18; i++) fixture.deliver(fixture.store.append(i, 100_000));
    await fixture.pass(21_000);
    fixture.store.leaderless = false;
    await fixture.pass(2_000);
    assert.deepEqual(
      fixture.items,
      Array.from({ length: 18 }, (_, i) => i + 1),
    );
    assert.equal(fixture.counts.recovered, 9);
  });

  it('tells of a loss if it ends while it is not known which history pushes are of', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    fixture.deliver(fixture.store.append(6));
    fixture.inlet.close();
    assert.equal(fixture.lost, 1);
  });

  it('is held up by late repeats for no longer than a look at the store takes, and takes none of them', async () => {
    const fixture = await InletFixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    // The ring has given up what it had of them.
    fixture.inlet.ring.clear(fixture.inlet.head!);
    fixture.deliver(deliveries[1]!);
    fixture.deliver(fixture.store.append(4));
    await fixture.pass(50);
    fixture.deliver(fixture.store.append(5));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4, 5], 0]);
  });

  it('goes on where the store does not say whether a repeat is of another history', async () => {
    const fixture = await InletFixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    fixture.inlet.ring.clear(fixture.inlet.head!);
    fixture.store.away = true;
    fixture.deliver(deliveries[1]!);
    fixture.deliver(fixture.store.append(4));
    await fixture.pass(19_000);
    assert.deepEqual(fixture.items, [1, 2, 3]);
    await fixture.pass(2_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4], 0]);
  });

  it('reads nothing after an outage before it knows which history it is', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 2; i++) fixture.deliver(fixture.store.append(i));
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    for (let i = 3; i <= 8; i++) fixture.store.append(i);
    fixture.store.leaderless = true;
    fixture.connected();
    fixture.deliver(fixture.store.append(9));
    await fixture.pass(1_000);
    assert.deepEqual(fixture.items, [1, 2]);
    fixture.store.leaderless = false;
    await fixture.pass(2_000);
    const others = fixture.taken.slice(2).map(({ position }) => position?.epoch);
    assert.ok(
      others.every((epoch) => epoch === 'second'),
      others.join(),
    );
    fixture.deliver(fixture.store.append(10));
    assert.deepEqual([fixture.items.at(-1), fixture.lost], [10, 1]);
  });

  it('takes nothing after an outage before it knows which history it is, though it has a larger number', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 3; i++) fixture.deliver(fixture.store.append(i));
    await fixture.pass(1_100);
    fixture.away();
    // Other rooms have given the numbers again that this one had.
    Object.assign(fixture.store, { epoch: 'second', last: 100, leaderless: true });
    fixture.store.pushes.splice(1);
    fixture.connected();
    fixture.deliver(fixture.store.append(4));
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
    fixture.store.leaderless = false;
    await fixture.pass(2_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3, 4], 1]);
    assert.equal(fixture.taken.at(-1)!.position?.epoch, 'second');
  });

  it('goes on after an outage where nobody says for long which history it is', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.away();
    fixture.store.leaderless = true;
    fixture.connected();
    fixture.deliver(fixture.store.append(2));
    await fixture.pass(25_000);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
  });

  it('places those who come after the history was made anew in the new one', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.inlet.framesSent({ seq: fixture.store.last, epoch: 'first' });
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    await fixture.pass(1_500);
    assert.deepEqual(fixture.inlet.place(), { epoch: 'second', seq: 0 });
    assert.equal(fixture.inlet.isPending, false);
  });

  it('begins anew in another history, although questions after the news of it failed', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.headless = true;
    Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
    fixture.store.append(6);
    await fixture.pass(1_500);
    fixture.store.headless = false;
    fixture.deliver(fixture.store.append(7));
    await fixture.pass(1_000);
    assert.equal(fixture.items.at(-1), 7);
    assert.equal(fixture.lost, 1);
  });

  it('goes on where the numbers were set back, once that is certain', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 9; i++) fixture.deliver(fixture.store.append(i));
    fixture.store.pushes.splice(4);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    await fixture.pass(20_000);
    fixture.deliver(fixture.store.append(10));
    await fixture.pass(1_000);
    assert.equal(fixture.items.at(-1), 10);
    assert.ok(fixture.lost > 0);
  });

  it('takes nothing that came before the history was set back and could not be read, and goes on', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.append(2);
    const third = fixture.store.append(3);
    fixture.store.pushes.splice(1);
    fixture.store.last = fixture.store.pushes.at(-1)!.seq;
    fixture.deliver(third);
    await fixture.pass(20_000);
    fixture.deliver(fixture.store.append(4));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 4], 1]);
  });

  describe('where an earlier history is named', () => {
    /** A room in the second history of its stream, with three pushes. */
    async function renewed(): Promise<InletFixture> {
      const fixture = await InletFixture.begun();
      Object.assign(fixture.store, { epoch: 'second', last: 0, pushes: [] });
      await fixture.pass(1_100);
      for (let i = 1; i <= 3; i++) fixture.deliver(fixture.store.append(i));
      assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 1]);
      return fixture;
    }

    it('holds what comes, and goes on once the present one is named again: a server that restarts knows it late', async () => {
      const fixture = await renewed();
      fixture.store.epoch = 'first';
      await fixture.pass(1_100);
      fixture.deliver(fixture.store.append(4));
      await fixture.pass(8_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3], 'second', 1]);
      await assert.rejects(fixture.inlet.read(1), 'nobody knows which history that would be');
      fixture.store.epoch = 'second';
      await fixture.pass(2_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3, 4], 'second', 1]);
      assertChained(fixture);
    });

    it('tells once that the stream was set back where it becomes another history soon', async () => {
      const fixture = await renewed();
      Object.assign(fixture.store, { epoch: 'first', last: fixture.store.pushes[0]!.seq });
      fixture.store.pushes.length = 1;
      await fixture.pass(5_000);
      fixture.deliver(fixture.store.append(5));
      fixture.store.epoch = 'third';
      await fixture.pass(2_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3, 5], 'third', 2]);
    });

    it('goes on in the earlier one if it stays', async () => {
      const fixture = await renewed();
      fixture.store.epoch = 'first';
      await fixture.pass(20_000);
      fixture.deliver(fixture.store.append(4));
      await fixture.pass(1_000);
      assert.deepEqual([fixture.items, fixture.inlet.epoch, fixture.lost], [[1, 2, 3, 4], 'first', 2]);
    });
  });

  it('passes on what another history brings, and does not count by it', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    const [delivery] = [fixture.store.pushes[0]!];
    fixture.deliver({ seq: 5_005, previous: 5_004, bytes: delivery.bytes }, 'another');
    fixture.deliver(fixture.store.append(2));
    assert.deepEqual(fixture.items, [1, 1, 2]);
    assert.deepEqual(
      fixture.taken.map(({ position }) => position !== undefined),
      [true, false, true],
    );
  });
});
