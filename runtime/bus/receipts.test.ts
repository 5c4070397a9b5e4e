import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Receipts } from './receipts.ts';

/** Receipts whose PONGs come when the test says so. */
function fixture(timeout = 10_000) {
  const pings: PromiseWithResolvers<void>[] = [];
  const timedOut = Promise.withResolvers<void>();
  const receipts = new Receipts(
    () => {
      const ping = Promise.withResolvers<void>();
      pings.push(ping);
      return ping.promise;
    },
    timeout,
    timedOut.resolve,
  );
  return { receipts, pings, timedOut: timedOut.promise };
}

describe('receipts of a connection', () => {
  it('send one PING for all who came while the one before was under way', async () => {
    const { receipts, pings } = fixture();
    const first = receipts.confirmed();
    const later = [receipts.confirmed(), receipts.confirmed(), receipts.confirmed()];
    assert.equal(pings.length, 1);
    pings[0]!.resolve();
    await first;
    assert.equal(pings.length, 2);
    pings[1]!.resolve();
    await Promise.all(later);
    assert.equal(pings.length, 2);
  });

  it('do not confirm to those who came after the PING', async () => {
    const { receipts, pings } = fixture();
    const first = receipts.confirmed();
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
    const { receipts } = fixture();
    const waiting = [receipts.confirmed(), receipts.confirmed()];
    receipts.whenAnswered(() => assert.fail('it was not answered'));
    receipts.end('cable cut');
    for (const promise of [...waiting, receipts.confirmed()])
      await assert.rejects(promise, { name: 'BusUnconfirmed', message: 'cable cut' });
  });

  it('tell of a PONG that does not come in time', async () => {
    const { receipts, timedOut } = fixture(20);
    const waiting = receipts.confirmed();
    await timedOut;
    receipts.end('no receipt');
    await assert.rejects(waiting, { name: 'BusUnconfirmed' });
  });

  it('count the time of those who share the next PING from when they came', async () => {
    const { receipts, pings, timedOut } = fixture(60);
    const first = receipts.confirmed();
    const begun = performance.now();
    const second = receipts.confirmed();
    second.catch(() => {});
    while (performance.now() - begun < 50) await setImmediate();
    pings[0]!.resolve();
    await first;
    await timedOut;
    assert.ok(performance.now() - begun < 100, `${performance.now() - begun} ms`);
  });

  it('tell of a refused message to those who share its receipt, and to no one after', async () => {
    const { receipts, pings } = fixture();
    const refused = receipts.confirmed();
    const answered = new Promise<void>((resolve) => receipts.whenAnswered(resolve));
    receipts.refuse('not permitted');
    pings[0]!.resolve();
    await assert.rejects(refused, { name: 'BusUnconfirmed', message: 'not permitted' });
    pings[1]!.resolve();
    await answered;
    const fine = receipts.confirmed();
    pings[2]!.resolve();
    await fine;
  });
});
