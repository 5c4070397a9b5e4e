import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import type { Spec } from '../../api/pushCluster.ts';
import { desired, MADE_KINDS } from './desired.ts';
import { disruptionBudgets } from './disruptionBudgets.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { serviceAccounts } from './serviceAccounts.ts';

const service = { type: 'LoadBalancer', externalTrafficPolicy: 'Local' } as const;
const everything: z.input<typeof Spec> = {
  gateway: { autoscaling: { maxReplicas: 9, targetConnections: 20_000 }, service },
  logic: { autoscaling: { maxReplicas: 9 } },
  nats: { managed: { replicas: 3 } },
  monitoring: { rules: { enabled: true }, dashboards: { enabled: true } },
};
const Files = z.object({ defaultMode: z.number() }).optional();
const Workload = z.object({
  spec: z.object({
    template: z.object({
      spec: z.object({
        securityContext: z.looseObject({}),
        volumes: z.array(z.object({ secret: Files, projected: Files })),
      }),
    }),
  }),
});
const leaving = [{ name: 'live-gateway-1', uid: 'uid-of-a-pod', node: 'node1', addresses: ['10.0.0.1', 'fd00::1'] }];
const all = (spec: z.input<typeof Spec> = everything) =>
  desired(clusterOf(spec), contextOf({ serviceMonitors: true, leaving }));

