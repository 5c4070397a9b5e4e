import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Connection, cutAll } from '../harness/connection.ts';
import { CountedMoves } from '../harness/countedMoves.ts';
import { openMany } from '../harness/manyConnections.ts';
import { type GatewayProcess, startGateway } from '../harness/processes.ts';
import type { SettingsInput } from '../harness/settingsFolder.ts';
import { until } from '../harness/until.ts';

/** A file as the kubelet shows an annotation: `drain` → `..data/drain`, and `..data` a link that each change replaces. */
class PodFile {
  readonly folder = mkdtempSync(join(tmpdir(), 'pushcluster-pod-'));
  readonly path = join(this.folder, 'drain');
  #versions = 0;

  constructor() {
    this.say('');
    symlinkSync('..data/drain', this.path);
  }

  say(text: string): void {
    const version = `..version_${++this.#versions}`;
    mkdirSync(join(this.folder, version));
    writeFileSync(join(this.folder, version, 'drain'), text);
    symlinkSync(version, join(this.folder, '..data_tmp'));
    renameSync(join(this.folder, '..data_tmp'), join(this.folder, '..data'));
  }
}

describe('a gateway that is told to drain by a file', () => {
  it('moves everyone at its pace, newcomers too, keeps listening, and says so; told otherwise it serves on', async (t) => {
    const rate = 50;
    const { gateway, file } = await start(t, { rate, timeout: '60s' });
    const { port } = gateway;
    const connections = [
      ...(await openMany(60, () => Connection.open({ port, form: 'plain' }))),
      ...(await openMany(60, () => Connection.open({ port, form: 'v1' }))),
    ];
    for (const connection of connections) connection.onReconnect = () => connection.close();
    await gateway.holds(120);
    assert.equal((await gateway.status()).draining, false);

    const counted = CountedMoves.of([gateway]);
    file.say(new Date().toISOString());
    await until('it drains', async () => (await gateway.status()).draining);
    assert.equal((await gateway.metrics()).sum('pushcluster_gateway_draining'), 1);
    assert.equal(await gateway.probe('/readyz'), 200);
    await until('all are gone', () => connections.every(({ closed }) => closed !== undefined));
    await until('their moves were seen', () => counted.total > 0.8 * connections.length);
    await counted.stop();
    const { share, text } = counted.fastest(rate);
    assert.ok(share <= 1.2, text);
    const late = await openMany(5, () => Connection.open({ port, form: 'plain' }));
    await until('newcomers are moved on', () => late.every(({ closed }) => closed === 1012));
    await until('it is empty, and still drains', async () => {
      const { connections: left, draining } = await gateway.status();
      return left === 0 && draining;
    });
    await until(
      'each was moved once',
      async () => (await gateway.metrics()).sum('pushcluster_gateway_moved_total', { reason: 'drain' }) === 125,
    );

    file.say('');
    await until('it serves', async () => !(await gateway.status()).draining);
    const welcome = await Connection.open({ port });
    await gateway.holds(1);
    await welcome.ping();
    assert.equal(welcome.closed, undefined);
    welcome.close();
  });

  it('leaves those alone that it has not asked yet, when the order is taken back', async (t) => {
    // So slow that half of them are left, even if a busy machine takes long to hear that the order is taken back.
    const { gateway, file } = await start(t, { rate: 2, timeout: '5m' });
    const connections = await openMany(100, () => Connection.open({ port: gateway.port }));
    file.say(new Date().toISOString());
    await until('some are gone', () => connections.some(({ closed }) => closed !== undefined));
    file.say('');
    await until('it serves', async () => !(await gateway.status()).draining);
    // Those who were asked last may still be on their way out, here or in what their shard has told.
    let open: Connection[] = [];
    let since = performance.now();
    await until('everybody agrees on who is left, for as long as two reports of a shard take', async () => {
      const count = open.length;
      open = connections.filter(({ closed }) => closed === undefined);
      const isAgreed = (await gateway.connections()) === open.length;
      if (!isAgreed || open.length !== count) since = performance.now();
      return performance.now() - since > 2_500;
    });
    assert.ok(open.length > 50, `${open.length} are left`);
    await Promise.all(open.map((connection) => connection.ping()));
    cutAll(open);
  });

  it('hurries where its time is nearly over, counted from the order and not from when it heard of it', async (t) => {
    const [hurried, other] = await Promise.all([1, 2].map(() => start(t, { rate: 1, timeout: '60s' })));
    assert.ok(hurried && other);
    const [connections = [], others = []] = await Promise.all(
      [hurried, other].map(({ gateway: { port } }) => openMany(100, () => Connection.open({ port }))),
    );
    const began = performance.now();
    // The other hears of its order at the same time, and its time begins then.
    other.file.say(new Date().toISOString());
    hurried.file.say(new Date(Date.now() - 30_000).toISOString());
    await until('all are gone', () => connections.every(({ closed }) => closed === 1012));
    const took = performance.now() - began;
    const left = others.filter(({ closed }) => closed === undefined).length;
    t.diagnostic(`gone after ${Math.round(took)} ms, when the other, whose order is new, had ${left} left`);
    assert.ok(left > 20, `the other has ${left} left`);
    assert.ok(took > 3_000, `a burst: gone after ${took} ms`);
    cutAll(others);
  });

  it('goes on with its leave when it is told to end meanwhile', async (t) => {
    const { gateway, file } = await start(t, { rate: 20, timeout: '30s' });
    const connections = await openMany(60, () => Connection.open({ port: gateway.port }));
    const counted = CountedMoves.of([gateway]);
    file.say(new Date().toISOString());
    await until('some are gone', () => connections.some(({ closed }) => closed !== undefined));
    gateway.signal('SIGTERM');
    assert.equal((await gateway.exit).code, 0);
    await until('all see it', () => connections.every(({ closed }) => closed === 1012));
    await counted.stop();
    const { share, text } = counted.fastest(20);
    assert.ok(counted.total > 0, 'the pace was seen');
    assert.ok(share <= 1.2, text);
  });
});

async function start(
  t: TestContext,
  drain: NonNullable<NonNullable<SettingsInput['gateway']>['drain']>,
): Promise<{ gateway: GatewayProcess; file: PodFile }> {
  const file = new PodFile();
  const gateway = await startGateway({
    settings: { gateway: { shards: 2, batching: { maxDelay: 100 }, drain: { settle: 0, file: file.path, ...drain } } },
  });
  t.after(async () => {
    await gateway.kill();
    gateway.folder.remove();
    rmSync(file.folder, { recursive: true });
  });
  return { gateway, file };
}
