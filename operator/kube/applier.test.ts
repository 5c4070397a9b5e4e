import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Applier, type Desired } from './applier.ts';
import { Client } from './client.ts';
import { isKubeError } from './errors.ts';
import { FakeApi } from './fakeApi.ts';

const PATH = '/api/v1/namespaces/shop/configmaps/settings';
const owner = (uid: string, name = 'live') => ({
  apiVersion: 'pushcluster.dev/v1alpha1',
  kind: 'PushCluster',
  name,
  uid,
});

function settings(value: string, owners: Desired['metadata']['ownerReferences'] = [owner('u1')]) {
  const metadata = { name: 'settings', namespace: 'shop', ownerReferences: owners };
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { value } };
}

function start() {
  const api = new FakeApi();
  const client = new Client(api);
  return { api, client, applier: new Applier(client) };
}

describe('an applier', () => {
  it('makes what is new by one request, and reads nothing before', async () => {
    const { api, applier } = start();
    const { changed, object } = await applier.apply(settings('1'), undefined);
    assert.equal(changed, true);
    assert.deepEqual(api.requests, [`PATCH ${PATH}`]);
    assert.equal((await applier.apply(settings('1'), object)).asked, false);
    assert.deepEqual(api.requests, [`PATCH ${PATH}`]);
  });

  it('asks nothing where controllers have only told what they did', async () => {
    const { api, applier } = start();
    const { object } = await applier.apply(settings('1'), undefined);
    const told = {
      ...object,
      metadata: {
        ...object.metadata,
        generation: 2,
        resourceVersion: '9',
        annotations: { 'deployment.kubernetes.io/revision': '1' },
      },
    };
    assert.equal((await applier.apply(settings('1'), told)).asked, false);
    const theirs = { ...told, metadata: { ...told.metadata, annotations: { team: 'a' } } };
    assert.equal((await applier.apply(settings('1'), theirs)).asked, true);
    assert.equal(api.requests.length, 2);
  });

  it('changes what is there by one request', async () => {
    const { api, applier } = start();
    const { object } = await applier.apply(settings('1'), undefined);
    assert.equal((await applier.apply(settings('2'), object)).changed, true);
    assert.deepEqual(api.requests, [`PATCH ${PATH}`, `PATCH ${PATH}`]);
  });

  it('reads what has the name already where no reflector has it yet, and changes its own', async () => {
    const { api, client, applier } = start();
    await applier.apply(settings('1'), undefined);
    api.requests.length = 0;
    assert.equal((await new Applier(client).apply(settings('2'), undefined)).changed, true);
    assert.deepEqual(api.requests, [`PATCH ${PATH}`, `GET ${PATH}`, `PATCH ${PATH}`]);
  });

  it('leaves alone what is somebody else’s, which no request of its own has changed meanwhile', async () => {
    for (const [owners, reason] of [
      [[], 'taken'],
      [[owner('u2', 'other')], 'taken'],
      [[owner('u0')], 'leaving'],
    ] as const) {
      const { api, client, applier } = start();
      const theirs = await client.apply(settings('theirs', owners));
      await assert.rejects(applier.apply(settings('ours'), undefined), (error) => isKubeError(error, reason));
      assert.deepEqual(api.objects.get(PATH), theirs);
    }
  });

  it('makes what was deleted between the two questions', async () => {
    const { api, client, applier } = start();
    await client.apply(settings('theirs', []));
    api.onRequest = ({ method }) => {
      if (method === 'GET') api.objects.delete(PATH);
    };
    assert.equal((await applier.apply(settings('ours'), undefined)).changed, true);
  });
});
