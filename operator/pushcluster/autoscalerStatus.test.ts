import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Ref } from '../kube/objects.ts';
import { autoscalerStatus } from './autoscalerStatus.ts';
import { clusterOf } from './desired/fixture.ts';

type Conditions = Record<string, [status: string, reason?: string]>;

const GATEWAYS = clusterOf({ gateway: { autoscaling: { maxReplicas: 9, targetConnections: 9 } } });
const LOGIC = clusterOf({ logic: { autoscaling: { maxReplicas: 5 } } });
const BOTH = clusterOf({ gateway: GATEWAYS.spec.gateway, logic: LOGIC.spec.logic });
const KEDA = clusterOf({
  gateway: { autoscaling: { maxReplicas: 9, targetConnections: 9, keda: { prometheus: 'http://p:9090' } } },
});
const WORKS: Conditions = { AbleToScale: ['True'], ScalingActive: ['True'], ScalingLimited: ['False'] };

/** What is told of a cluster whose autoscalers report these conditions, by name. */
function told(cluster: typeof GATEWAYS, reports: Record<string, Conditions>) {
  const made = ({ kind, metadata: { name } }: Ref) => {
    const conditions = reports[`${kind[0]}/${name}`];
    if (!conditions) return undefined;
    const list = Object.entries(conditions).map(([type, [status, reason = type]]) => {
      return { type, status, reason, message: `${reason} of ${name}` };
    });
    const spec = { minReplicas: 2, maxReplicas: 9 };
    return { apiVersion: '', kind, metadata: { name }, spec, status: list.length > 0 ? { conditions: list } : {} };
  };
  return autoscalerStatus(cluster, { made });
}

describe('the condition Autoscaling', () => {
  it('is missing without an autoscaler', () => {
    assert.equal(told(clusterOf(), { 'H/live-gateway': WORKS }), undefined);
  });

  for (const [what, cluster, reports, isTrue, reason, message] of [
    ['says that one works', GATEWAYS, { 'H/live-gateway': WORKS }, true, 'Active', /scales from 2 to 9$/],
    ['waits for one that is not there', GATEWAYS, {}, false, 'Starting', /live-gateway does not exist yet/],
    ['waits for its first report', GATEWAYS, { 'H/live-gateway': {} }, false, 'Starting', /not reported its state yet/],
    [
      'has the reason and the words of one that can not scale',
      GATEWAYS,
      { 'H/live-gateway': { ...WORKS, AbleToScale: ['False', 'FailedGetScale'] } },
      false,
      'FailedGetScale',
      /^HorizontalPodAutoscaler live-gateway: FailedGetScale of live-gateway$/,
    ],
    [
      'has the reason of one that lacks metrics',
      GATEWAYS,
      { 'H/live-gateway': { ...WORKS, ScalingActive: ['False', 'FailedGetPodsMetric'] } },
      false,
      'FailedGetPodsMetric',
      /FailedGetPodsMetric of live-gateway/,
    ],
    [
      'says that more would be needed than is allowed',
      GATEWAYS,
      { 'H/live-gateway': { ...WORKS, ScalingLimited: ['True', 'TooManyReplicas'] } },
      true,
      'AtMaximum',
      /needs more than gateway\.autoscaling\.maxReplicas, 9$/,
    ],
    [
      'does not mind one at its minimum, or one that is slowed down',
      GATEWAYS,
      { 'H/live-gateway': { ...WORKS, ScalingLimited: ['True', 'TooFewReplicas'] } },
      true,
      'Active',
      /./,
    ],
    [
      'names the worst of two',
      BOTH,
      { 'H/live-gateway': WORKS, 'H/live-logic': { ScalingLimited: ['True', 'TooManyReplicas'] } },
      true,
      'AtMaximum',
      /live-logic needs more than logic\.autoscaling\.maxReplicas/,
    ],
    [
      'takes one that fails for worse than one at its maximum',
      BOTH,
      {
        'H/live-gateway': { ScalingLimited: ['True', 'TooManyReplicas'] },
        'H/live-logic': { ScalingActive: ['False'] },
      },
      false,
      'ScalingActive',
      /live-logic/,
    ],
    [
      'is that of the autoscaler that KEDA makes',
      KEDA,
      { 'S/live-gateway': { Ready: ['True'], Fallback: ['False'] }, 'H/keda-hpa-live-gateway': WORKS },
      true,
      'Active',
      /keda-hpa-live-gateway scales/,
    ],
    [
      'has what KEDA says of a ScaledObject that is not ready',
      KEDA,
      { 'S/live-gateway': { Ready: ['False', 'ScaledObjectCheckFailed'] }, 'H/keda-hpa-live-gateway': WORKS },
      false,
      'ScaledObjectCheckFailed',
      /^ScaledObject live-gateway: /,
    ],
    [
      'says that KEDA has no metrics',
      KEDA,
      { 'S/live-gateway': { Ready: ['True'], Fallback: ['True', 'FallbackExists'] }, 'H/keda-hpa-live-gateway': WORKS },
      false,
      'Fallback',
      /has no metrics/,
    ],
  ] as [string, typeof GATEWAYS, Record<string, Conditions>, boolean, string, RegExp][]) {
    it(what, () => {
      const found = told(cluster, reports);
      assert.deepEqual([found?.isTrue, found?.reason], [isTrue, reason]);
      assert.match(found?.message ?? '', message);
    });
  }
});
