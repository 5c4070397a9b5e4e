import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { FakeNode } from '@pushcluster/operator/nodetuning/fakeNode.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { type Helm, helmWith } from '../harness/cluster/helm.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { CHART, REGISTRY } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { until } from '../harness/until.ts';

const PROGRAM = new URL('../../operator/nodetuning/main.ts', import.meta.url).pathname;
const NAMESPACE = 'platform';
const OWN = { 'net.ipv4.tcp_wmem': '4096 16384 4194304', 'net.core.netdev_max_backlog': '1000' };
const SYSCTLS = { 'net.ipv4.tcp_wmem': '4096 16384 1048576', 'net.core.netdev_max_backlog': 16_384 };
const OWNER = 'node-tuning.pushcluster.dev/owner';
const CHANGED = 'node-tuning.pushcluster.dev/changed';
const SKIPPED = 'node-tuning.pushcluster.dev/skipped';

/** A pod's process of node tuning, on a node whose files are in a folder, with the rights that the chart gives. */
class Pod {
  readonly exit: Promise<number | null>;
  readonly #child: ChildProcess;
  output = '';

  constructor(args: string[], env: Record<string, string>) {
    this.#child = spawn(process.execPath, [PROGRAM, ...args], { env: { ...process.env, ...env } });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    // Not at `exit`: its last words may still be in the pipe then.
    this.exit = new Promise((resolve) => this.#child.once('close', resolve));
  }

  says(text: string): Promise<void> {
    return until(`it says "${text}"`, () => this.output.includes(text)).catch((error: Error) => {
      throw new Error(`${error.message}: ${this.output}`);
    });
  }

  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    this.#child.kill(signal);
    return this.exit;
  }
}

