import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Status } from '../api/pushCluster.ts';
import { type Observed, type Pods, statusOf, transitions } from './status.ts';

const NOW = '2026-01-02T03:04:05Z';
const LATER = '2026-01-02T03:05:00Z';
const pods = (wanted: number, ready = wanted, current = ready): Pods => ({ wanted, ready, current });

function observed(change: Partial<Observed> = {}): Observed {
  return {
    generation: 7,
    version: '1.2.0',
    gateway: {
      ...pods(3),
      replicas: 3,
      draining: 0,
      pods: { total: 3, ready: 3, terminating: 0 },
      left: undefined,
      connections: 1_000,
      selector: 'pushcluster.dev/cluster=live',
    },
    logic: pods(2),
    nats: { url: 'nats://live-nats:4222', wanted: 1, ready: 1, current: 1 },
    problems: [],
    scaling: { phase: 'steady', waits: undefined },
    summary: {
      refusals: [],
      ignored: [],
      historyFailures: [],
      fdLimits: [],
      behind: [],
      silent: [],
      notReady: [],
      fullest: undefined,
    },
    endpoints: {},
    ...change,
  };
}
const summary = (change: Partial<Observed['summary']>) => ({ summary: { ...observed().summary, ...change } });
const gateway = (change: Partial<Observed['gateway']>) => ({ gateway: { ...observed().gateway, ...change } });

/** `Ready=True/Ready`, and so on, of all conditions. */
function conditions(change: Partial<Observed>): Record<string, string> {
  const list = statusOf(observed(change), undefined, NOW).conditions ?? [];
  return Object.fromEntries(list.map(({ type, status, reason }) => [type, `${status}/${reason}`]));
}
const message = (type: string, change: Partial<Observed>) =>
  statusOf(observed(change), undefined, NOW).conditions?.find((each) => each.type === type)?.message;

