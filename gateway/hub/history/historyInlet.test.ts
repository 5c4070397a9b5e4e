import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Delivery } from './fakeHistoryStore.ts';
import { assertChained, InletFixture } from './inletFixture.ts';

describe('the inlet of a room with a history', () => {
  it('takes what is delivered in order, with its position', async () => {
    const fixture = await InletFixture.begun();
    for (let i = 1; i <= 5; i++) fixture.deliver(fixture.store.append(i));
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5]);
    assert.deepEqual(fixture.taken[0]!.position, { seq: 2, previous: 0, epoch: 'first' });
    assertChained(fixture);
    assert.equal(fixture.store.reads, 0);
  });

  it('takes nothing twice, however late it comes again', async () => {
    const fixture = await InletFixture.begun();
    const deliveries = [1, 2, 3].map((i) => fixture.store.append(i));
    for (const delivery of [...deliveries, deliveries[1]!, deliveries[0]!, deliveries[2]!]) fixture.deliver(delivery);
    assert.deepEqual(fixture.items, [1, 2, 3]);
  });

  it('names the history of what was taken before anybody could, unless it was sent', async () => {
    const fixture = new InletFixture();
    fixture.store.away = true;
    fixture.inlet.subscribed();
    fixture.store.append(1);
    const deliveries = [2, 3].map((i) => fixture.store.append(i));
    for (const delivery of deliveries) fixture.deliver(delivery);
    await fixture.pass(2_500);
    assert.deepEqual(fixture.items, [2, 3]);
    assert.deepEqual(
      fixture.taken.map(({ position }) => position?.epoch),
      [undefined, undefined],
    );
    fixture.inlet.framesSent({ epoch: undefined, seq: deliveries[0]!.seq });
    fixture.inlet.adopt('first');
    assert.deepEqual(
      fixture.taken.map(({ position }) => position?.epoch),
      [undefined, 'first'],
    );
  });

  it('sends what a member that is ahead has in frames of its own', async () => {
    const fixture = await InletFixture.begun();
    const deliveries = [1, 2, 3, 4].map((i) => fixture.store.append(i));
    fixture.deliver(deliveries[0]!);
    fixture.inlet.isAhead(deliveries[1]!.seq);
    for (const delivery of deliveries.slice(1)) fixture.deliver(delivery);
    assert.deepEqual(fixture.flushedAfter, [2]);
    const { seq } = deliveries[3]!;
    fixture.inlet.framesSent({ epoch: 'first', seq });
    const later = fixture.store.append(5);
    fixture.inlet.isAhead(later.seq - 1);
    fixture.deliver(later);
    assert.deepEqual(fixture.flushedAfter, [2], 'nothing was pending');
  });

  it('reads what did not come once the next one does, and holds that until then', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    for (let i = 2; i <= 9; i++) fixture.store.append(i);
    fixture.deliver(fixture.store.append(10));
    assert.deepEqual(fixture.items, [1]);
    await fixture.pass(50);
    assert.deepEqual(fixture.items, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assertChained(fixture);
    assert.deepEqual([fixture.counts.repairs, fixture.lost], [1, 0]);
  });

  it('finds the last push although nothing follows it', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.append(2);
    await fixture.pass(4_000);
    assert.deepEqual(fixture.items, [1, 2]);
  });

  it('compares at once when the bus is back', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.append(2);
    fixture.connected();
    await fixture.pass(50);
    assert.deepEqual(fixture.items, [1, 2]);
  });

  it('begins after what was pushed before it was subscribed', async () => {
    const fixture = new InletFixture();
    fixture.store.append(1);
    fixture.inlet.subscribed();
    const second = fixture.store.append(2);
    fixture.deliver(second);
    await fixture.pass(50);
    assert.deepEqual(fixture.items, [2]);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual(fixture.items, [2, 3]);
  });

  it('begins with what is delivered where the store cannot be asked', async () => {
    const fixture = new InletFixture();
    fixture.store.away = true;
    fixture.inlet.subscribed();
    fixture.store.append(1);
    fixture.deliver(fixture.store.append(2));
    await fixture.pass(1_000);
    assert.deepEqual(fixture.items, []);
    await fixture.pass(1_500);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual(fixture.items, [2, 3]);
    assert.equal(fixture.taken[0]!.position?.epoch, undefined, 'nobody has said which history it is');
    fixture.store.away = false;
    await fixture.pass(2_000);
    fixture.deliver(fixture.store.append(4));
    assert.equal(fixture.taken.at(-1)!.position?.epoch, 'first');
  });

  it('reads again until a server that is behind has caught up', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.knownUpTo = fixture.store.last;
    fixture.store.append(2);
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(100);
    fixture.store.knownUpTo = Number.POSITIVE_INFINITY;
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
  });

  it('asks the leader where the others stay behind', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.knownUpTo = fixture.store.last;
    fixture.store.append(2);
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(5_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2, 3], 0]);
  });

  it('waits for a server that is behind where the leader cannot say whether limits have removed something', async () => {
    const fixture = new InletFixture();
    fixture.store.last = 500;
    fixture.inlet.subscribed();
    await fixture.pass(50);
    fixture.store.knownUpTo = 500;
    fixture.store.append(1);
    fixture.deliver(fixture.store.append(2));
    // Pushes of other rooms.
    fixture.store.last += 1_000;
    await fixture.pass(1_500);
    fixture.store.knownUpTo = Number.POSITIVE_INFINITY;
    await fixture.pass(1_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2], 0]);
  });

  it('goes on where limits have removed what it wanted, and tells that something is missing', async () => {
    const fixture = await InletFixture.begun();
    fixture.store.messages = 3;
    fixture.deliver(fixture.store.append(1));
    await fixture.pass(1_000);
    for (let i = 2; i <= 9; i++) fixture.store.append(i);
    fixture.deliver(fixture.store.append(10));
    await fixture.pass(1_000);
    assert.deepEqual(fixture.items, [1, 8, 9, 10]);
    assert.equal(fixture.lost, 1);
  });

  it('tells of nothing where what it took last has expired and nothing else', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    await fixture.pass(2_000);
    fixture.store.pushes = [];
    const next = fixture.store.append(2);
    assert.equal(next.previous, 0);
    fixture.deliver(next);
    await fixture.pass(100);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 2], 0]);
  });

  it('tells of what limits removed, however many answers the rest takes', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    await fixture.pass(1_000);
    for (let i = 2; i <= 1_500; i++) fixture.store.append(i);
    fixture.deliver(fixture.store.append(1_501));
    await fixture.pass(2_000);
    assert.deepEqual(fixture.items, [1, ...Array.from({ length: 1_000 }, (_, i) => 502 + i)]);
    assert.equal(fixture.lost, 1);
  });

  it('tells of what expired while the room was known to lack it', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.maxAge = 12_000;
    await fixture.pass(1_500);
    fixture.store.append(2);
    fixture.store.unreadable = true;
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(10_000);
    fixture.store.pushes.splice(0, 2);
    fixture.store.unreadable = false;
    await fixture.pass(2_000);
    assert.deepEqual([fixture.items, fixture.lost], [[1, 3], 1]);
  });

  it('takes what was pushed after it was subscribed, although the store knew of it before it was delivered', async () => {
    const fixture = new InletFixture();
    fixture.store.append(1);
    fixture.inlet.subscribed();
    const second = fixture.store.append(2);
    await fixture.pass(50);
    fixture.deliver(second);
    fixture.deliver(fixture.store.append(3));
    assert.deepEqual(fixture.items, [2, 3]);
  });

  it('gives up what cannot be read after a while, tells of it, and goes on', async () => {
    const fixture = await InletFixture.begun();
    fixture.deliver(fixture.store.append(1));
    fixture.store.unreadable = true;
    fixture.store.append(2);
    fixture.deliver(fixture.store.append(3));
    await fixture.pass(18_000);
    fixture.deliver(fixture.store.append(4));
    assert.deepEqual([fixture.items, fixture.lost], [[1, 3, 4], 1]);
  });

  it('leaves nobody waiting for another look where the room, or its policy, goes during one', async () => {
    for (const goes of ['room', 'policy'] as const) {
      const fixture = await InletFixture.begun();
      const outcomes: string[] = [];
      for (let i = 0; i < 2; i++)
        fixture.inlet.looked().then(
          () => outcomes.push('known'),
          () => outcomes.push('gone'),
        );
      if (goes === 'room') fixture.inlet.close();
      else fixture.monitor.close();
      await fixture.pass(50);
      assert.deepEqual(outcomes, goes === 'room' ? ['known', 'known'] : ['known', 'gone'], goes);
    }
  });

  it('takes everything once and in order, whatever is lost, late, repeated, behind or away', async () => {
    type Step = { type: 'push' | 'drop' | 'late' | 'pass' | 'away' | 'back' | 'behind' | 'caughtUp' | 'reconnect' };
    const steps = fc.array(
      fc.record({
        type: fc.constantFrom<Step['type']>(
          ...(['push', 'push', 'push', 'drop', 'drop', 'late', 'pass', 'away', 'back', 'behind', 'caughtUp'] as const),
          'reconnect',
        ),
      }),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (all) => {
        const fixture = await InletFixture.begun();
        const { store } = fixture;
        const late: Delivery[] = [];
        let pushed = 0;
        for (const { type } of all) {
          if (type === 'push') fixture.deliver(store.append(++pushed));
          if (type === 'drop') late.push(store.append(++pushed));
          if (type === 'late') for (const delivery of late.slice(-3)) fixture.deliver(delivery);
          if (type === 'pass') await fixture.pass(300);
          if (type === 'away') store.away = true;
          if (type === 'back') store.away = false;
          if (type === 'behind') store.knownUpTo = store.last;
          if (type === 'caughtUp') store.knownUpTo = Number.POSITIVE_INFINITY;
          if (type === 'reconnect') fixture.connected();
        }
        Object.assign(store, { away: false, knownUpTo: Number.POSITIVE_INFINITY });
        await fixture.pass(8_000);
        assert.deepEqual(
          fixture.items,
          Array.from({ length: pushed }, (_, i) => i + 1),
        );
        assertChained(fixture);
        assert.equal(fixture.lost, 0);
      }),
      { numRuns: 100 },
    );
  });
});
