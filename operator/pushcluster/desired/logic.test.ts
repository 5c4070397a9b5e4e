import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf, contextOf } from './fixture.ts';
import { logicDeployment } from './logic.ts';
import { logicReplicas } from './logicReplicas.ts';
import { validSettings } from './validSettings.ts';

const autoscaled = clusterOf({ logic: { replicas: 4, autoscaling: { minReplicas: 3, maxReplicas: 9 } } });

function observed(replicas: number, ...managers: string[]) {
  const fieldsV1 = { 'f:spec': { 'f:replicas': {} } };
  return {
    metadata: { managedFields: managers.map((manager) => ({ manager, fieldsV1 })) },
    spec: { replicas, selector: {}, template: {} },
  };
}

describe('the logic Deployment', () => {
  it('mounts each API key as a file of its name', () => {
    const apiKeys = [
      { name: 'backend', secretRef: { name: 'keys', key: 'one' } },
      { name: 'sports', secretRef: { name: 'keys', key: 'two' } },
    ];
    const { volumes } = logicDeployment(clusterOf({ logic: { apiKeys } }), contextOf()).spec!.template.spec!;
    const keys = volumes?.find(({ name }) => name === 'keys');
    assert.deepEqual(
      keys?.projected?.sources?.map(({ secret }) => [secret?.name, secret?.items?.[0]]),
      [
        ['keys', { key: 'one', path: 'backend' }],
        ['keys', { key: 'two', path: 'sports' }],
      ],
    );
  });

  it('serves the push API with the certificate of the Secret', () => {
    const cluster = clusterOf({ logic: { service: { tls: { secretName: 'cert' } } } });
    const { containers, volumes } = logicDeployment(cluster, contextOf()).spec!.template.spec!;
    assert.equal(volumes?.find(({ name }) => name === 'tls')?.secret?.secretName, 'cert');
    const folder = containers[0]?.volumeMounts?.find(({ name }) => name === 'tls')?.mountPath;
    const { tls } = validSettings(cluster, 'logic').logic;
    assert.deepEqual(tls, { certFile: `${folder}/tls.crt`, keyFile: `${folder}/tls.key` });
    assert.equal(validSettings(cluster, 'gateway').logic.tls, undefined);
  });

  it('sees nothing of the secrets of gateways', () => {
    const cluster = clusterOf({ auth: { jwt: { secretRef: { name: 'jwt-secret' } } } });
    const { volumes } = logicDeployment(cluster, contextOf()).spec!.template.spec!;
    assert.doesNotMatch(JSON.stringify(volumes), /jwt-secret|live-nats-gateway|live-nats-server/);
  });

  it('leaves its replicas out where another manager owns them', () => {
    assert.ok(!('replicas' in logicDeployment(clusterOf(), contextOf({ logicReplicas: undefined })).spec!));
    assert.equal(logicDeployment(clusterOf(), contextOf({ logicReplicas: 3 })).spec?.replicas, 3);
  });
});

describe('the number of logic pods', () => {
  it('is that of the spec without an autoscaler, whatever somebody has set', () => {
    assert.equal(logicReplicas(clusterOf({ logic: { replicas: 4 } }), observed(7, 'kubectl')), 4);
  });

  it('begins with the least that the autoscaler allows', () => {
    assert.equal(logicReplicas(autoscaled, undefined), 3);
  });

  it('stays as it is until the autoscaler has taken it over: dropped before, it would fall to one', () => {
    assert.equal(logicReplicas(autoscaled, observed(6, 'pushcluster-operator')), 6);
  });

  it("is the autoscaler's own from then on", () => {
    assert.equal(logicReplicas(autoscaled, observed(6, 'pushcluster-operator', 'kube-controller-manager')), undefined);
  });
});
