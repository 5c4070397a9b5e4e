import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Registry } from 'prom-client';
import { newCounts, observeLatency, type ShardCounts } from '../ipc/counts.ts';
import { NO_READINGS } from '../simulation/readings.ts';
import { GatewayMetrics } from './gatewayMetrics.ts';

let registry: Registry;
let metrics: GatewayMetrics;
let shards: (ShardCounts | undefined)[];

beforeEach(() => {
  registry = new Registry();
  shards = [];
  metrics = new GatewayMetrics(registry, {
    ...NO_READINGS,
    gateway: 'g',
    startedAt: 7,
    shards: () => shards,
    rooms: () => 3,
    channels: () => ({ kept: 5, empty: 2, waiting: 1 }),
    draining: () => true,
    generation: () => 9,
  });
});

function counts(change: Partial<ShardCounts> = {}): ShardCounts {
  return { ...newCounts(), ...change };
}

/** The value of a line of the exposition, such as `gateway_rooms` or `gateway_refused_total{reason="origin"}`. */
async function value(series: string): Promise<number | undefined> {
  const line = (await registry.metrics()).split('\n').find((line) => line.startsWith(`pushcluster_${series} `));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

describe('the gateway’s metrics', () => {
  it('have all the names that the contract lists', async () => {
    const text = await registry.metrics();
    for (const name of [
      'connections',
      'connections_opened_total',
      'connections_closed_total',
      'refused_total',
      'rooms',
      'frames_sent_total',
      'messages_delivered_total',
      'bytes_sent_total',
      'messages_dropped_total',
      'batch_items',
      'batch_window_seconds',
      'delivery_latency_seconds',
      'shard_loop_lag_seconds',
      'fd_limit',
      'draining',
      'config_generation',
      'gaps_total',
      'recovered_messages_total',
    ])
      assert.ok(text.includes(`# TYPE pushcluster_gateway_${name} `), `no pushcluster_gateway_${name}`);
  });

  it('have a histogram of the lengths of windows', async () => {
    for (const seconds of [0.002, 0.0025, 1, 60]) metrics.mergeWindow.count(seconds);
    assert.equal(await value('gateway_merge_window_seconds_bucket{le="0.0025"}'), 2);
    assert.equal(await value('gateway_merge_window_seconds_bucket{le="1"}'), 3);
    assert.equal(await value('gateway_merge_window_seconds_bucket{le="+Inf"}'), 4);
    assert.equal(await value('gateway_merge_window_seconds_count'), 4);
  });

  it('add up over shards', async () => {
    metrics.add(counts({ opened: 5, framesSent: 7, messagesDelivered: 70, bytesSent: 700 }), undefined);
    metrics.add(counts({ opened: 2, framesSent: 1, messagesDelivered: 10, bytesSent: 100 }), undefined);
    assert.equal(await value('gateway_connections_opened_total'), 7);
    assert.equal(await value('gateway_frames_sent_total'), 8);
    assert.equal(await value('gateway_messages_delivered_total'), 80);
    assert.equal(await value('gateway_bytes_sent_total'), 800);
  });

  it('take the difference to a shard’s former report, and keep what one that died had counted', async () => {
    const first = counts({ opened: 5, closed: { '1000': 2 }, refused: { origin: 1 } });
    const second = counts({ opened: 9, closed: { '1000': 2, '1006': 4 }, refused: { origin: 3 } });
    metrics.add(first, undefined);
    metrics.add(second, first);
    // A new process counts from nothing.
    metrics.add(counts({ opened: 1, closed: { '1000': 1 } }), undefined);
    assert.equal(await value('gateway_connections_opened_total'), 10);
    assert.equal(await value('gateway_connections_closed_total{code="1000"}'), 3);
    assert.equal(await value('gateway_connections_closed_total{code="1006"}'), 4);
    assert.equal(await value('gateway_refused_total{reason="origin"}'), 3);
  });

  it('have every reason of dropped messages and refused handshakes from the start, so that an alert sees the first', async () => {
    for (const reason of ['slow', 'overload', 'bus_gap'])
      assert.equal(await value(`gateway_messages_dropped_total{reason="${reason}"}`), 0);
    for (const reason of ['origin', 'full', 'token'])
      assert.equal(await value(`gateway_refused_total{reason="${reason}"}`), 0);
    const first = counts({ dropped: { slow: 4, overload: 0, bus_gap: 1 } });
    metrics.add(first, undefined);
    metrics.add(counts({ dropped: { slow: 6, overload: 1, bus_gap: 1 } }), first);
    assert.equal(await value('gateway_messages_dropped_total{reason="slow"}'), 6);
    assert.equal(metrics.stats().messagesDropped, 8);
  });

  it('show delivery latency as a histogram, cumulative and with a count and a sum', async () => {
    const one = counts();
    observeLatency(one, 0.02, 3);
    const two = structuredClone(one);
    observeLatency(two, 0.6, 5);
    observeLatency(two, 30, 2);
    metrics.add(one, undefined);
    metrics.add(two, one);
    const bucket = (le: string) => value(`gateway_delivery_latency_seconds_bucket{le="${le}"}`);
    assert.deepEqual(
      await Promise.all(['0.01', '0.025', '0.5', '0.75', '10', '+Inf'].map(bucket)),
      [0, 3, 3, 8, 8, 10],
    );
    assert.equal(await value('gateway_delivery_latency_seconds_count'), 10);
    assert.ok(Math.abs((await value('gateway_delivery_latency_seconds_sum'))! - (0.06 + 3 + 60)) < 1e-9);
  });

  it('show what is now: sums of the shards that live, and each shard', async () => {
    shards = [
      counts({ connections: 4, fdLimit: 100, loopLag: 0.25 }),
      undefined,
      counts({ connections: 5, fdLimit: 50 }),
    ];
    assert.equal(await value('gateway_connections'), 9);
    assert.equal(await value('gateway_fd_limit'), 150);
    assert.equal(await value('gateway_rooms'), 3);
    assert.equal(await value('gateway_channels'), 5);
    assert.equal(await value('gateway_channels_empty'), 2);
    assert.equal(await value('gateway_rooms_waiting'), 1);
    assert.equal(await value('gateway_draining'), 1);
    assert.equal(await value('gateway_config_generation'), 9);
    assert.equal(await value('gateway_shard_loop_lag_seconds{shard="0"}'), 0.25);
    assert.equal(await value('gateway_shard_connections{shard="2"}'), 5);
    assert.equal(await value('gateway_shard_connections{shard="1"}'), undefined);
    shards = [undefined, undefined, undefined];
    assert.equal(await value('gateway_shard_connections{shard="0"}'), undefined, 'a shard that died is not shown');
  });

  it('are what the gateway reports of itself', () => {
    const one = counts({ connections: 4, framesSent: 2, messagesDelivered: 20, bytesSent: 200 });
    shards = [one, undefined];
    metrics.add(one, undefined);
    assert.deepEqual(metrics.stats(), {
      gateway: 'g',
      connections: 4,
      rooms: 3,
      shards: 1,
      messagesDelivered: 20,
      framesSent: 2,
      bytesSent: 200,
      messagesDropped: 0,
      draining: true,
      startedAt: 7,
    });
  });
});
