import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { apply } from '../../harness/cluster/kubectl.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { installChart } from '../../harness/cluster/product.ts';
import { until } from '../../harness/until.ts';

describe('a PushCluster that is deleted', () => {
  let cluster: OpenCluster;
  let live: Live;
  let kinds: string[] = [];
  let key = '';
  before(async () => {
    cluster = await openCluster();
    await installChart(cluster.kubectl, cluster.helm);
    live = await Live.start(cluster.kubectl, 'deletion', { gateway: { drain: { settle: '0s', timeout: '5s' } } });
  });
  after(async () => {
    await live?.end();
    await cluster.close();
  });

  /** Everything in the namespace, of every kind that can be listed there; but events, which tell of what was. */
  async function everything(): Promise<string[]> {
    const names = await live.kubectl('get', kinds.join(','), '-o', 'name', '--ignore-not-found');
    return names
      .split('\n')
      .filter((name) => name !== '')
      .sort();
  }

  it('takes along all that was made for it, and nothing else', async (t) => {
    const bystander = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'bystander', namespace: 'deletion', labels: { 'pushcluster.dev/cluster': 'live' } },
    };
    await apply(cluster.kubectl, [bystander]);
    key = await live.key();
    // kubectl fails while an aggregated API is not available, such as one that another test's chart had.
    await until('all kinds are listed', async () => {
      const text = await cluster
        .kubectl(['api-resources', '--namespaced', '--verbs=list', '-o', 'name'])
        .catch(() => '');
      kinds = text
        .split('\n')
        .filter((kind) => kind !== '' && !kind.startsWith('events') && !kind.endsWith('metrics.k8s.io'));
      return kinds.length > 0;
    });
    const before = await everything();
    t.diagnostic(`there were ${before.length} objects`);
    assert.ok(before.length > 30);
    const began = performance.now();
    await live.kubectl('delete', 'pushcluster', 'live', '--wait=false');
    let left: string[] = [];
    await until(
      'only what others made is left',
      async () => {
        left = await everything();
        return left.length <= 3;
      },
      300_000,
    ).catch((error: Error) => assert.fail(`${error.message}: ${left.join(' ')}`));
    t.diagnostic(`gone after ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    assert.deepEqual(left, ['configmap/bystander', 'configmap/kube-root-ca.crt', 'serviceaccount/default']);
  });

  it('can be made anew under the same name, with a key of its own', async () => {
    await live.apply({});
    await live.whenReady();
    const again = new Live(cluster.kubectl, 'deletion');
    assert.notEqual(await again.key(), key);
    assert.equal((await again.push({ all: true }, ['1'])).status, 202);
  });

  it('can be made anew at once, while what the former one had still goes', async (t) => {
    const { uid } = (await live.get()).metadata;
    const began = performance.now();
    await live.kubectl('delete', 'pushcluster', 'live', '--wait=false');
    await live.apply({ gateway: { replicas: 1 } });
    await live.whenReady();
    t.diagnostic(`deleted, made and Ready after ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    assert.notEqual((await live.get()).metadata.uid, uid);
    const bad = ['--field-selector=involvedObject.kind=PushCluster,type=Warning', '-o', 'jsonpath={.items[*].message}'];
    assert.equal(await live.kubectl('get', 'events', ...bad), '');
  });

  it('is refused by the API server where it makes no sense, with a message that names the field', async () => {
    for (const [spec, says] of [
      [{ gateway: { batching: { maxDelay: '11s' } } }, /gateway\.batching\.maxDelay must be from 0s to 10s/],
      [{ gateway: { shards: 0 } }, /gateway\.shards must be from 1 to 256, or auto/],
      [{ auth: { anonymous: false } }, /auth\.anonymous is false but auth\.jwt is not set/],
    ] as const)
      await assert.rejects(live.apply(spec), says);
  });
});
