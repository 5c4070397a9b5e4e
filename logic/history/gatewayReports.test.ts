import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { GatewayReports } from './gatewayReports.ts';

describe('reports of gateways', () => {
  let clock: FakeClock;
  let known: string[];
  let asked: number;
  let reports: GatewayReports;
  let over: boolean;

  beforeEach(() => {
    clock = new FakeClock();
    [known, asked, over] = [['g1', 'g2'], 0, false];
    reports = new GatewayReports({ ask: () => asked++, gateways: () => known, clock });
  });

  const connect = () => {
    reports.connected();
    void reports.arriving!.then(() => {
      over = true;
    });
  };
  const hear = async (gateway: string, histories = {}) => {
    reports.hear({ gateway, histories });
    await new Promise(setImmediate);
  };

  it('are waited for until all known gateways have reported', async () => {
    connect();
    await hear('g1');
    assert.deepEqual([asked, over], [1, false]);
    await hear('g2');
    assert.deepEqual([over, reports.arriving, clock.timers], [true, undefined, 0]);
  });

  it('are waited for no longer than half a second', async () => {
    connect();
    await clock.pass(499);
    assert.equal(over, false);
    await clock.pass(1);
    assert.deepEqual([over, reports.arriving], [true, undefined]);
  });

  it('are all waited for by a process that knows no gateway', async () => {
    known = [];
    connect();
    await hear('g1');
    assert.equal(over, false);
    await clock.pass(500);
    assert.equal(over, true);
  });

  it('are asked for again when the bus was away', async () => {
    connect();
    await hear('g1');
    connect();
    await hear('g2');
    assert.equal(asked, 2);
    assert.ok(reports.arriving);
    await hear('g1');
    assert.equal(reports.arriving, undefined);
  });

  it('tell the largest number of each history', async () => {
    await hear('g1', { one: 5, two: 3 });
    const { reached } = reports;
    await hear('g2', { one: 4, two: 7 });
    assert.deepEqual([...reports.reached], [...Object.entries({ one: 5, two: 7 })]);
    assert.equal(reached.get('two'), 3, 'what was read before is as it was');
  });

  it('are remembered for the last histories', async () => {
    for (let i = 0; i < 1_100; i++) await hear('g1', { [`e${i}`]: i });
    assert.deepEqual([reports.reached.size, reports.reached.get('e1099')], [1_000, 1_099]);
  });
});
