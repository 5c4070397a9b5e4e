import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply, kubectlWith } from '../harness/cluster/kubectl.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { isAlive } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const settings = (text: string) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'settings', namespace: 'default' },
  data: { text },
});

describe('a control plane on this machine', () => {
  let plane: ControlPlane;
  before(async () => {
    plane = await startControlPlane();
  });
  after(() => plane.stop());

  const textOf = () => plane.kubectl(['get', 'configmap', 'settings', '-o', 'jsonpath={.data.text}']);

  it('is the Kubernetes that it says it is, and keeps what is applied', async () => {
    const version = await plane.get('/version');
    assert.match(version.text, /"gitVersion": "v1\.36\.3"/);
    await apply(plane.kubectl, [settings('one')]);
    assert.equal(await textOf(), 'one');
  });

  it('has controllers: a Deployment gets its pods, which wait for a node', async () => {
    await plane.kubectl(['create', 'deployment', 'web', '--image=localhost/none', '--replicas=2']);
    await until('both pods are there', async () => {
      const pods = await plane.kubectl(['get', 'pods', '-l', 'app=web', '-o', 'name']);
      return pods.trim().split('\n').length === 2;
    });
    assert.match(await plane.kubectl(['get', 'pods', '-l', 'app=web']), /Pending/);
  });

  it('keeps its data and its address when the API server is killed and comes back', async () => {
    await apply(plane.kubectl, [settings('before')]);
    await plane.apiServer.kill();
    // A connection that was kept may still be tried first.
    await until('nobody listens any more', () =>
      plane.get('/readyz').then(
        () => false,
        (error) => /ECONNREFUSED/.test(String(error)),
      ),
    );
    await plane.apiServer.start();
    assert.equal(await textOf(), 'before');
    await apply(plane.kubectl, [settings('after')]);
    assert.equal(await textOf(), 'after');
  });

  it('answers nothing while the API server is paused, and all of it afterwards', async () => {
    await plane.apiServer.pause();
    let answered = false;
    const answer = plane.get('/readyz').finally(() => {
      answered = true;
    });
    // Others are scheduled meanwhile: this waits for the kernel to have delivered the request, not for a time to pass.
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(answered, false);
    plane.apiServer.resume();
    assert.equal((await answer).status, 200);
  });

  it('gives somebody else only the rights that were given', async () => {
    const program = await kubeTools('control-plane');
    const guest = kubectlWith(program('kubectl'), await plane.kubeconfigFor('/O=guests/CN=somebody'));
    await assert.rejects(guest(['get', 'configmaps']), /"somebody" cannot list resource "configmaps"/);
    await plane.kubectl(['create', 'rolebinding', 'guests', '--clusterrole=view', '--group=guests']);
    await until('the right counts', async () =>
      (await guest(['auth', 'can-i', 'list', 'configmaps']).catch(String)).startsWith('yes'),
    );
    assert.match(await guest(['get', 'configmaps']), /settings/);
  });

  it('writes down who asked for what', async () => {
    await plane.kubectl(['delete', 'configmap', 'settings', '--ignore-not-found']);
    const writes = await plane.audit.writes();
    const deletion = writes.findLast(({ resource, name }) => resource === 'configmaps' && name === 'settings');
    assert.equal(deletion?.verb, 'delete');
    assert.equal(deletion?.user, 'admin');
    assert.equal(deletion?.namespace, 'default');
  });
});

describe('a control plane that was stopped', () => {
  it('leaves neither a process nor a file', async () => {
    const plane = await startControlPlane();
    const pids = [plane.etcd, plane.apiServer, plane.controllerManager].map(({ pid }) => pid);
    await plane.stop();
    assert.deepEqual(pids.filter(isAlive), []);
    assert.equal(existsSync(dirname(plane.kubeconfig)), false);
  });
});
