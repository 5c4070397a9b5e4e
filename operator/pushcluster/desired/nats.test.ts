import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { z } from 'zod';
import type { ManagedNats } from '../../api/spec/nats.ts';
import { managedNats } from './bus.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { natsStatefulSet } from './nats.ts';
import { natsConfig } from './natsConfig.ts';

const passwords = { apiKey: 'a', gateway: 'gw', logic: 'lg', routes: 'r/t' };

function statefulSet(managed: z.input<typeof ManagedNats> = {}) {
  const cluster = clusterOf({ nats: { managed } });
  return natsStatefulSet(cluster, managedNats(cluster)!, passwords, contextOf()).spec!;
}

function config(managed: z.input<typeof ManagedNats> = {}) {
  const cluster = clusterOf({ nats: { managed } });
  return natsConfig(cluster, managedNats(cluster)!, passwords);
}

describe('managed NATS', () => {
  it('is one server without a volume, so that it works on any cluster', () => {
    assert.equal(statefulSet().replicas, 1);
    assert.equal(statefulSet().volumeClaimTemplates, undefined);
    assert.doesNotMatch(config(), /^(cluster|jetstream)/m);
  });

  it('is there unless a URL is given', () => {
    assert.ok(managedNats(clusterOf()));
    assert.equal(managedNats(clusterOf({ nats: { url: 'nats://n', prefix: 'p' } })), undefined);
  });

  it('is a cluster of three or five servers that know each other and their password', () => {
    const text = config({ replicas: 3 });
    for (const i of [0, 1, 2])
      assert.ok(text.includes(`nats://routes:r%2Ft@live-nats-${i}.live-nats-peers.shop.svc:6222`));
    assert.ok(!text.includes('live-nats-3'));
    assert.match(text, /authorization \{ user: routes, password: "r\/t"/);
    assert.equal(statefulSet({ replicas: 5 }).replicas, 5);
  });

  it('is started all at once, and upgraded one by one', () => {
    const { podManagementPolicy, updateStrategy, minReadySeconds } = statefulSet({ replicas: 3 });
    assert.equal(podManagementPolicy, 'Parallel');
    assert.deepEqual(updateStrategy, { type: 'RollingUpdate' });
    assert.ok((minReadySeconds ?? 0) > 0);
  });

  it('is restarted when its configuration changes, since it reads that only then', () => {
    const annotation = (managed: z.input<typeof ManagedNats>) =>
      statefulSet(managed).template.metadata?.annotations?.['pushcluster.dev/nats-config'];
    assert.equal(annotation({}), annotation({ resources: {} }));
    assert.notEqual(annotation({}), annotation({ replicas: 3 }));
  });

  it('keeps streams on volumes of their own where it is told to, which go with the cluster', () => {
    const spec = statefulSet({ storage: { size: '2GiB', storageClassName: 'fast' } });
    const [claim] = spec.volumeClaimTemplates ?? [];
    assert.deepEqual(claim?.spec?.resources?.requests, { storage: '2Gi' });
    assert.equal(claim?.spec?.storageClassName, 'fast');
    assert.equal(spec.persistentVolumeClaimRetentionPolicy?.whenDeleted, 'Delete');
    assert.match(config({ storage: {} }), /jetstream \{ store_dir: \/data \}/);
  });

  it('lets its servers pass as restricted pods', () => {
    const { securityContext, containers } = statefulSet().template.spec!;
    assert.equal(securityContext?.runAsNonRoot, true);
    assert.equal(containers[0]?.securityContext?.readOnlyRootFilesystem, true);
  });
});
