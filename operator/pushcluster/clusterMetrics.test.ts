import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import type { Validity } from '@pushcluster/runtime/certificateMetrics.ts';
import { Registry } from 'prom-client';
import { NAMED_CLUSTERS, registerClusterMetrics } from './clusterMetrics.ts';

let registry: Registry;
let clusters: unknown[];
const certificates = new Map<string, Validity>();

beforeEach(() => {
  registry = new Registry();
  clusters = [];
  certificates.clear();
  registerClusterMetrics(
    registry,
    () => clusters,
    (key) => certificates.get(key),
  );
});

const lines = async (name: string) =>
  (await registry.metrics()).split('\n').filter((line) => line.startsWith(`pushcluster_operator_${name}`));

describe('metrics of PushClusters', () => {
  it('tell conditions and gateways of each', async () => {
    clusters.push({
      metadata: { name: 'live', namespace: 'shop' },
      spec: { gateway: { replicas: 3 } },
      status: {
        conditions: [
          { type: 'Ready', status: 'True' },
          { type: 'Degraded', status: 'False' },
          { type: 'SomebodyElses', status: 'True' },
        ],
        gateway: { readyReplicas: 2, draining: 1 },
      },
    });
    const of = 'cluster_namespace="shop",cluster_name="live"';
    assert.deepEqual(await lines('cluster_condition'), [
      `pushcluster_operator_cluster_condition{${of},condition="Ready"} 1`,
      `pushcluster_operator_cluster_condition{${of},condition="Degraded"} 0`,
    ]);
    assert.deepEqual(await lines('cluster_gateways'), [
      `pushcluster_operator_cluster_gateways{${of},state="wanted"} 3`,
      `pushcluster_operator_cluster_gateways{${of},state="ready"} 2`,
      `pushcluster_operator_cluster_gateways{${of},state="draining"} 1`,
    ]);
  });

  it('tell whether an autoscaler works, and whether it needs more than it may have', async () => {
    for (const [name, status, reason] of [
      ['a', 'True', 'AtMaximum'],
      ['b', 'True', 'Active'],
      ['c', 'False', 'FailedGetScale'],
    ])
      clusters.push({
        metadata: { name, namespace: 'shop' },
        status: { conditions: [{ type: 'Autoscaling', status, reason }] },
      });
    const values = async (metric: string) => (await lines(metric)).map((line) => line.slice(line.lastIndexOf(' ') + 1));
    assert.deepEqual(await values('cluster_condition'), ['1', '1', '0']);
    assert.deepEqual(await values('cluster_autoscaler_limited'), ['1', '0', '0']);
  });

  it('tell when the certificate of managed NATS expires, where it has one', async () => {
    for (const name of ['plain', 'secure']) clusters.push({ metadata: { name, namespace: 'shop' } });
    certificates.set('shop/secure', { ends: 2_000_000_000, lasts: 7_776_000 });
    certificates.set('shop/gone', { ends: 2_000_000_000, lasts: 7_776_000 });
    const of = '{cluster_namespace="shop",cluster_name="secure"}';
    assert.deepEqual(await lines('cluster_nats_certificate'), [
      `pushcluster_operator_cluster_nats_certificate_expiry_timestamp_seconds${of} 2000000000`,
      `pushcluster_operator_cluster_nats_certificate_lifetime_seconds${of} 7776000`,
    ]);
  });

  it('tell how much each server of managed NATS may store, where it stores', async () => {
    for (const [name, managed] of Object.entries({
      plain: {},
      disk: { jetstream: { storage: 'file', size: '10Gi' } },
      memory: { jetstream: { storage: 'memory' } },
    }))
      clusters.push({ metadata: { name, namespace: 'shop' }, spec: { nats: { managed } } });
    assert.deepEqual(await lines('cluster_jetstream'), [
      `pushcluster_operator_cluster_jetstream_bytes{cluster_namespace="shop",cluster_name="disk"} ${8 * 1024 ** 3}`,
      `pushcluster_operator_cluster_jetstream_bytes{cluster_namespace="shop",cluster_name="memory"} ${32 * 1024 ** 2}`,
    ]);
  });

  it('forget a cluster that is gone, and say nothing of what is not known yet', async () => {
    clusters.push({ metadata: { name: 'new', namespace: 'shop' } });
    assert.deepEqual(await lines('cluster_'), []);
    assert.deepEqual(await lines('clusters '), ['pushcluster_operator_clusters 1']);
    clusters.length = 0;
    assert.deepEqual(await lines('clusters '), ['pushcluster_operator_clusters 0']);
  });

  it('are bounded, and say how many there are beyond', async () => {
    for (let i = 0; i < NAMED_CLUSTERS + 50; i++)
      clusters.push({ metadata: { name: `c${i}`, namespace: 'n' }, spec: { gateway: { replicas: 1 } } });
    assert.equal((await lines('cluster_gateways')).length, NAMED_CLUSTERS);
    assert.deepEqual(await lines('clusters '), [`pushcluster_operator_clusters ${NAMED_CLUSTERS + 50}`]);
    assert.ok((await registry.metrics()).length < 1_000_000);
  });
});