describe('node tuning', () => {
  let plane: ControlPlane;
  let helm: Helm;
  let node: FakeNode;
  let name = '';
  const pods: Pod[] = [];
  let count = 0;

  before(async () => {
    plane = await startControlPlane();
    helm = helmWith((await kubeTools('control-plane'))('helm'));
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }]);
  });
  beforeEach(async () => {
    await Promise.all(pods.splice(0).map((pod) => pod.end('SIGKILL')));
    node?.remove();
    node = new FakeNode();
    node.sysctls(OWN);
    name = `node${++count}`;
    await apply(plane.kubectl, [
      {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name, annotations: { other: 'kept' }, labels: { nic: '10gbe', 'kubernetes.io/os': 'linux' } },
      },
    ]);
  });
  after(async () => {
    await Promise.all(pods.map((pod) => pod.end('SIGKILL')));
    node?.remove();
    await plane?.stop();
  });

  const platform = (...args: string[]) => plane.kubectl(['-n', NAMESPACE, ...args]);
  const daemonSetOf = (release: string) => `${release}-pushcluster-node-tuning`;
  const annotations = async (): Promise<Record<string, string>> =>
    JSON.parse(await plane.kubectl(['get', 'node', name, '-o', 'json'])).metadata.annotations ?? {};
  const tuning = async () =>
    Object.entries(await annotations()).filter(([key]) => key.startsWith('node-tuning.pushcluster.dev/'));
  const events = async (): Promise<string[]> => {
    const { items } = JSON.parse(await plane.kubectl(['-n', 'default', 'get', 'events', '-o', 'json']));
    type Event = { involvedObject: { name: string }; reason: string; message: string };
    return (
      (items as Event[])
        // Others tell of nodes as well.
        .filter(({ involvedObject, reason }) => involvedObject.name === name && /^Node(Tun|Restored)/.test(reason))
        .map(({ reason, message }) => `${reason}: ${message}`)
    );
  };

  /** The chart's DaemonSet and rights, without the operator. */
  async function install(release: string, values: object = {}): Promise<void> {
    const text = JSON.stringify({ images: { registry: REGISTRY }, nodeTuning: { enabled: true, ...values } });
    const files = ['', '-rbac', '-policy'].map((part) => `--show-only=templates/node-tuning${part}.yaml`);
    const rendered = await helm(['template', release, CHART, '-n', NAMESPACE, ...files, '-f', '-'], text);
    await apply(plane.kubectl, rendered);
  }

  /** A kubeconfig with the token of a pod on the node. */
  async function credentials(release: string, on = name): Promise<string> {
    const pod = `${release}-${on}`;
    const account = daemonSetOf(release);
    await apply(plane.kubectl, [
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: pod, namespace: NAMESPACE },
        spec: {
          nodeName: on,
          serviceAccountName: account,
          terminationGracePeriodSeconds: 0,
          containers: [{ name: 'pod', image: 'image' }],
        },
      },
    ]);
    const bound = [`--bound-object-kind=Pod`, `--bound-object-name=${pod}`];
    const token = (await platform('create', 'token', account, ...bound)).trim();
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'pod',
      contexts: [{ name: 'pod', context: { cluster: 'plane', user: 'pod', namespace: NAMESPACE } }],
      clusters: [
        {
          name: 'plane',
          cluster: {
            server: plane.url,
            'certificate-authority-data': (await readFile(plane.authority.caFile)).toString('base64'),
          },
        },
      ],
      users: [{ name: 'pod', user: { token } }],
    };
    const file = join(node.root, `${pod}.kubeconfig`);
    await writeFile(file, JSON.stringify(config));
    return file;
  }

  async function start(release: string, settings: object = { sysctls: SYSCTLS }): Promise<Pod> {
    const pod = new Pod(['tune'], {
      KUBECONFIG: await credentials(release),
      DAEMON_SET: daemonSetOf(release),
      NODE_NAME: name,
      SETTINGS: JSON.stringify(settings),
      HOST_ROOT: node.root,
      RECORD_FOLDER: node.record,
      READY_FILE: join(node.root, 'ready'),
      ETHTOOL: node.ethtool,
      NET_FOLDER: node.net,
      RETRY: '0.2',
    });
    pods.push(pod);
    return pod;
  }

  const assertOwn = () => {
    for (const [sysctl, value] of Object.entries(OWN)) assert.equal(node.sysctl(sysctl), value);
  };
  const assertTuned = () => {
    for (const [sysctl, value] of Object.entries(SYSCTLS)) assert.equal(node.sysctl(sysctl), String(value));
  };

  it('says on the node what it set from what and what the node has not, and takes it back when its DaemonSet is removed', async () => {
    await install('one');
    node.device('br0');
    const settings = { sysctls: SYSCTLS, interfaces: [{ name: 'br*', rings: { rx: 'max' } }] };
    const pod = await start('one', settings);
    await pod.says('node tuned');
    assertTuned();
    assert.equal(node.read('ready'), '');
    const said = await annotations();
    assert.equal(said[OWNER], `${NAMESPACE}/${daemonSetOf('one')}`);
    assert.deepEqual(JSON.parse(said[CHANGED] ?? ''), {
      'net.core.netdev_max_backlog': { from: '1000', to: '16384' },
      'net.ipv4.tcp_wmem': { from: '4096 16384 4194304', to: '4096 16384 1048576' },
    });
    assert.deepEqual(JSON.parse(said[SKIPPED] ?? ''), {
      'br0 rx ring': 'br0 has no ring buffers with a configurable size',
    });
    assert.match((await events()).join('\n'), /^NodeTuned: Set net\.core\.netdev_max_backlog from 1000 to 16384; /);

    const removing = new Pod(['remove'], { KUBECONFIG: await credentials('one'), DAEMON_SET: daemonSetOf('one') });
    pods.push(removing);
    // No kubelet is here to tell the pod.
    await until('the DaemonSet is going', async () => (await platform('get', 'daemonset', '-o', 'name')) === '');
    assert.equal(await pod.end('SIGTERM'), 0);
    assert.equal(await removing.exit, 0, removing.output);
    assert.match(removing.output, /was deleted, and its pods have restored/);
    assertOwn();
    assert.deepEqual(
      Object.keys(await annotations()).filter((key) => key.startsWith('node-tuning')),
      [],
    );
    assert.equal((await annotations()).other, 'kept');
    assert.match((await events()).join('\n'), /NodeRestored: Restored .*netdev_max_backlog from 16384 to 1000/);
  });

  it('leaves all as it is in a rolling update, and writes nothing where nothing has changed', async () => {
    await install('one');
    const first = await start('one');
    await first.says('node tuned');
    assert.equal(await first.end('SIGTERM'), 0);
    assertTuned();
    const before = { annotations: await tuning(), events: await events() };
    const second = await start('one');
    await second.says('node tuned');
    assert.deepEqual({ annotations: await tuning(), events: await events() }, before);
    assert.equal(await second.end('SIGTERM'), 0);
    const third = await start('one', { sysctls: { 'net.core.netdev_max_backlog': 8_192 } });
    await third.says('node tuned');
    assert.equal(node.sysctl('net.ipv4.tcp_wmem'), OWN['net.ipv4.tcp_wmem']);
    assert.deepEqual(JSON.parse((await annotations())[CHANGED] ?? ''), {
      'net.core.netdev_max_backlog': { from: '1000', to: '8192' },
    });
  });

  it('knows what the node had before, also after a pod was killed, and puts it back on nodes that are no longer meant', async () => {
    await install('one', { nodeSelector: { nic: '10gbe' } });
    const first = await start('one');
    await first.says('node tuned');
    await first.end('SIGKILL');
    const second = await start('one');
    await second.says('node tuned');
    await plane.kubectl(['label', 'node', name, 'nic-']);
    assert.equal(await second.end('SIGTERM'), 0);
    assert.match(second.output, /requires the label nic=10gbe/);
    assertOwn();
    assert.equal((await annotations())[OWNER], undefined);
  });

  it('keeps its hands off a node that another release tunes, and takes it over when that one is gone', async () => {
    await install('one');
    await install('two');
    const first = await start('one');
    await first.says('node tuned');
    const second = await start('two', { sysctls: { 'net.core.netdev_max_backlog': 50_000 } });
    await second.says(`is tuned by DaemonSet ${NAMESPACE}/${daemonSetOf('one')}`);
    assertTuned();
    await until('it is told', async () => (await events()).some((event) => event.startsWith('NodeTuningRefused')));
    await platform('delete', 'daemonset', daemonSetOf('one'));
    assert.equal(await first.end('SIGTERM'), 0);
    await second.says('node tuned');
    assert.equal((await annotations())[OWNER], `${NAMESPACE}/${daemonSetOf('two')}`);
    assert.equal(node.sysctl('net.core.netdev_max_backlog'), '50000');
    await platform('delete', 'daemonset', daemonSetOf('two'));
    assert.equal(await second.end('SIGTERM'), 0);
    assertOwn();
  });

  it('leaves a node that was never its own to the other release, when it is removed', async () => {
    await install('one');
    await install('two');
    const first = await start('one');
    await first.says('node tuned');
    const second = await start('two');
    await second.says('is tuned by DaemonSet');
    await platform('delete', 'daemonset', daemonSetOf('two'));
    assert.equal(await second.end('SIGTERM'), 0);
    assertTuned();
    assert.equal((await annotations())[OWNER], `${NAMESPACE}/${daemonSetOf('one')}`);
  });

  it('puts back what it set also where its rights were removed with it', async () => {
    await install('three');
    const pod = await start('three');
    await pod.says('node tuned');
    const may = (verb: string, what: string) =>
      platform('auth', 'can-i', verb, what, `--as=system:serviceaccount:${NAMESPACE}:${daemonSetOf('three')}`).then(
        () => true,
        () => false,
      );
    assert.ok((await may('patch', 'nodes')) && (await may('get', `daemonsets.apps/${daemonSetOf('three')}`)));
    await plane.kubectl(['delete', 'clusterrolebinding', `${NAMESPACE}-${daemonSetOf('three')}`]);
    await platform('delete', 'rolebinding,daemonset', daemonSetOf('three'));
    // The API server's authorizer hears of it a moment later.
    await until(
      'it has no rights any more',
      async () => !(await may('patch', 'nodes')) && !(await may('get', `daemonsets.apps/${daemonSetOf('three')}`)),
    );
    assert.equal(await pod.end('SIGTERM'), 0);
    assertOwn();
    assert.match(pod.output, /its rights were deleted/);
    assert.match(pod.output, /annotations of the node could not be removed: run kubectl annotate node/);
  });

  it('leaves all as it is where nobody can say whether its DaemonSet is still there', async () => {
    await install('one');
    const pod = await start('one');
    await pod.says('node tuned');
    await plane.apiServer.kill();
    assert.equal(await pod.end('SIGTERM'), 0);
    await plane.apiServer.start();
    assertTuned();
    assert.match(pod.output, /unknown whether the DaemonSet still exists/);
  });

  it('says at once which setting it does not know, and changes nothing', async () => {
    await install('one');
    const pod = await start('one', { sysctls: { ...SYSCTLS, 'vm.swappiness': 1 } });
    assert.equal(await pod.exit, 2);
    assert.match(pod.output, /vm\.swappiness/);
    assertOwn();
    assert.equal((await annotations())[OWNER], undefined);
  });

  it('may write nothing but its own annotations of its own node', async () => {
    await install('one');
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Node', metadata: { name: `other-${name}` } }]);
    const KUBECONFIG = await credentials('one');
    const patch = (target: string, change: object, ...more: string[]) =>
      plane.kubectl([
        '--kubeconfig',
        KUBECONFIG,
        'patch',
        target,
        '--type=merge',
        '-p',
        JSON.stringify(change),
        ...more,
      ]);
    const annotate = (target: string, key: string, value: string | null) =>
      patch(target, { metadata: { annotations: { [key]: value } } });
    const own = `node/${name}`;
    // A policy counts a moment after it is made.
    await until('the policy counts', () =>
      annotate(own, 'other', 'changed').then(
        () => false,
        (error: Error) => /only write annotations that begin with/.test(error.message),
      ),
    );
    await annotate(own, OWNER, 'x/y');
    await annotate(own, OWNER, null);
    await assert.rejects(annotate(`node/other-${name}`, OWNER, 'x/y'), /only write to the node that it runs on/);
    await assert.rejects(annotate(own, 'other', null), /only write annotations that begin with/);
    await assert.rejects(patch(own, { metadata: { labels: { a: 'b' } } }), /may only write annotations/);
    await assert.rejects(patch(own, { spec: { unschedulable: true } }), /may only write annotations/);
    await assert.rejects(patch(own, { status: { capacity: { x: '1' } } }, '--subresource=status'), /forbidden/i);
    await assert.rejects(plane.kubectl(['--kubeconfig', KUBECONFIG, 'get', 'pods', '-A']), /forbidden/);
    await assert.rejects(plane.kubectl(['--kubeconfig', KUBECONFIG, 'get', 'nodes']), /forbidden/);
  });
});
