import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { drainSettle } from './drainSettle.ts';
import { clusterOf } from './fixture.ts';
import { leavingEndpoints, remainingEndpoints } from './leavingEndpoints.ts';
import { services } from './services.ts';

const service = { type: 'LoadBalancer', externalTrafficPolicy: 'Local' } as const;
const one = { name: 'live-gateway-1', uid: 'u1', node: 'node1', addresses: ['10.0.0.1', 'fd00::1'] };
const other = { name: 'live-gateway-0', uid: 'u0', node: 'node2', addresses: ['10.0.0.2'] };

describe('endpoints of gateways that leave', () => {
  it('are terminating ones of the Service that still serve, one slice for each family', () => {
    const slices = leavingEndpoints(clusterOf({ gateway: { service } }), [one, other]);
    assert.deepEqual(
      slices.map(({ metadata, addressType, endpoints }) => [
        metadata.name,
        addressType,
        (endpoints ?? []).map(({ addresses, nodeName }) => `${addresses} ${nodeName}`),
      ]),
      [
        ['live-gateway-leaving-ipv4', 'IPv4', ['10.0.0.2 node2', '10.0.0.1 node1']],
        ['live-gateway-leaving-ipv6', 'IPv6', ['fd00::1 node1']],
      ],
    );
    for (const { metadata, endpoints = [], ports = [] } of slices) {
      assert.equal(metadata.labels?.['kubernetes.io/service-name'], 'live-gateway');
      assert.notEqual(metadata.labels?.['endpointslice.kubernetes.io/managed-by'], 'endpointslice-controller.k8s.io');
      for (const { conditions } of endpoints)
        assert.deepEqual(conditions, { ready: false, serving: true, terminating: true });
      // kube-proxy finds them by the name of the Service's port.
      const [gateway] = services(clusterOf({ gateway: { service } }));
      assert.deepEqual(
        ports.map(({ name, appProtocol }) => [name, appProtocol]),
        gateway?.spec?.ports?.map(({ name, appProtocol }) => [name, appProtocol]),
      );
    }
  });

  it('exist only while a gateway leaves, and only if a load balancer checks the nodes', () => {
    assert.deepEqual(leavingEndpoints(clusterOf({ gateway: { service } }), []), []);
    for (const changed of [{ externalTrafficPolicy: 'Cluster' }, { type: 'NodePort' }, { type: 'ClusterIP' }] as const)
      assert.deepEqual(leavingEndpoints(clusterOf({ gateway: { service: { ...service, ...changed } } }), [one]), []);
  });
});

describe('endpoints of gateways that leave a PushCluster of which nothing else is changed', () => {
  const [slice] = leavingEndpoints(clusterOf({ gateway: { service } }), [one, other]);
  const names = (leaving: (typeof one)[]) =>
    slice && remainingEndpoints(slice, leaving)?.map(({ targetRef }) => targetRef?.name);

  it('lose those whose gateways have gone, or have left long enough ago', () => {
    assert.deepEqual(names([one]), ['live-gateway-1']);
    assert.deepEqual(names([{ ...one, uid: 'of a new pod of this name' }, other]), ['live-gateway-0']);
    assert.deepEqual(names([]), []);
  });

  it('stay as they are otherwise, and get no more', () => {
    assert.equal(names([other, one]), undefined);
    assert.equal(names([other, one, { ...one, uid: 'u2', name: 'live-gateway-2' }]), undefined);
  });

  it('are none in a slice without endpoints', () => {
    assert.ok(slice);
    assert.deepEqual(remainingEndpoints({ ...slice, endpoints: [] }, [one]), []);
  });
});

describe('the time for which a gateway settles', () => {
  it('is by default longer than a load balancer needs to notice, if one checks the nodes', () => {
    assert.equal(drainSettle(clusterOf({ gateway: { service } })), '45s');
    assert.equal(
      drainSettle(clusterOf({ gateway: { service: { ...service, externalTrafficPolicy: 'Cluster' } } })),
      '5s',
    );
    assert.equal(drainSettle(clusterOf({ gateway: { service: { type: 'ClusterIP' } } })), '5s');
  });

  it('is what is set', () => {
    assert.equal(drainSettle(clusterOf({ gateway: { service, drain: { settle: '7s' } } })), '7s');
  });
});
