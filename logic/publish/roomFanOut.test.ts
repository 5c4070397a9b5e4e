import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BusOverloaded, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { fanOut } from './roomFanOut.ts';

/** Publishes to the rooms that `errors` lacks. */
const failing = (errors: Record<string, Error>) => (room: string) =>
  errors[room] ? Promise.reject(errors[room]) : Promise.resolve(undefined);

describe('a push to many rooms', () => {
  it('names the rooms that failed, with the code of each', async () => {
    const errors = { b: new BusUnavailable('x'), c: new BusOverloaded('x'), d: new BusUnconfirmed('x') };
    const { failures } = await fanOut(['a', 'b', 'c', 'd'], 1, failing(errors));
    assert.deepEqual(failures, [
      { room: 'b', code: 'bus_unavailable' },
      { room: 'c', code: 'overloaded' },
      { room: 'd', code: 'bus_unconfirmed' },
    ]);
  });

  it('is unconfirmed if every room failed and one may have been reached, unavailable if none was', async () => {
    const errors = { a: new BusUnconfirmed('x'), b: new BusUnavailable('x') };
    await assert.rejects(fanOut(['a', 'b'], 1, failing(errors)), BusUnconfirmed);
    await assert.rejects(fanOut(['b'], 1, failing(errors)), BusUnavailable);
  });

  it('passes on an error that no room can be blamed for', async () => {
    await assert.rejects(fanOut(['a', 'b'], 1, failing({ b: new TypeError('a fault') })), TypeError);
  });

  it('awaits a wave before it sends the next', async () => {
    const underWay: string[] = [];
    const seen: number[] = [];
    const publish = async (room: string) => {
      underWay.push(room);
      seen.push(underWay.length);
      await new Promise(setImmediate);
      underWay.pop();
      return undefined;
    };
    await fanOut(['a', 'b', 'c', 'd', 'e'], 4_000_000, publish);
    assert.deepEqual(seen, [1, 2, 1, 2, 1]);
  });
});
