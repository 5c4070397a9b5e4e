import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { COUNTS, HistoryLoad, SPEC } from '../../harness/cluster/historyLoad.ts';
import { Live } from '../../harness/cluster/live.ts';
import { natsTls } from '../../harness/cluster/natsTls.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { until } from '../../harness/until.ts';

const ROLLOUT_MS = 300_000;
const { nats, ...others } = SPEC;
const ENCRYPTED = { ...others, nats: { managed: { ...nats.managed, tls: { enabled: true } } } };

describe('clients of rooms with history get every item once and in order, and are told of nothing, while', () => {
  let cluster: OpenCluster;
  let live: Live;
  let load: HistoryLoad | undefined;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'history', ENCRYPTED);
    load = await HistoryLoad.start(live);
  });
  after(async () => {
    load?.end();
    await live?.end();
    await cluster.close();
  });

  it('NATS accepts nothing but TLS, from clients and between servers', async () => {
    const servers = await live.pods('nats');
    assert.equal(servers.length, COUNTS.nats);
    for (const { ip } of servers) assert.deepEqual(await natsTls(ip), { clients: 'required', routes: true });
  });

  it('gateways are rolled out', (t) => load!.during(t, () => live.rollOut('gateway')));

  it('logic is rolled out', (t) => load!.during(t, () => live.rollOut('logic')));

  for (const count of [COUNTS.gateway - 1, COUNTS.gateway])
    it(`gateways are scaled to ${count}`, (t) =>
      load!.during(t, async () => {
        await live.kubectl('scale', 'push/live', `--replicas=${count}`);
        await live.served('gateway', count);
      }));

  it('a gateway is deleted', (t) =>
    load!.during(t, async () => {
      const [pod] = await live.pods('gateway');
      await live.kubectl('delete', 'pod', pod!.name, '--wait=false');
      await live.served('gateway', COUNTS.gateway, [pod!]);
    }));

  it('gateways are rolled out, of which one at a time terminates', (t) =>
    load!.during(t, async () => {
      // Each of them takes longer to leave than a new one takes to start.
      await live.patch({ gateway: { rollout: { maxTerminating: 1 }, drain: { rate: 1 } } });
      let isOver = false;
      let most = 0;
      const waited = new Set<string>();
      await Promise.all([
        live.rollOut('gateway').finally(() => {
          isOver = true;
        }),
        until(
          'the rollout is over',
          async () => {
            most = Math.max(most, (await live.pods('gateway')).filter(({ ending }) => ending).length);
            const { message = '' } = live.condition(await live.get(), 'Progressing') ?? {};
            if (message.includes('maxTerminating')) waited.add(message);
            return isOver;
          },
          ROLLOUT_MS,
        ),
      ]);
      for (const message of waited) t.diagnostic(message);
      assert.equal(most, 1);
      assert.ok(waited.size > 0, 'the rollout had to wait');
    }));
});
