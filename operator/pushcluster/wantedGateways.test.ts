import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { clusterOf } from './desired/fixture.ts';
import { wantedGateways } from './wantedGateways.ts';

type Gateway = { replicas?: number; autoscaling?: { minReplicas: number; maxReplicas: number } };
const fieldsV1 = { 'f:spec': { 'f:gateway': { 'f:replicas': {} } } };
const HPA = { manager: 'kube-controller-manager', subresource: 'scale', fieldsV1 };
const ARGO = { manager: 'argocd-controller', fieldsV1 };
const nobody: typeof ARGO | undefined = undefined;

const wanted = ({ autoscaling, ...gateway }: Gateway, current: number | undefined, owner?: typeof ARGO) =>
  wantedGateways(
    clusterOf(
      { gateway: { ...gateway, ...(autoscaling ? { autoscaling: { ...autoscaling, targetConnections: 9 } } : {}) } },
      owner ? { managedFields: [owner] } : {},
    ),
    current,
  );
const autoscaling = { minReplicas: 3, maxReplicas: 9 };

describe('the number of gateways that a PushCluster asks for', () => {
  for (const [what, gateway, current, owner, replicas, reason] of [
    ['is what was set', { replicas: 5 }, 8, ARGO, 5],
    ['is what was set to none', { replicas: 0 }, 8, ARGO, 0],
    ['is two where a new one sets none', {}, undefined, nobody, 2],
    ['stays where it is left out', {}, 6, nobody, 6, 'ReplicasKept'],
    ['begins with the least of the autoscaler', { autoscaling }, undefined, nobody, 3],
    ['begins with what is set, within the bounds', { autoscaling, replicas: 20 }, undefined, ARGO, 9],
    ['is the autoscaler’s', { autoscaling, replicas: 4 }, 8, HPA, 4],
    ['is within its bounds: not less', { autoscaling, replicas: 1 }, 1, HPA, 3],
    ['is within its bounds: not more', { autoscaling, replicas: 12 }, 12, HPA, 9],
    ['stays where an autoscaler is turned on and nobody sets it', { autoscaling }, 8, nobody, 8, 'ReplicasKept'],
    ['does not follow a manifest beside an autoscaler', { autoscaling, replicas: 2 }, 8, ARGO, 8, 'ReplicasIgnored'],
    ['says nothing where a manifest sets what is', { autoscaling, replicas: 8 }, 8, ARGO, 8],
    ['is none where somebody suspends the autoscaler', { autoscaling, replicas: 0 }, 8, HPA, 0],
    ['is not none by a manifest', { autoscaling, replicas: 0 }, 0, ARGO, 3, 'ReplicasIgnored'],
  ] as const) {
    it(what, () => {
      const found = wanted(gateway, current, owner);
      assert.deepEqual([found.replicas, found.because?.reason], [replicas, reason]);
    });
  }

  it('never falls because a field was left out or an autoscaler was turned on or off, but to its maximum', () => {
    const count = fc.integer({ min: 0, max: 30 });
    const bounds = fc.tuple(fc.integer({ min: 1, max: 9 }), count).map(([least, more]) => ({
      minReplicas: least,
      maxReplicas: least + more,
    }));
    const gateways = fc.record({ replicas: count, autoscaling: bounds }, { requiredKeys: [] });
    fc.assert(
      fc.property(gateways, count, fc.constantFrom(ARGO, nobody), (gateway, current, owner) => {
        fc.pre(gateway.replicas === undefined || (gateway.autoscaling !== undefined && owner === ARGO));
        const { replicas } = wanted(gateway, current, gateway.replicas === undefined ? nobody : owner);
        assert.ok(replicas >= Math.min(current, gateway.autoscaling?.maxReplicas ?? current));
        // What is written once is asked for from then on.
        assert.equal(wanted({ ...gateway, replicas }, replicas, { ...HPA }).replicas, replicas);
      }),
    );
  });
});