describe('the status of a cluster', () => {
  it('is Ready where everything is as wanted', () => {
    assert.deepEqual(conditions({}), {
      Ready: 'True/Ready',
      Available: 'True/Serving',
      Progressing: 'False/Stable',
      Degraded: 'False/NoProblems',
    });
    const ready = '3 gateways and 2 logic pods are ready';
    assert.equal(message('Ready', {}), `${ready}; all gateways are below 80 % of their limits`);
    // Nothing is said of what is not known.
    assert.equal(message('Ready', gateway({ connections: undefined })), ready);
    const silent = [{ pod: 'live-gateway-y', why: 'no answer' }];
    assert.doesNotMatch(message('Ready', summary({ silent })) ?? '', /no gateway is at/);
  });

  it('says that anyone may connect, once and for as long as it is so, and is Ready all the same', () => {
    const exposed = 'anyone who reaches the load balancer may connect';
    const { Ready, Exposed } = conditions({ exposed });
    assert.deepEqual({ Ready, Exposed }, { Ready: 'True/Ready', Exposed: 'True/AnyoneMayConnect' });
    assert.equal(message('Exposed', { exposed }), exposed);
    const first = statusOf(observed({ exposed }), undefined, NOW);
    assert.deepEqual(Status.parse(first), first);
    const told = (before: Status | undefined, change: Partial<Observed>) =>
      transitions(before, statusOf(observed(change), before, LATER)).map(({ type }) => type);
    assert.deepEqual(told(undefined, { exposed }), ['Exposed']);
    assert.deepEqual(told(first, { exposed }), []);
    assert.deepEqual(told(first, {}), []);
  });

  it('is what the CRD says that it is', () => {
    const status = statusOf(observed(), undefined, NOW);
    assert.deepEqual(Status.parse(status), status);
    assert.equal(status.observedGeneration, 7);
    assert.deepEqual(status.nats, { url: 'nats://live-nats:4222', replicas: 1, readyReplicas: 1, ready: '1/1' });
    const external = statusOf(
      observed({ nats: { url: 'nats://x:4222', wanted: 0, ready: 0, current: 0 } }),
      undefined,
      NOW,
    );
    assert.deepEqual(external.nats, { url: 'nats://x:4222' });
    assert.equal(external.conditions?.[0]?.status, 'True');
  });

  it('never says that all is well while pods are missing', () => {
    const some = fc.integer({ min: 0, max: 3 });
    const ofRole = fc.tuple(some, some, some).map(([a, b, c]) => {
      const [current = 0, ready = 0, wanted = 0] = [a, b, c].sort();
      return pods(wanted, ready, current);
    });
    fc.assert(
      fc.property(
        ofRole,
        ofRole,
        fc.tuple(some, some),
        fc.constantFrom('steady', 'draining'),
        (of, logic, counts, phase) => {
          const [ready = 0, wanted = 0] = [...counts].sort();
          const nats = { url: 'nats://live-nats:4222', wanted, ready, current: ready };
          const change = {
            gateway: { ...observed().gateway, ...of },
            logic,
            nats,
            scaling: { phase, waits: undefined },
          };
          const status = statusOf(observed(change), undefined, NOW);
          assert.equal(status.gateway?.ready, `${of.ready}/${of.wanted}`);
          const isMissing = of.current < of.wanted || logic.current < logic.wanted || ready < wanted;
          if (!isMissing) return;
          for (const { type, reason, message } of status.conditions ?? []) {
            assert.doesNotMatch(message, /^no problems|as wanted|no changes/, type);
            if (of.current < of.wanted) assert.doesNotMatch(message, /all gateways are/, type);
            if (type === 'Ready') assert.notEqual(reason, 'Ready');
            if (type === 'Degraded') assert.match(message, /is not Ready: \d of \d|ScaledToZero|replicas is 0/);
          }
        },
      ),
    );
  });

  it('is not available where people get no pushes, and says why', () => {
    assert.match(conditions(gateway({ ready: 0, current: 0 })).Available ?? '', /^False\/NoGatewayReady/);
    assert.match(conditions({ logic: pods(2, 0) }).Available ?? '', /^False\/NoLogicReady/);
    assert.match(conditions(gateway({ wanted: 0, ready: 0, current: 0 })).Ready ?? '', /^False\/ScaledToZero/);
    const nats = { url: 'nats://live-nats:4222', wanted: 3, ready: 1, current: 1 };
    assert.equal(
      message('Available', { nats }),
      '1 of 3 NATS servers are ready: publishing requires more than half of them',
    );
    assert.match(conditions({ nats: { ...nats, ready: 2, current: 2 } }).Available ?? '', /^True/);
    assert.match(conditions({ nats: { ...nats, ready: 2, current: 2 } }).Ready ?? '', /^False\/NatsNotReady/);
  });

  it('tells what is under way: draining, a rollout, a start', () => {
    assert.equal(conditions(gateway({ draining: 1 })).Progressing, 'True/Draining');
    assert.equal(message('Progressing', gateway({ draining: 1 })), '1 gateway is draining');
    const drains = gateway({ draining: 2, left: 1_204 });
    assert.equal(message('Progressing', drains), '2 gateways are draining: 1,204 connections left');
    assert.equal(conditions(gateway({ draining: 1 })).Ready, 'True/Ready');
    assert.equal(conditions(gateway({ current: 1 })).Progressing, 'True/RollingOut');
    assert.equal(conditions(gateway({ current: 1 })).Ready, 'False/GatewaysNotReady');
    assert.equal(
      message('Progressing', gateway({ current: 1, draining: 1, left: 7 })),
      '1 of 3 gateways are updated and ready; 1 gateway is draining: 7 connections left',
    );
    assert.equal(conditions({ logic: pods(4, 2) }).Progressing, 'True/Starting');
    assert.equal(message('Progressing', { logic: pods(4, 2) }), '2 of 4 logic pods are ready');
    assert.equal(message('Available', { logic: pods(1, 0) }), '0 of 1 logic pods are ready: publishers cannot push');
    const alone = gateway({ wanted: 1, current: 0, ready: 1 });
    assert.equal(message('Progressing', alone), '0 of 1 gateways are updated and ready');
    assert.equal(message('Ready', alone), '0 of 1 gateways are updated and ready');
  });

  it('is Degraded with the words of the API server where something could not be applied', () => {
    const problems = [
      { object: 'Deployment live-gateway', reason: 'forbidden', message: 'exceeded quota: small' },
      { object: 'Service live-logic', reason: 'taken', message: 'is there already' },
    ] as const;
    assert.equal(conditions({ problems }).Degraded, 'True/Forbidden');
    assert.equal(conditions({ problems }).Ready, 'False/Forbidden');
    assert.equal(conditions({ problems }).Available, 'True/Serving');
    assert.equal(
      message('Degraded', { problems }),
      'Deployment live-gateway: exceeded quota: small (and 1 other problem)',
    );
    assert.equal(conditions({ problems: [problems[1]] }).Degraded, 'True/NameTaken');
  });

  it('is not Degraded where it waits for what a deleted one of its name has left', () => {
    const problems = ['Secret live-api-key', 'Service live-logic'].map((object) => ({
      ...{ object, reason: 'leaving' as const },
      message: `${object} belongs to a deleted PushCluster live and is being deleted`,
    }));
    assert.equal(conditions({ problems }).Degraded, 'False/NoProblems');
    assert.equal(conditions({ problems }).Progressing, 'True/NameLeaving');
    assert.equal(
      message('Progressing', { problems }),
      'waiting for deletion: Secret live-api-key belongs to a deleted PushCluster live and is being deleted (and 1 other object)',
    );
  });

  it('is Degraded where pods refused or ignore settings, or may open too few files', () => {
    const refusals = [{ pod: 'live-gateway-x', message: 'rooms[0].batching.maxDelay must be at most 10s' }];
    assert.equal(conditions(summary({ refusals })).Degraded, 'True/SettingsRefused');
    assert.equal(
      message('Degraded', summary({ refusals })),
      '1 pod rejected the settings and keeps the previous ones: live-gateway-x: rooms[0].batching.maxDelay must be at most 10s',
    );
    const ignored = [{ pod: 'live-gateway-x', version: '0.1.0', message: 'gateway.mirror: unknown key' }];
    assert.equal(conditions(summary({ ignored })).Degraded, 'True/SettingsIgnored');
    assert.equal(
      message('Degraded', summary({ ignored })),
      '1 pod of another version does not know some settings and ignores them: live-gateway-x (0.1.0): gateway.mirror: unknown key',
    );
    const historyFailures = [{ pod: 'live-logic-x', message: 'rooms "chat-*": JetStream: insufficient resources' }];
    assert.equal(conditions(summary({ historyFailures })).Degraded, 'True/HistoryNotStored');
    assert.equal(
      message('Degraded', summary({ historyFailures })),
      '1 logic pod cannot set up histories in NATS: live-logic-x: rooms "chat-*": JetStream: insufficient resources',
    );
    const fdLimits = [{ pod: 'live-gateway-x', limit: 1_024, wanted: 100_000, each: 1 }];
    assert.equal(conditions(summary({ fdLimits })).Degraded, 'True/FileLimitTooLow');
  });

  it('tells why a scale-down waits, that load is evened out, and who runs older settings', () => {
    const waits = { phase: 'steady', waits: 'live-gateway-x is not ready and would be deleted first' } as const;
    assert.equal(conditions({ scaling: waits }).Progressing, 'True/ScaleDownWaits');
    assert.equal(
      message('Progressing', { scaling: waits, ...gateway({ replicas: 4 }) }),
      'scaling down from 4 to 3 gateways; waiting: live-gateway-x is not ready and would be deleted first',
    );
    assert.equal(conditions({ scaling: { phase: 'rebalancing', waits: undefined } }).Progressing, 'True/Rebalancing');
    const natsChange = 'TLS of NATS is being turned on';
    assert.equal(conditions({ natsChange }).Progressing, 'True/NatsChanges');
    const restarting = { natsChange, nats: { url: 'nats://live-nats:4222', ready: 0, current: 0, wanted: 1 } };
    assert.equal(conditions(restarting).Progressing, 'True/Starting');
    assert.equal(message('Progressing', restarting), `0 of 1 NATS servers are ready; ${natsChange}`);
    const behind = ['live-gateway-x', 'live-gateway-y'].map((pod) => ({ uid: pod, pod }));
    assert.equal(
      message('Progressing', summary({ behind })),
      'live-gateway-x and 1 more have not loaded the current settings yet',
    );
    assert.equal(conditions(summary({ behind })).Ready, 'True/Ready');
  });

  it('names the pod that keeps it from being ready, and why; what does not go away by itself is Degraded', () => {
    const role = 'gateway';
    const stuck = { pod: 'live-gateway-y', role, why: 'its image cannot be pulled', isStuck: true } as const;
    const unplaced = {
      pod: 'live-gateway-x',
      role,
      why: 'cannot be scheduled: 0/2 nodes are available',
      isStuck: false,
    } as const;
    const starting = { ...gateway({ ready: 1, current: 1 }), ...summary({ notReady: [unplaced] }) };
    assert.equal(
      message('Ready', starting),
      '1 of 3 gateways are updated and ready; live-gateway-x: cannot be scheduled: 0/2 nodes are available',
    );
    assert.equal(
      message('Progressing', starting),
      '1 of 3 gateways are ready; live-gateway-x: cannot be scheduled: 0/2 nodes are available',
    );
    assert.equal(conditions(starting).Degraded, 'False/NoProblems');
    const none = { ...gateway({ ready: 0, current: 0 }), ...summary({ notReady: [stuck, unplaced] }) };
    assert.equal(
      message('Available', none),
      '0 of 3 gateways are ready: clients cannot connect; live-gateway-y: its image cannot be pulled (and 1 other pod)',
    );
    assert.equal(conditions(none).Degraded, 'True/PodsStuck');
    assert.equal(message('Degraded', none), 'live-gateway-y: its image cannot be pulled');
    assert.equal(conditions(none).Ready, 'False/NoGatewayReady');
  });

  it('is not Ready while NATS servers are replaced, also while all of them are ready', () => {
    const nats = { url: 'nats://live-nats:4222', wanted: 3, ready: 3 };
    for (const current of [0, 1, 2]) {
      const replaced = { nats: { ...nats, current } };
      assert.equal(conditions(replaced).Ready, 'False/NatsNotReady');
      assert.equal(conditions(replaced).Progressing, 'True/RollingOut');
      assert.equal(message('Progressing', replaced), `${current} of 3 NATS servers are updated and ready`);
      assert.match(conditions(replaced).Available ?? '', /^True/);
    }
    assert.equal(conditions({ nats: { ...nats, current: 3 } }).Ready, 'True/Ready');
  });

  it('names the NATS server that is not ready, and why', () => {
    const why = 'cannot be scheduled: 0/2 nodes are available';
    const unplaced = { pod: 'live-nats-0', role: 'nats', why, isStuck: false } as const;
    const other = { pod: 'live-gateway-x', role: 'gateway', why: 'it ends again and again', isStuck: true } as const;
    const nats = { url: 'nats://live-nats:4222', wanted: 3, ready: 1, current: 1 };
    const none = { nats, ...summary({ notReady: [other, unplaced] }) };
    assert.equal(
      message('Available', none),
      `1 of 3 NATS servers are ready: publishing requires more than half of them; live-nats-0: ${why}`,
    );
    const some = { nats: { ...nats, ready: 2, current: 2 }, ...summary({ notReady: [unplaced] }) };
    assert.equal(message('Ready', some), `2 of 3 NATS servers are updated and ready; live-nats-0: ${why}`);
    assert.equal(message('Progressing', some), `2 of 3 NATS servers are ready; live-nats-0: ${why}`);
    const stuck = {
      nats: { ...nats, ready: 2, current: 2 },
      ...summary({ notReady: [{ ...unplaced, isStuck: true }] }),
    };
    assert.equal(conditions(stuck).Degraded, 'True/PodsStuck');
    assert.equal(message('Degraded', stuck), `live-nats-0: ${why}`);
  });

  it('says which gateway is the fullest, and who does not answer, without being any less Ready', () => {
    const fullest = { pod: 'live-gateway-x', what: 'memory', share: 0.85 } as const;
    const silent = [{ pod: 'live-gateway-y', why: 'no response within 2 s' }];
    assert.equal(
      message('Ready', summary({ fullest, silent })),
      '3 gateways and 2 logic pods are ready; live-gateway-x is at 85 % of the memory usage at which it rejects new connections; ' +
        '1 pod did not respond to status requests: live-gateway-y: no response within 2 s',
    );
    assert.match(
      message('Available', summary({ fullest: { ...fullest, share: 1 } })) ?? '',
      /live-gateway-x rejects new connections: its memory is exhausted/,
    );
  });

  it('keeps the time of a condition until its status changes', () => {
    const first = statusOf(observed(), undefined, NOW);
    const same = statusOf(observed(gateway({ draining: 1 })), first, LATER);
    const times = (status: typeof first) =>
      Object.fromEntries((status.conditions ?? []).map(({ type, lastTransitionTime }) => [type, lastTransitionTime]));
    assert.deepEqual(times(same), { Ready: NOW, Available: NOW, Progressing: LATER, Degraded: NOW });
    assert.deepEqual(statusOf(observed(), first, LATER), first);
  });

  it('tells of an autoscaler once it has reported a problem, and of nothing while it starts', () => {
    const at = (reason: string, isTrue: boolean, before?: Status) =>
      statusOf(observed({ autoscaler: { isTrue, reason, message: reason } }), before, NOW);
    const told = (before: Status | undefined, after: Status) =>
      transitions(before, after).map(({ type, reason }) => `${type} ${reason}`);
    const [starting, active] = [at('Starting', false), at('Active', true)];
    const failing = at('FailedGetScale', false);
    assert.deepEqual(told(undefined, starting), []);
    assert.deepEqual(told(active, starting), []);
    assert.deepEqual(told(starting, active), []);
    assert.deepEqual(told(starting, failing), ['Autoscaling FailedGetScale']);
    assert.deepEqual(told(failing, active), ['Autoscaling Active']);
  });

  it('tells of transitions only: nothing where nothing changed, nor of a good beginning', () => {
    const first = statusOf(observed(), undefined, NOW);
    assert.deepEqual(transitions(undefined, first), []);
    assert.deepEqual(transitions(first, statusOf(observed(), first, LATER)), []);
    const drains = statusOf(observed(gateway({ draining: 2 })), first, LATER);
    assert.deepEqual(
      transitions(first, drains).map(({ type, reason }) => `${type} ${reason}`),
      ['Progressing Draining'],
    );
    const [nats, gateways] = [
      statusOf(observed({ nats: { ...observed().nats, wanted: 1, ready: 0, current: 0 } }), undefined, NOW),
      statusOf(observed(gateway({ ready: 0, current: 0 })), undefined, NOW),
    ];
    assert.deepEqual(
      transitions(nats, gateways).filter(({ type }) => type === 'Available'),
      [],
    );
    assert.deepEqual(
      transitions(first, gateways)
        .filter(({ type }) => type === 'Available')
        .map(({ reason }) => reason),
      ['NoGatewayReady'],
    );
    const problems = [{ object: 'Service live', reason: 'invalid', message: 'no' }] as const;
    const bad = statusOf(observed({ problems }), undefined, NOW);
    assert.deepEqual(
      transitions(undefined, bad).map(({ type }) => type),
      ['Degraded'],
    );
  });

  it('is never Ready without being Available, nor while it is Degraded', () => {
    const count = fc.nat(4);
    const role = fc.record({ wanted: count, ready: count, current: count });
    fc.assert(
      fc.property(role, role, role, fc.boolean(), (gateways, logic, nats, isBad) => {
        const found = conditions({
          ...gateway({ ...gateways, current: Math.min(gateways.current, gateways.ready) }),
          logic: { ...logic, current: Math.min(logic.current, logic.ready) },
          nats: { url: 'nats://x', ...nats, current: Math.min(nats.current, nats.ready) },
          problems: isBad ? [{ object: 'Service live', reason: 'invalid', message: 'no' }] : [],
        });
        if (!found.Ready?.startsWith('True')) return;
        assert.match(found.Available ?? '', /^True/);
        assert.match(found.Degraded ?? '', /^False/);
      }),
    );
  });
});
