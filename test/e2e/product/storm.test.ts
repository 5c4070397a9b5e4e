import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { inUrl } from '../../harness/cluster/addressPlan.ts';
import { Live, type Pod } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { Lateness } from '../../harness/lateness.ts';
import { Storm } from '../../harness/storm.ts';
import { until } from '../../harness/until.ts';

/** Two processes of clients, since one may open only so many sockets. */
const CROWDS = [10_000, 10_000];
const VIEWERS = 200;
/** In which all are back, where the machine is not late; and how long is waited for them. */
const ALL_WITHIN_SECONDS = 60;
const PATIENCE_MS = 300_000;
const MAX_DELAY_MS = 1_000;
const HALF_A_CORE = { cpu: '500m', memory: '256Mi' };

describe('a storm of 20,000 clients on two gateway pods of half a core and 256 MiB', () => {
  let cluster: OpenCluster;
  let live: Live;
  let pods: Pod[];
  let viewers: Storm;
  const crowds: Storm[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'storm', {
      gateway: { replicas: 2, resources: { requests: HALF_A_CORE, limits: HALF_A_CORE } },
    });
    pods = await live.pods('gateway');
    const targets = pods.map(({ ip }) => `${inUrl(ip)}:7777`);
    viewers = await Storm.start({ targets, connections: VIEWERS });
    for (const connections of CROWDS) crowds.push(await Storm.start({ targets, connections }));
    await viewers.rage(PATIENCE_MS);
  });
  after(async () => {
    for (const each of [viewers, ...crowds]) each?.end();
    await live?.end();
    await cluster.close();
  });

  it('is over within a minute: nobody is killed for memory, and those who were there are served', async (t) => {
    await Promise.all(crowds.map((crowd) => crowd.rage(PATIENCE_MS)));
    const stop = new AbortController();
    const pushing = (async () => {
      while (!stop.signal.aborted) {
        await live.push({ room: 'live' }, ['1']);
        await setTimeout(100);
      }
    })();
    const { frames } = await viewers.counts();
    await until('pushes arrive', async () => (await viewers.counts()).frames >= frames + VIEWERS);
    viewers.watch();
    const lateness = Lateness.during(t);
    const counts = await Promise.all(crowds.map((crowd) => crowd.rage(PATIENCE_MS)));
    // The last window is still under way.
    await setTimeout(MAX_DELAY_MS);
    const viewed = await viewers.counts();
    stop.abort();
    await pushing;
    for (const { seconds, attempts, refused, resets } of counts)
      t.diagnostic(
        `10,000 in after ${seconds} s, ${attempts} attempts, refused ${JSON.stringify(refused)}, cut ${resets}`,
      );
    t.diagnostic(`longest silence of those who were there: ${viewed.silence} ms`);
    const now = await live.pods('gateway');
    for (const pod of now) {
      const status = PodStatus.parse(await (await fetch(`http://${inUrl(pod.ip)}:9090/status`)).json());
      t.diagnostic(`${pod.name}: ${status.connections} connections, pressure ${JSON.stringify(status.pressure)}`);
    }
    assert.deepEqual(now.map(({ uid, restarts }) => [uid, restarts]).sort(), pods.map(({ uid }) => [uid, 0]).sort());
    assert.deepEqual(
      [viewed.joined, viewed.resets, viewed.closes],
      [VIEWERS, 0, 0],
      'nobody who was there was dropped',
    );
    const late = lateness.total;
    assert.ok(viewed.silence <= MAX_DELAY_MS + 1_000 + late, `a viewer waited ${viewed.silence} ms`);
    for (const { seconds } of counts) assert.ok(seconds <= ALL_WITHIN_SECONDS + late / 1_000, `${seconds} s`);
  });
});
