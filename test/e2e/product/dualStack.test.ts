import assert from 'node:assert/strict';
import { isIPv6 } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { z } from 'zod';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { Connection, cutAll } from '../../harness/connection.ts';
import { until } from '../../harness/until.ts';

const Service = z.object({ spec: z.object({ clusterIPs: z.array(z.string()), ipFamilyPolicy: z.string() }) });
const PodAddresses = z.object({
  items: z.array(z.object({ status: z.object({ podIPs: z.array(z.object({ ip: z.string() })) }) })),
});
const Slices = z.object({ items: z.array(z.object({ addressType: z.string() })) });
const FAMILIES = ['IPv4', 'IPv6'];
const OUT_MS = 120_000;

/** For a cluster of KUBECONFIG it says that nodes, pods and Services have both. */
const options = { skip: process.env.IP_FAMILY === 'DualStack' ? false : 'needs a cluster of IP_FAMILY=DualStack' };

describe('on a cluster with IPv4 and IPv6', options, () => {
  let cluster: OpenCluster;
  let live: Live;
  const connections: Connection[] = [];

  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'dual-stack', {
      gateway: { replicas: 2, drain: { settle: '20s' }, service: { ipFamilyPolicy: 'RequireDualStack' } },
      logic: { service: { ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv4', 'IPv6'] } },
    });
  });
  after(async () => {
    cutAll(connections);
    await live?.end();
    await cluster.close();
  });

  const service = async (role: 'gateway' | 'logic') =>
    Service.parse(JSON.parse(await live.kubectl('get', 'service', `live-${role}`, '-o', 'json'))).spec;
  const gatewayAddresses = async () => {
    const pods = ['get', 'pods', '-l', 'app.kubernetes.io/component=gateway', '-o', 'json'];
    const { items } = PodAddresses.parse(JSON.parse(await live.kubectl(...pods)));
    return items.flatMap(({ status }) => status.podIPs.map(({ ip }) => ip));
  };

  it('clients and publishers are served over each family, through Services and at pods', async (t) => {
    const clients = (await service('gateway')).clusterIPs;
    const publishers = (await service('logic')).clusterIPs;
    const pods = await gatewayAddresses();
    assert.deepEqual(
      [clients, publishers].map((each) => each.map(familyOf)),
      [FAMILIES, FAMILIES],
    );
    assert.deepEqual(pods.map(familyOf).sort(), [...FAMILIES, ...FAMILIES].sort());
    for (const host of [...clients, ...pods]) {
      const connection = await Connection.open({ host, port: 7_777, form: 'v1', keepItems: true });
      connections.push(connection);
      await connection.join('dual');
    }
    for (const address of publishers) {
      const body = JSON.stringify({ to: { room: 'dual' }, items: [address] });
      assert.equal((await live.ask('/v1/push', body, address)).status, 202);
    }
    const wanted = publishers.map((address) => JSON.stringify(address)).sort();
    for (const connection of connections) {
      const got = () => connection.items.map(({ text }) => text).sort();
      await until(`${connection.peer} gets both pushes`, () => got().length === wanted.length);
      assert.deepEqual(got(), wanted);
    }
    t.diagnostic(`clients at ${connections.map(({ peer }) => peer)}; pushes by ${publishers}`);
  });

  it('a gateway that leaves stays an endpoint of each family until load balancers have noticed', async () => {
    await live.patch({ gateway: { replicas: 1 } });
    const slices = [
      'get',
      'endpointslices',
      '-l',
      'endpointslice.kubernetes.io/managed-by=pushcluster.dev',
      '-o',
      'json',
    ];
    await until('both families have an endpoint that leaves', async () => {
      const { items } = Slices.parse(JSON.parse(await live.kubectl(...slices)));
      return FAMILIES.every((family) => items.some(({ addressType }) => addressType === family));
    });
    await live.served('gateway', 1);
  });

  it('Services are given one family and both again without being made anew', async () => {
    const [first] = (await service('gateway')).clusterIPs;
    const becomes = async (policy: string | null, families: readonly string[]) => {
      await live.patch({ gateway: { service: { ipFamilyPolicy: policy } } });
      await until(
        `with ${policy} the Service has ${families}`,
        async () => (await service('gateway')).clusterIPs.map(familyOf).join() === families.join(),
        OUT_MS,
      ).catch(async (error: Error) => {
        throw new Error(`${error.message}\n${await live.told()}`);
      });
      assert.equal((await service('gateway')).clusterIPs[0], first);
      await live.whenReady();
    };
    await becomes('SingleStack', ['IPv4']);
    await becomes('PreferDualStack', FAMILIES);
    // A field that is left out leaves what there is.
    await becomes(null, FAMILIES);
    await becomes('SingleStack', ['IPv4']);
  });
});

function familyOf(address: string): string {
  return isIPv6(address) ? 'IPv6' : 'IPv4';
}
