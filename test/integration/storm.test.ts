import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Lateness } from '../harness/lateness.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { Storm, type StormCounts } from '../harness/storm.ts';
import { until } from '../harness/until.ts';

const CROWD = 6_000;
const VIEWERS = 200;
/** Handshakes a second that each gateway takes on, and in how long all are in then where the machine is not late. */
const ACCEPT_RATE = 300;
const ALL_WITHIN_SECONDS = 60;
const PATIENCE_MS = 300_000;
const MAX_DELAY_MS = 1_000;
const MIB = 1_048_576;

describe('a storm of clients that all come back at once to two gateways', () => {
  let nats: NatsServer;
  let logic: LogicProcess;
  let gateways: GatewayProcess[];
  let targets: string[];
  let viewers: Storm;
  const storms: Storm[] = [];

  before(async () => {
    nats = await startNatsServer();
    const settings = {
      // By default a gateway refuses handshakes while its loop is late; the harness's gateways don't.
      gateway: {
        protection: { loopLag: 500 },
        shards: 1,
        batching: { maxDelay: MAX_DELAY_MS },
        connections: { acceptRate: 2_000 },
      },
    };
    logic = await startLogic({ nats: [nats.url] });
    gateways = [await startGateway({ settings, nats: [nats.url] }), await startGateway({ settings, nats: [nats.url] })];
    targets = gateways.map(({ port }) => `127.0.0.1:${port}`);
    viewers = await storm(VIEWERS, '127.2.0.1');
    await viewers.rage(PATIENCE_MS);
  });
  after(async () => {
    for (const each of storms) each.end();
    await Promise.all([...gateways, logic].map((process) => process.kill()));
    await nats.stop();
  });

  it('lets all in by the accept rate within a minute, and serves those who are there meanwhile', async (t) => {
    const crowd = await storm(CROWD, '127.1.0.1');
    await crowd.rage(PATIENCE_MS);
    for (const gateway of gateways) await gateway.configure({ gateway: { connections: { acceptRate: ACCEPT_RATE } } });
    await logic.hearsAll();
    const { counts, ...rest } = await servedDuring(() => crowd.rage(PATIENCE_MS));
    t.diagnostic(told('accept rate of 300 a second', { counts, ...rest }));
    const within = ALL_WITHIN_SECONDS + rest.late / 1_000;
    assert.ok(counts.seconds <= within, `${counts.seconds} s, of ${within}`);
    const perSecond = CROWD / counts.seconds;
    assert.ok(perSecond <= 2 * ACCEPT_RATE * (1 + 1 / counts.seconds), `${perSecond} a second`);
    assert.ok((counts.refused['429'] ?? 0) > 0, 'more came than the accept rate lets in');
    crowd.end();
  });

  it('lets all in at once without a rate, and refuses what it can’t take on at once', async (t) => {
    for (const gateway of gateways) await gateway.configure({ gateway: { connections: { acceptRate: 0 } } });
    await logic.hearsAll();
    const crowd = await storm(CROWD, '127.1.0.1');
    t.diagnostic(told('no accept rate', await servedDuring(() => crowd.rage(PATIENCE_MS))));
    crowd.end();
  });

  it('lets all in at once where the hub counts each address, and keeps every shard', async (t) => {
    for (const gateway of gateways) await gateway.configure({ gateway: { connections: { perIp: CROWD } } });
    await logic.hearsAll();
    const crowd = await storm(CROWD, '127.1.0.1');
    const storming = async () => {
      const stop = new AbortController();
      const stalling = stall(stop.signal);
      const counts = await crowd.rage(PATIENCE_MS);
      stop.abort();
      await stalling;
      return counts;
    };
    const served = await servedDuring(storming);
    t.diagnostic(told('counted by address', served));
    assert.equal(served.counts.resets, 0);
    for (const gateway of gateways)
      assert.equal((await gateway.metrics()).sum('pushcluster_gateway_shard_restarts_total'), 0);
    crowd.end();
  });

  /** Stops the shards for moments: all that comes meanwhile is handed over in one turn, in whose middle the hub is read. */
  async function stall(signal: AbortSignal): Promise<void> {
    const pids = gateways.flatMap(({ shardPids }) => shardPids);
    while (!signal.aborted) {
      for (const how of ['SIGSTOP', 'SIGCONT'] as const) {
        for (const pid of pids) process.kill(pid, how);
        await setTimeout(30);
      }
    }
  }

  async function storm(connections: number, first: string): Promise<Storm> {
    const started = await Storm.start({ targets, connections, sources: { first, count: 8 } });
    storms.push(started);
    return started;
  }

  /** Pushes an item every 100 ms, and asserts that those who are there get a frame within the window and a second. */
  async function servedDuring(work: () => Promise<StormCounts>) {
    const stop = new AbortController();
    const { signal } = stop;
    const pushing = (async () => {
      for (let n = 1; !signal.aborted; n++) {
        await logic.push({ room: 'live' }, [JSON.stringify({ n })]);
        await setTimeout(100);
      }
    })();
    const frames = (await viewers.counts()).frames;
    await until('pushes arrive', async () => (await viewers.counts()).frames >= frames + VIEWERS);
    viewers.watch();
    const waits = () => [...gateways.map((gateway) => waitedMs(gateway)), waitedMs(logic), waitedMs(nats)];
    const before = waits();
    const lateness = new Lateness();
    const counts = await work();
    // The last window is still under way.
    await setTimeout(MAX_DELAY_MS);
    const viewed = await viewers.counts();
    stop.abort();
    await pushing;
    lateness.stop();
    assert.equal(counts.joined, CROWD);
    assert.equal(viewed.joined, VIEWERS);
    assert.deepEqual([viewed.resets, viewed.closes], [0, 0], 'nobody who was there was dropped');
    // While others of this machine had its cores, nobody on an item's way could do better: logic, NATS, one of the gateways.
    const [first = 0, second = 0, ...others] = waits().map((wait, i) => wait - before[i]!);
    const waited = Math.max(first, second) + others.reduce((sum, wait) => sum + wait, 0);
    const allowed = MAX_DELAY_MS + 1_000 + waited;
    assert.ok(
      viewed.silence <= allowed,
      `a viewer waited ${viewed.silence} ms; its items ${waited} ms for a processor`,
    );
    return { counts, viewed, waited, late: lateness.total };
  }

  function told(what: string, { counts, viewed, waited }: Awaited<ReturnType<typeof servedDuring>>): string {
    const memory = gateways.map(
      ({ pid, shardPids }) =>
        `${[pid, ...shardPids].map((each) => `${Math.round(residentBytes(each) / MIB)}`).join(' + ')} MiB`,
    );
    return `${what}: ${CROWD} in after ${counts.seconds} s and ${counts.attempts} attempts (refused ${JSON.stringify(counts.refused)}, cut ${counts.resets}); longest silence ${viewed.silence} ms, items waited ${Math.round(waited)} ms for a core; hub + shard ${memory.join(', ')}`;
  }
});

/** Milliseconds that a process and its shards were ready to run and did not, since their start. */
function waitedMs({ pid, shardPids = [] }: { pid: number; shardPids?: number[] }): number {
  const waits = [pid, ...shardPids].map((each) =>
    Number(readFileSync(`/proc/${each}/schedstat`, 'utf8').split(' ')[1]),
  );
  return waits.reduce((sum, wait) => sum + wait, 0) / 1e6;
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024;
}
