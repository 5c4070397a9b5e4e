import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { z } from 'zod';
import type { Spec } from '../../api/pushCluster.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { gatewayDeployment } from './gateway.ts';
import { logicDeployment } from './logic.ts';
import { networkPolicies } from './networkPolicies.ts';
import { serviceMonitor } from './serviceMonitor.ts';
import { services } from './services.ts';

function service(name: string, spec: z.input<typeof Spec> = {}) {
  return services(clusterOf(spec)).find(({ metadata }) => metadata.name === name)?.spec;
}

function policy(name: string, spec: z.input<typeof Spec> = {}) {
  return networkPolicies(clusterOf(spec)).find(({ metadata }) => metadata.name === name)?.spec;
}

describe('the gateway Service', () => {
  it('sends clients only to gateways that serve', () => {
    assert.equal(service('live-gateway')?.selector?.['pushcluster.dev/serving'], 'true');
  });

  it('is reached only inside of Kubernetes, unless told otherwise', () => {
    assert.equal(service('live-gateway')?.type, 'ClusterIP');
  });

  it('keeps the addresses of clients from outside, unless told otherwise', () => {
    for (const type of ['LoadBalancer', 'NodePort'] as const) {
      const spec = service('live-gateway', { gateway: { service: { type } } });
      assert.deepEqual([spec?.type, spec?.externalTrafficPolicy], [type, 'Local']);
    }
  });

  it('says nothing of outside traffic where there is none: the API server would refuse it', () => {
    assert.equal(service('live-gateway')?.externalTrafficPolicy, undefined);
  });

  it('listens on the port that is wanted, and reaches pods on theirs', () => {
    const [port] = service('live-gateway', { gateway: { service: { port: 443 } } })?.ports ?? [];
    assert.deepEqual([port?.port, port?.targetPort], [443, 'websocket']);
  });
});

describe('the Services of gateways and logic', () => {
  const fields = {
    loadBalancerClass: 'service.k8s.aws/nlb',
    loadBalancerIP: '198.51.100.7',
    loadBalancerSourceRanges: ['203.0.113.0/24'],
    allocateLoadBalancerNodePorts: false,
    externalIPs: ['198.51.100.8'],
    ipFamilies: ['IPv6', 'IPv4'],
    ipFamilyPolicy: 'RequireDualStack',
    internalTrafficPolicy: 'Local',
    trafficDistribution: 'PreferClose',
    externalTrafficPolicy: 'Cluster',
  } as const;

  for (const role of ['gateway', 'logic'] as const) {
    it(`have what people set: ${role}`, () => {
      const made = service(`live-${role}`, {
        [role]: { service: { type: 'LoadBalancer', nodePort: 30_007, ...fields, ipFamilies: ['IPv6', 'IPv4'] } },
      });
      for (const [field, value] of Object.entries(fields))
        assert.deepEqual(Reflect.get(made ?? {}, field), value, field);
      assert.equal(made?.ports?.[0]?.nodePort, 30_007);
    });

    it(`have nothing else, so that the API server chooses: ${role}`, () => {
      const made = service(`live-${role}`);
      assert.deepEqual(Object.keys(made ?? {}).sort(), ['ports', 'selector', 'type']);
      assert.equal(made?.ports?.[0]?.nodePort, undefined);
    });
  }
});

describe('metrics of managed NATS', () => {
  const spec = { nats: { managed: { exporter: { enabled: true } } } };

  it('are found by Prometheus through the peers, also of servers that are not ready', () => {
    const peers = service('live-nats-peers', spec);
    assert.equal(peers?.publishNotReadyAddresses, true);
    assert.deepEqual(
      peers?.ports?.map(({ name, port }) => [name, port]),
      [
        ['routes', 6_222],
        ['exporter', 7_777],
      ],
    );
    const monitor = serviceMonitor(clusterOf(spec)).spec;
    assert.deepEqual(monitor.selector.matchExpressions[0]?.values, ['metrics', 'nats']);
    assert.deepEqual(
      monitor.endpoints.map(({ port }) => port),
      ['admin', 'exporter'],
    );
  });

  it('are open to all as those of the other pods are, and the monitoring port of NATS to none', () => {
    const open = policy('live-nats', spec)?.ingress.filter(({ from }) => from === undefined);
    assert.deepEqual(open, [{ ports: [{ port: 7_777, protocol: 'TCP' }] }]);
  });

  it('are not there unless asked for', () => {
    assert.equal(service('live-nats-peers')?.ports?.length, 1);
    assert.deepEqual(serviceMonitor(clusterOf()).spec.selector.matchExpressions[0]?.values, ['metrics']);
    assert.equal(policy('live-nats')?.ingress.length, 2);
  });
});

