import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { pino } from 'pino';
import { newCounts, type ShardCounts } from '../ipc/counts.ts';
import { HubProtection } from './hubProtection.ts';

const log = pino({ level: 'silent' });
const settings = Settings.parse({});

describe('the hub’s part of the overload protection', () => {
  let now: number;
  let used: number;
  let looks: number;
  let residents: number[];
  let changes: number;
  let protection: HubProtection;

  beforeEach(() => {
    now = 1_000_000;
    used = 0.5;
    looks = 0;
    residents = [];
    changes = 0;
    protection = new HubProtection({
      settings: () => settings,
      log,
      memory: (resident) => {
        looks++;
        residents.push(resident);
        return { used: used * 1_000, limit: 1_000, of: 'cgroup' };
      },
      resident: () => 70,
      now: () => now,
      changed: () => changes++,
    });
  });

  const shard = (more: Partial<ShardCounts>): ShardCounts => ({ ...newCounts(), fdLimit: 1_000, ...more });

  /** A second later each shard reports; what it says was under way for `late` milliseconds. */
  function second(shards: ShardCounts[], late = 0): void {
    now += 1_000;
    for (let i = 0; i < shards.length; i++) protection.reported(now - late, shards);
  }

  it('looks once a second, however many shards report, and counts the memory of all', () => {
    const shards = [shard({ rss: 10 }), shard({ rss: 20 }), shard({ rss: 30 })];
    for (let i = 0; i < 5; i++) second(shards);
    assert.equal(looks, 5);
    assert.deepEqual(new Set(residents), new Set([130]));
  });

  it('shows the pressure of each resource: of the fullest shard, and of the later of hub and shards', () => {
    second([shard({ fds: 100, loopPressure: 0.1 }), shard({ fds: 400, loopPressure: 0.3 })], 50);
    assert.deepEqual(protection.pressure, { memory: 0.5, fds: 0.4, loop: 0.3 });
    for (let i = 0; i < 4; i++) second([shard({ fds: 100, loopPressure: 0.1 })], 400);
    assert.ok((protection.pressure.loop ?? 0) > 0.7);
  });

  it('keeps connections where they are while memory is short, and tells the shards when that begins and ends', () => {
    const shards = [shard({ connections: 300 }), shard({ connections: 200 })];
    second(shards);
    assert.deepEqual([protection.ceiling, protection.short, changes], [Number.POSITIVE_INFINITY, undefined, 0]);
    used = 0.92;
    second(shards);
    second(shards);
    assert.deepEqual([protection.ceiling, protection.short, changes], [500, 'memory', 1]);
    used = 0.8;
    second(shards);
    assert.deepEqual([protection.ceiling, protection.short, changes], [Number.POSITIVE_INFINITY, undefined, 2]);
  });

  it('refuses where the hub itself reads late, and no longer once it reads in time', () => {
    const shards = [shard({}), shard({})];
    second(shards, 700);
    assert.equal(protection.short, undefined, 'one late second may be a garbage collection');
    second(shards, 700);
    second(shards, 700);
    assert.equal(protection.short, 'loop');
    for (let i = 0; i < 3; i++) second(shards, 5);
    assert.equal(protection.short, undefined);
  });

  it('does not mind shards that are away', () => {
    now += 1_000;
    protection.reported(now, [undefined, shard({ fds: 10 })]);
    assert.equal(protection.pressure.fds, 0.01);
  });
});
