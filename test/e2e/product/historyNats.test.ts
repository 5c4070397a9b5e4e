import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { drainNode } from '../../harness/cluster/drainNode.ts';
import { COUNTS, HistoryLoad, SPEC } from '../../harness/cluster/historyLoad.ts';
import { Live } from '../../harness/cluster/live.ts';
import { natsTls } from '../../harness/cluster/natsTls.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';

const DRAIN_MS = 300_000;
/** Servers restart one by one, gateways and logic are rolled out, and servers restart again. */
const TLS_MS = 900_000;

describe('clients of rooms with history get every item once and in order, and are told of nothing, while', () => {
  let cluster: OpenCluster;
  let live: Live;
  let load: HistoryLoad | undefined;
  const cordoned: string[] = [];
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'history-nats', SPEC);
    load = await HistoryLoad.start(live);
  });
  after(async () => {
    for (const node of cordoned) await cluster.kubectl(['uncordon', node]);
    load?.end();
    await live?.end();
    await cluster.close();
  });

  it('NATS servers that store in memory restart one by one', (t) => load!.during(t, () => live.rollOut('nats')));

  it('a node is drained of gateways, logic and NATS servers', (t) =>
    load!.during(t, async () => {
      const node = (await live.pods('nats'))[0]!.node;
      cordoned.push(node);
      await drainNode(cluster, node, DRAIN_MS);
      for (const role of ['gateway', 'logic', 'nats'] as const) await live.served(role, COUNTS[role]);
    }));

  it('TLS of NATS is turned on', (t) =>
    load!.during(t, async () => {
      const ofClients = async () => {
        const servers = await live.pods('nats');
        return Promise.all(servers.map(async ({ ip }) => (await natsTls(ip)).clients));
      };
      assert.deepEqual(await ofClients(), ['none', 'none', 'none']);
      await live.patch({ nats: { managed: { tls: { enabled: true, routes: false } } } });
      const isDone = (found: PushCluster) =>
        live.condition(found, 'Ready')?.status === 'True' && live.condition(found, 'Progressing')?.status === 'False';
      await live.when('all use TLS', isDone, TLS_MS);
      assert.deepEqual(await ofClients(), ['required', 'required', 'required']);
    }));
});
