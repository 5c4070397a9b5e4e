import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Connection } from '../harness/connection.ts';
import { Metrics } from '../harness/metrics.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';
import { until } from '../harness/until.ts';

const HOUR = 3_600_000;
/** Seconds that a busy machine may take for what takes milliseconds: far from the steps. */
const LONG = 120;

describe('a clock that is set', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-clock-'));
  const file = join(folder, 'clock');
  let standalone: Standalone;
  let client: Connection;
  let pushed = 0;

  function set(shards: number, others = shards) {
    writeFileSync(`${file}.next`, JSON.stringify({ shards, others }));
    renameSync(`${file}.next`, file);
  }

  before(async () => {
    set(0);
    const preload = new URL('../harness/setClock.ts', import.meta.url).href;
    standalone = await startStandalone(undefined, { CLOCK_FILE: file, NODE_OPTIONS: `--import ${preload}` });
    client = await Connection.open({ port: Number(new URL(standalone.socket).port), form: 'v1', keepItems: true });
    await client.join('r');
  });
  after(async () => {
    client.cut();
    await standalone.stop();
    rmSync(folder, { recursive: true });
  });

  async function push(id?: string): Promise<void> {
    const body = JSON.stringify({ to: { room: 'r' }, items: [++pushed], ...(id === undefined ? {} : { id }) });
    const headers = { 'content-type': 'application/json' };
    const { status } = await fetch(`${standalone.pushApi}/v1/push`, { method: 'POST', headers, body });
    assert.equal(status, 202);
  }

  type Times = { count: number; latency: number; publish: number; window: number };
  const metrics = async () => new Metrics(await (await fetch(`${standalone.admin}/metrics`)).text());
  async function times(): Promise<Times> {
    const now = await metrics();
    // Sums may well be 0.
    const value = (name: string) => now.by(name, '').get('') ?? 0;
    return {
      count: value('pushcluster_gateway_delivery_latency_seconds_count'),
      latency: value('pushcluster_gateway_delivery_latency_seconds_sum'),
      publish: value('pushcluster_logic_publish_seconds_sum'),
      window: value('pushcluster_gateway_batch_window_seconds_sum'),
    };
  }

  /** What is counted for three pushes, one after the other. */
  async function counted(): Promise<Times> {
    const before = await times();
    for (let i = 0; i < 3; i++) {
      await push();
      await until('it arrives', () => client.items.at(-1)?.text === String(pushed));
    }
    await until('it is counted', async () => (await times()).count === before.count + 3);
    const now = await times();
    return {
      count: now.count - before.count,
      latency: now.latency - before.latency,
      publish: now.publish - before.publish,
      window: now.window - before.window,
    };
  }

  for (const [what, by] of [
    ['on by an hour', HOUR],
    ['back by an hour', -HOUR],
    ['back by a year', -365 * 24 * HOUR],
    ['right again', 0],
  ] as const)
    it(`${what} makes no latency, duration or window wrong, and nothing late`, async () => {
      set(by);
      const { latency, publish, window } = await counted();
      for (const seconds of [latency, publish, window]) assert.ok(seconds >= 0 && seconds < LONG, `${seconds} s`);
    });

  it('for gateways only makes latencies wrong by that difference, and none negative', async () => {
    set(-HOUR, 0);
    const early = await counted();
    assert.ok(early.latency >= 0 && early.latency < 1e-6, `${early.latency} s`);
    set(HOUR, 0);
    const late = await counted();
    assert.ok(late.latency >= 3 * 3_600 && late.latency < 3 * 3_600 + LONG, `${late.latency} s`);
    for (const { publish, window } of [early, late])
      for (const seconds of [publish, window]) assert.ok(seconds >= 0 && seconds < LONG, `${seconds} s`);
    set(0);
    assert.ok((await counted()).latency < LONG);
  });

  it('neither lets a retry through nor forgets its id', async () => {
    for (const [i, by] of [HOUR, -HOUR, 0].entries()) {
      await push(`id-${i}`);
      await until('it arrives', () => client.items.at(-1)?.text === String(pushed));
      const dropped = (await metrics()).sum('pushcluster_gateway_push_retries_dropped_total');
      set(by);
      // The same request again.
      pushed--;
      await push(`id-${i}`);
      await until('the retry is dropped', async () => {
        return (await metrics()).sum('pushcluster_gateway_push_retries_dropped_total') > dropped;
      });
    }
    assert.equal(client.items.length, pushed);
  });
});
