import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Receipts } from './receipts.ts';

/** Time passes only when a test says so. */
let now = 0;
beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout'] });
  mock.method(performance, 'now', () => now);
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

async function pass(ms: number): Promise<void> {
  now += ms;
  mock.timers.tick(ms);
  // What is late is looked at two turns later.
  for (let turn = 0; turn < 3; turn++) await setImmediate();
}

/** Receipts whose PONGs come when the test says so. */
function fixture(timeout = 10_000) {
  const pings: PromiseWithResolvers<void>[] = [];
  const times = { out: 0 };
  const receipts = new Receipts(
    () => {
      const ping = Promise.withResolvers<void>();
      pings.push(ping);
      return ping.promise;
    },
    timeout,
    () => times.out++,
  );
  return { receipts, pings, times };
}

describe('receipts of a connection', () => {
  it('send one PING for all who came in a turn of the event loop, at its end', async () => {
    const { receipts, pings } = fixture();
    const all = [receipts.confirmed(), receipts.confirmed(), receipts.confirmed()];
    assert.equal(pings.length, 0);
    await setImmediate();
    assert.equal(pings.length, 1);
    pings[0]!.resolve();
    await Promise.all(all);
    assert.equal(pings.length, 1);
  });

  it('send the PING before the end of the turn if told to', () => {
    const { receipts, pings } = fixture();
    receipts.send();
    assert.equal(pings.length, 0, 'nobody has asked for it');
    void receipts.confirmed();
    receipts.send();
    receipts.send();
    assert.equal(pings.length, 1);
  });

  it('do not wait for the PONG of an earlier turn', async () => {
    const { receipts, pings } = fixture();
    void receipts.confirmed();
    await setImmediate();
    void receipts.confirmed();
    await setImmediate();
    assert.equal(pings.length, 2);
  });

  it('do not confirm to those who came after the PING', async () => {
    const { receipts, pings } = fixture();
    const first = receipts.confirmed();
    receipts.send();
    let confirmed = false;
    const second = receipts.confirmed().then(() => {
      confirmed = true;
    });
    pings[0]!.resolve();
    await first;
    await setImmediate();
    assert.equal(confirmed, false);
    pings[1]!.resolve();
    await second;
  });

  it('reject all who wait when the connection ends, and those who come later', async () => {
    const { receipts, pings } = fixture();
    const waiting = [receipts.confirmed()];
    receipts.whenAnswered(() => assert.fail('it was not answered'));
    receipts.send();
    waiting.push(receipts.confirmed());
    receipts.end('cable cut');
    for (const promise of [...waiting, receipts.confirmed()])
      await assert.rejects(promise, { name: 'BusUnconfirmed', message: 'cable cut' });
    await setImmediate();
    assert.equal(pings.length, 1, 'no PING is sent after the end');
  });

  it('tell of a PONG that does not come in time', async () => {
    const { receipts, times } = fixture(20);
    const waiting = receipts.confirmed();
    await pass(19);
    assert.equal(times.out, 0);
    await pass(1);
    assert.equal(times.out, 1);
    receipts.end('no receipt');
    await assert.rejects(waiting, { name: 'BusUnconfirmed' });
  });

  it('count the time of each PING from when it was asked for', async () => {
    const { receipts, pings, times } = fixture(60);
    const first = receipts.confirmed();
    await pass(10);
    const second = receipts.confirmed();
    await pass(40);
    pings[0]!.resolve();
    await first;
    await pass(19);
    assert.equal(times.out, 0);
    await pass(1);
    assert.equal(times.out, 1);
    receipts.end('no receipt');
    await assert.rejects(second, { name: 'BusUnconfirmed' });
  });

  it('tell of a refused message to those whose PONG has not come, and to no one after', async () => {
    const { receipts, pings } = fixture();
    const refused = [receipts.confirmed()];
    receipts.send();
    refused.push(receipts.confirmed());
    const answered = new Promise<void>((resolve) => receipts.whenAnswered(resolve));
    receipts.refuse('not permitted');
    receipts.send();
    for (const ping of pings) ping.resolve();
    for (const promise of refused) await assert.rejects(promise, { name: 'BusUnconfirmed', message: 'not permitted' });
    await answered;
    const fine = receipts.confirmed();
    receipts.send();
    pings[2]!.resolve();
    await fine;
  });
});
