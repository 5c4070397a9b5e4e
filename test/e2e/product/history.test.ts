import { after, before, describe, it } from 'node:test';
import { COUNTS, HistoryLoad, SPEC } from '../../harness/cluster/historyLoad.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';

describe('clients of rooms with history get every item once and in order, and are told of nothing, while', () => {
  let cluster: OpenCluster;
  let live: Live;
  let load: HistoryLoad | undefined;
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'history', SPEC);
    load = await HistoryLoad.start(live);
  });
  after(async () => {
    load?.end();
    await live?.end();
    await cluster.close();
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
});
