import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newCounts, type ShardCounts } from '../ipc/counts.ts';
import { GatewayLoad, type LoadedShard } from './gatewayLoad.ts';

const counts = (some: Partial<ShardCounts>): ShardCounts => ({ ...newCounts(), ...some });

function started(shards: LoadedShard[], cores = 8) {
  let now = 0;
  let cpu = 0;
  const load = new GatewayLoad({ shards, cores, maxInFlight: () => 1_000, now: () => now });
  load.read({ user: 0, system: 0 });
  return (ms: number, hubCores: number) => {
    now += ms;
    cpu += hubCores * ms * 1_000;
    return load.read({ user: cpu, system: 0 });
  };
}

describe('the load of a gateway', () => {
  it('is that of its busiest process', () => {
    const shards = [
      { counts: counts({ cpuSeconds: 3, sentAt: 500 }), inFlight: 0 },
      { counts: counts({ cpuSeconds: 9, sentAt: 700 }), inFlight: 0 },
    ];
    const tick = started(shards);
    shards[0]!.counts = counts({ cpuSeconds: 3.6, sentAt: 1_500 });
    assert.ok(Math.abs(tick(1_000, 0.25).busy - 0.6) < 1e-9);
    shards[1]!.counts = counts({ cpuSeconds: 10.8, sentAt: 2_700 });
    assert.ok(Math.abs(tick(1_000, 0.25).busy - 0.9) < 1e-9);
    assert.ok(Math.abs(tick(1_000, 0.95).busy - 0.95) < 1e-9);
  });

  it('is that of all processes if they have fewer cores than that', () => {
    const shards = [{ counts: counts({ cpuSeconds: 0, sentAt: 0 }), inFlight: 0 }];
    const tick = started(shards, 1);
    shards[0]!.counts = counts({ cpuSeconds: 0.4, sentAt: 1_000 });
    assert.ok(Math.abs(tick(1_000, 0.3).busy - 0.7) < 1e-9);
  });

  it('has the longest delay of any loop, and the longest queue to a shard', () => {
    const tick = started([
      { counts: counts({ loopLag: 0.2 }), inFlight: 100 },
      { counts: undefined, inFlight: 300 },
    ]);
    assert.deepEqual(tick(1_100, 0), { busy: 0, lateMs: 200, backlog: 0.3 });
    assert.equal(tick(1_900, 0).lateMs, 900);
  });

  it('is none of a shard whose process is new', () => {
    const shards: { counts: ShardCounts | undefined; inFlight: number }[] = [
      { counts: counts({ cpuSeconds: 100, sentAt: 500 }), inFlight: 0 },
    ];
    const tick = started(shards);
    shards[0]!.counts = undefined;
    assert.equal(tick(1_000, 0).busy, 0);
    shards[0]!.counts = counts({ cpuSeconds: 1, sentAt: 2_000 });
    assert.equal(tick(1_000, 0).busy, 0);
  });
});