describe('the objects of a cluster', () => {
  it('are owned by it, so that they go with it, and never keep it from going', () => {
    for (const { kind, metadata } of all())
      assert.deepEqual(
        metadata.ownerReferences,
        [
          {
            apiVersion: 'pushcluster.dev/v1alpha1',
            kind: 'PushCluster',
            name: 'live',
            uid: 'uid-of-live',
            controller: true,
            blockOwnerDeletion: false,
          },
        ],
        `${kind} ${metadata.name}`,
      );
  });

  it('are in its namespace, begin with its name and carry its label', () => {
    for (const { metadata } of all()) {
      assert.equal(metadata.namespace, 'shop');
      assert.ok(metadata.name.startsWith('live-'), metadata.name);
      assert.equal(metadata.labels['pushcluster.dev/cluster'], 'live');
    }
  });

  it('have the labels and annotations that all of them inherit, behind those of single ones', () => {
    const inheritedMetadata = { labels: { team: 'live', tier: 'a' }, annotations: { contact: 'live' } };
    const service = { labels: { tier: 'b' }, annotations: { contact: 'gateways' } };
    const made = all({ ...everything, inheritedMetadata, gateway: { ...everything.gateway, service } });
    for (const { kind, metadata } of made) {
      const isService = kind === 'Service' && metadata.name === 'live-gateway';
      assert.equal(metadata.labels.team, 'live', `${kind} ${metadata.name}`);
      assert.equal(metadata.labels.tier, isService ? 'b' : 'a', `${kind} ${metadata.name}`);
      assert.equal(metadata.annotations?.contact, isService ? 'gateways' : 'live', `${kind} ${metadata.name}`);
      assert.equal(metadata.labels['pushcluster.dev/cluster'], 'live');
    }
  });

  it('are each of their own', () => {
    const seen = all().map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    assert.equal(new Set(seen).size, seen.length);
  });

  it('are of the kinds that are watched, all of them', () => {
    const keda = { prometheus: 'http://prometheus:9090' };
    const autoscaling = { maxReplicas: 9, targetConnections: 20_000, keda };
    const made = new Set(
      [...all(), ...all({ gateway: { autoscaling, service } })].map(({ apiVersion, kind }) => `${apiVersion} ${kind}`),
    );
    assert.deepEqual([...made].sort(), MADE_KINDS.map(({ apiVersion, kind }) => `${apiVersion} ${kind}`).sort());
  });

  it('come in an order in which pods find what they need', () => {
    // No pod waits for dashboards.
    const kinds = all({ ...everything, monitoring: {} }).map(({ kind }) => kind);
    const first = Math.min(kinds.indexOf('Deployment'), kinds.indexOf('StatefulSet'));
    for (const needed of ['ServiceAccount', 'Secret', 'ConfigMap', 'Service', 'NetworkPolicy'])
      assert.ok(kinds.lastIndexOf(needed) < first, needed);
  });

  it('have pods of no fixed user, group and fsGroup where the operator is told so, whose files any user may read', () => {
    const podDefaults = { securityContext: {}, imagePullSecrets: [] };
    const made = desired(clusterOf(everything), contextOf({ podDefaults }));
    const roles = made.flatMap((object) => Workload.safeParse(object).data ?? []);
    assert.equal(roles.length, 3);
    for (const { spec } of roles) {
      const { securityContext, volumes } = spec.template.spec;
      assert.deepEqual(securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
      for (const { secret, projected } of volumes)
        for (const files of [secret, projected]) if (files) assert.equal(files.defaultMode, 0o444);
    }
  });

  it('have pods of the user, group and fsGroup that the operator is told', () => {
    const securityContext = { runAsUser: 1_000, runAsGroup: 1_001, fsGroup: 1_002 };
    const made = desired(clusterOf(everything), contextOf({ podDefaults: { securityContext, imagePullSecrets: [] } }));
    for (const { spec } of made.flatMap((object) => Workload.safeParse(object).data ?? []))
      assert.deepEqual(spec.template.spec.securityContext, {
        runAsNonRoot: true,
        seccompProfile: { type: 'RuntimeDefault' },
        ...securityContext,
      });
  });

  it('are the same each time, but for what is random', () => {
    assert.deepEqual(all(), all());
  });

  it('have names of 63 characters at most, those of pods too, for the longest name that is allowed', () => {
    const cluster = clusterOf(everything, { name: 'a'.repeat(36) });
    for (const { kind, metadata } of desired(cluster, contextOf({ serviceMonitors: true, leaving }))) {
      // A ReplicaSet adds two parts of up to ten and five characters, a StatefulSet a hash of ten in a label.
      const added = kind === 'Deployment' ? '-1234567890-12345' : kind === 'StatefulSet' ? '-1234567890' : '';
      assert.ok((metadata.name + added).length <= 63, `${kind} ${metadata.name}`);
    }
  });

  it('have a ServiceMonitor only where that kind is known and it is wanted', () => {
    const has = (serviceMonitors: boolean, serviceMonitor: boolean) =>
      desired(clusterOf({ monitoring: { serviceMonitor } }), contextOf({ serviceMonitors })).some(
        ({ kind }) => kind === 'ServiceMonitor',
      );
    assert.deepEqual([has(true, true), has(false, true), has(true, false)], [true, false, false]);
  });

  it('have nothing of NATS where it is given by URL', () => {
    const names = all({ nats: { url: 'nats://n', prefix: 'p' } }).map(({ metadata }) => metadata.name);
    assert.deepEqual(
      names.filter((name) => name.includes('nats')),
      [],
    );
  });
});

describe('ServiceAccounts', () => {
  it('have no token: no pod of a cluster asks the API server for anything', () => {
    for (const account of serviceAccounts(clusterOf())) assert.equal(account.automountServiceAccountToken, false);
  });
});

describe('PodDisruptionBudgets', () => {
  it('let one pod of a role go at a time, so that a single one, too, can be moved off its node', () => {
    const budgets = disruptionBudgets(clusterOf());
    assert.equal(budgets.length, 3);
    for (const { spec } of budgets) {
      assert.equal(spec?.maxUnavailable, 1);
      assert.equal(spec?.minAvailable, undefined);
    }
  });

  it('are what the PushCluster sets, for each role', () => {
    const budgets = disruptionBudgets(
      clusterOf({
        gateway: { disruptionBudget: { maxUnavailable: '10%' } },
        logic: { disruptionBudget: { minAvailable: 2 } },
        nats: { managed: { replicas: 5, disruptionBudget: { maxUnavailable: 2 } } },
      }),
    );
    const limits = budgets.map(({ spec }) => [spec?.maxUnavailable, spec?.minAvailable]);
    assert.deepEqual(limits, [
      ['10%', undefined],
      [undefined, 2],
      [2, undefined],
    ]);
  });

  it('are not made where the PushCluster wants none', () => {
    const roles = (spec: z.input<typeof Spec>) =>
      disruptionBudgets(clusterOf(spec)).map(({ metadata }) => metadata.labels['app.kubernetes.io/component']);
    const disruptionBudget = { enabled: false };
    assert.deepEqual(roles({ gateway: { disruptionBudget } }), ['logic', 'nats']);
    assert.deepEqual(roles({ logic: { disruptionBudget } }), ['gateway', 'nats']);
    assert.deepEqual(roles({ nats: { managed: { disruptionBudget } } }), ['gateway', 'logic']);
    assert.deepEqual(roles({ nats: { url: 'nats://n', prefix: 'p' } }), ['gateway', 'logic']);
  });

  it('do not let a pod that never became ready hold up a node', () => {
    for (const { spec } of disruptionBudgets(clusterOf()))
      assert.equal(spec?.unhealthyPodEvictionPolicy, 'AlwaysAllow');
  });
});