describe('Services', () => {
  it('name ports that their pods have', () => {
    const cluster = clusterOf();
    const pods = [gatewayDeployment(cluster, contextOf()), logicDeployment(cluster, contextOf())];
    for (const { metadata, spec } of services(cluster)) {
      const selected = pods.filter(({ spec: deployment }) =>
        Object.entries(spec?.selector ?? {}).every(([k, v]) => deployment?.template.metadata?.labels?.[k] === v),
      );
      if (metadata.name.includes('nats')) assert.equal(selected.length, 0);
      else assert.equal(selected.length, metadata.name === 'live-metrics' ? 2 : 1, metadata.name);
      for (const { spec: deployment } of selected)
        for (const { targetPort } of spec?.ports ?? [])
          assert.ok(deployment?.template.spec?.containers[0]?.ports?.some(({ name }) => name === targetPort));
    }
  });

  it('say what their ports speak, since no mesh can guess it where the server speaks first, as NATS does', () => {
    const spoken = services(clusterOf()).map(({ metadata, spec }) => [
      metadata.name,
      spec?.ports?.map(({ appProtocol }) => appProtocol),
    ]);
    assert.deepEqual(Object.fromEntries(spoken), {
      'live-gateway': ['kubernetes.io/ws'],
      'live-logic': ['http'],
      'live-metrics': ['http'],
      'live-nats': ['tcp'],
      'live-nats-peers': ['tcp'],
    });
    const [port] = service('live-gateway', { gateway: { service: { tls: { secretName: 'tls' } } } })?.ports ?? [];
    assert.equal(port?.appProtocol, 'kubernetes.io/wss');
    const [push] = service('live-logic', { logic: { service: { tls: { secretName: 'tls' } } } })?.ports ?? [];
    assert.deepEqual([push?.name, push?.appProtocol], ['https', 'https']);
  });

  it('show Prometheus pods that drain or are not ready, too', () => {
    assert.equal(service('live-metrics')?.publishNotReadyAddresses, true);
    assert.equal(service('live-metrics')?.selector?.['pushcluster.dev/serving'], undefined);
  });

  it('let servers of NATS find each other before they are ready, and clients only those that are', () => {
    assert.equal(service('live-nats-peers')?.publishNotReadyAddresses, true);
    assert.equal(service('live-nats')?.publishNotReadyAddresses, undefined);
    assert.equal(service('live-nats', { nats: { url: 'nats://n', prefix: 'p' } }), undefined);
  });
});

describe('NetworkPolicies', () => {
  it('let only gateways and logic of the cluster speak to its NATS', () => {
    const [clients, routes] = policy('live-nats')?.ingress ?? [];
    assert.deepEqual(clients?.from, [
      { podSelector: { matchLabels: { 'pushcluster.dev/cluster': 'live', 'app.kubernetes.io/name': 'pushcluster' } } },
    ]);
    assert.deepEqual(routes?.ports, [{ port: 6_222, protocol: 'TCP' }]);
  });

  it('let anyone reach what asks for tokens and keys itself, and nothing else', () => {
    assert.deepEqual(policy('live-gateway')?.ingress, [
      { ports: [7_777, 9_090].map((port) => ({ port, protocol: 'TCP' })) },
    ]);
  });

  it('do not cut off gateways in the network of their node, which no policy can name', () => {
    const [clients] = policy('live-nats', { gateway: { hostNetwork: true } })?.ingress ?? [];
    assert.equal(clients?.from, undefined);
  });
});
