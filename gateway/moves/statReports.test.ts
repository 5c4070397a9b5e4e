import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { MOVING_STAT_INTERVAL_MS, STAT_INTERVAL_MS, Stat } from '@pushcluster/protocol/control.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { pino } from 'pino';
import { ExceptionGuard } from '../hub/exceptionGuard.ts';
import { StatReports } from './statReports.ts';

describe("a gateway's reports", () => {
  let said: Stat[];
  let reports: StatReports;
  let connections: number;
  let errors: string[];
  let refused: boolean;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setInterval'] });
    said = [];
    connections = 1;
    errors = [];
    refused = false;
    const bus = new LocalBus();
    const guard = new ExceptionGuard(pino({ level: 'silent' }), (place) => errors.push(place));
    bus.publish = (subject, bytes) => {
      if (refused) throw new RangeError('over the bus’s limit');
      assert.equal(subject, 'p.ctl.stat.g');
      said.push(Stat.parse(JSON.parse(Buffer.from(bytes).toString())));
    };
    const totals = { rooms: 0, shards: 1, messagesDelivered: 0, framesSent: 0, bytesSent: 0, messagesDropped: 0 };
    const rest = { draining: false, startedAt: 0, rebalancing: false, busConnections: 1, histories: {}, template: 'a' };
    reports = new StatReports(bus, guard, 'p.ctl.stat.g', () => ({ gateway: 'g', connections, ...totals, ...rest }));
  });
  afterEach(() => {
    reports.end();
    mock.timers.reset();
  });

  it('come every two seconds, and every second while it moves connections', () => {
    mock.timers.tick(10 * STAT_INTERVAL_MS);
    assert.equal(said.length, 10);
    reports.changed(true);
    assert.equal(said.length, 11, 'at once');
    mock.timers.tick(10 * MOVING_STAT_INTERVAL_MS);
    assert.equal(said.length, 21);
    reports.changed(false);
    mock.timers.tick(STAT_INTERVAL_MS);
    assert.equal(said.length, 23);
  });

  it('that the bus does not take are counted, and throw into no timer and into nobody who says a change', () => {
    refused = true;
    mock.timers.tick(3 * STAT_INTERVAL_MS);
    reports.changed(true);
    assert.deepEqual(errors, ['publish', 'publish', 'publish', 'publish']);
    refused = false;
    mock.timers.tick(MOVING_STAT_INTERVAL_MS);
    assert.equal(said.length, 1);
  });

  it('say what is so now, and end with a last word', () => {
    connections = 7;
    reports.publish();
    reports.end();
    assert.deepEqual(
      said.map((stat) => [stat.connections, stat.leaving]),
      [
        [7, false],
        [7, true],
      ],
    );
    mock.timers.tick(10 * STAT_INTERVAL_MS);
    assert.equal(said.length, 2);
  });
});
