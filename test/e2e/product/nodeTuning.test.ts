import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { apply } from '../../harness/cluster/kubectl.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import { CHART, claimNamespace, REGISTRY } from '../../harness/cluster/product.ts';
import { until } from '../../harness/until.ts';

const NAMESPACE = 'tuning';
const RELEASE = 'tuning';
const DAEMON_SET = `${RELEASE}-pushcluster-node-tuning`;
const OWNER = 'node-tuning.pushcluster.dev/owner';
const CHANGED = 'node-tuning.pushcluster.dev/changed';
const SKIPPED = 'node-tuning.pushcluster.dev/skipped';
const FILE_MAX = '/proc/sys/fs/file-max';
/** A network namespace's own, so that nothing of the machine is changed. */
const WMEM = 'net.ipv4.tcp_wmem';
const PORTS = 'net.ipv4.ip_local_port_range';

describe('nodes that the chart tunes', () => {
  let cluster: OpenCluster;
  let nodes: string[] = [];
  let own: Map<string, string>;
  /** Of this machine, where the cluster is on it: all nodes have it in common. */
  const machine = process.env.KUBECONFIG ? undefined : readFileSync(FILE_MAX, 'utf8').trim();

  before(async () => {
    cluster = await openCluster();
    nodes = (await cluster.kubectl(['get', 'nodes', '-o', 'jsonpath={.items[*].metadata.name}'])).split(' ');
    await claimNamespace(cluster.kubectl, NAMESPACE, 'privileged');
    await until('the namespace has its service account', () =>
      kubectl('get', 'serviceaccount', 'default').then(
        () => true,
        () => false,
      ),
    );
    await apply(cluster.kubectl, nodes.map(reader));
    await kubectl('wait', 'pods', '-l', 'app=reader', '--for=condition=Ready', '--timeout=180s');
    own = new Map(await Promise.all(nodes.map(async (node) => [node, await sysctls(node)] as const)));
  });
  after(async () => {
    await helm('uninstall', RELEASE, '--wait', '--ignore-not-found').catch(() => {});
    if (machine !== undefined && readFileSync(FILE_MAX, 'utf8').trim() !== machine) writeFileSync(FILE_MAX, machine);
    await cluster.kubectl(['delete', 'namespace', NAMESPACE, '--wait=false']);
    await cluster.close();
  });

  const kubectl = (...args: string[]) => cluster.kubectl(['-n', NAMESPACE, ...args]);
  const helm = (...args: string[]) => cluster.helm([...args, '-n', NAMESPACE]);
  /** What a node's own network has, seen by a pod that is none of ours. */
  const sysctls = (node: string) =>
    kubectl(
      'exec',
      `reader-${node}`,
      '--',
      'node',
      '-e',
      'for (const file of process.argv.slice(1)) process.stdout.write(fs.readFileSync(file))',
      ...[WMEM, PORTS].map((name) => `/proc/sys/${name.replaceAll('.', '/')}`),
    );
  const annotations = async (node: string): Promise<Record<string, string>> =>
    JSON.parse(await cluster.kubectl(['get', 'node', node, '-o', 'json'])).metadata.annotations;
  const settings = (nodeTuning: object) => ({
    images: { registry: REGISTRY },
    // The operator is another release's.
    operator: { replicas: 0 },
    crds: { install: false },
    rbac: { aggregate: false },
    nodeTuning,
  });
  const install = async (nodeTuning: object): Promise<void> => {
    const args = ['upgrade', '--install', RELEASE, CHART, '-n', NAMESPACE, '--reset-values', '--wait', '--timeout=5m'];
    await cluster.helm([...args, '-f', '-'], JSON.stringify(settings(nodeTuning)));
  };
  const tuned = (wmem: string) => ({
    enabled: true,
    sysctls: {
      'fs.nr_open': null,
      'fs.file-max': machine === undefined ? null : Number(machine) + 1,
      [WMEM]: wmem,
      [PORTS]: '33000 60999',
    },
    interfaces: [{ name: '*', rps: 'auto', xps: 'auto', rings: { rx: 'max' } }],
  });

  it('are set, and say so in annotations and events', async (t) => {
    const began = performance.now();
    await install(tuned('4096 16384 2097152'));
    t.diagnostic(`installed and ready on ${nodes.length} nodes: ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    for (const node of nodes) {
      assert.equal(await sysctls(node), '4096\t16384\t2097152\n33000\t60999\n');
      const said = await annotations(node);
      assert.equal(said[OWNER], `${NAMESPACE}/${DAEMON_SET}`);
      const [wmem, ports] = own.get(node)!.replaceAll('\t', ' ').split('\n');
      const changed = JSON.parse(said[CHANGED]!);
      assert.deepEqual(changed[WMEM], { from: wmem, to: '4096 16384 2097152' });
      assert.deepEqual(changed[PORTS], { from: ports, to: '33000 60999' });
      const described = await cluster.kubectl(['describe', 'node', node]);
      assert.match(described, /NodeTuned .*Set .*net\.ipv4\.tcp_wmem from /);
    }
    if (machine !== undefined) assert.equal(readFileSync(FILE_MAX, 'utf8').trim(), String(Number(machine) + 1));
  });

  it('say what they do not have', async (t) => {
    if (process.env.KUBECONFIG) return t.skip('what its nodes have is not known');
    for (const node of nodes) {
      const skipped = JSON.parse((await annotations(node))[SKIPPED]!);
      assert.match(skipped['net.core.netdev_max_backlog'], /does not have this setting/);
      // Its /sys is the machine's, whose card is none of a node's.
      assert.match(skipped['*'], /another network/);
      t.diagnostic(`${node}: ${Object.keys(skipped).join(', ')}`);
    }
  });

  it('keep what they had at first through an upgrade', async () => {
    await install(tuned('4096 16384 1048576'));
    for (const node of nodes) {
      assert.equal(await sysctls(node), '4096\t16384\t1048576\n33000\t60999\n');
      const [wmem] = own.get(node)!.replaceAll('\t', ' ').split('\n');
      assert.deepEqual(JSON.parse((await annotations(node))[CHANGED]!)[WMEM], { from: wmem, to: '4096 16384 1048576' });
    }
  });

  it('run its pods without privileges beyond root and the network', async () => {
    const pods = JSON.parse(await kubectl('get', 'daemonset', DAEMON_SET, '-o', 'json')).spec.template.spec;
    assert.deepEqual(pods.containers[0].securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
    });
  });

  const assertAsBefore = async () => {
    for (const node of nodes) {
      assert.equal(await sysctls(node), own.get(node));
      assert.deepEqual(
        Object.keys(await annotations(node)).filter((key) => key.startsWith('node-tuning')),
        [],
      );
    }
    if (machine !== undefined) assert.equal(readFileSync(FILE_MAX, 'utf8').trim(), machine);
  };

  it('are as before where an upgrade turns it off', async () => {
    await install({ enabled: false });
    await assertAsBefore();
    assert.equal(
      await kubectl('get', 'daemonset,serviceaccount', '-o', 'name', '-l', 'app.kubernetes.io/component=node-tuning'),
      '',
    );
    for (const node of nodes)
      assert.match(await cluster.kubectl(['describe', 'node', node]), /NodeRestored .*Restored .*net\.ipv4\.tcp_wmem/);
  });

  it('are as before where the chart is removed, of which nothing stays', async () => {
    await install(tuned('4096 16384 2097152'));
    for (const node of nodes) assert.match(await sysctls(node), /^4096\t16384\t2097152\n/);
    await helm('uninstall', RELEASE, '--wait', '--timeout=5m');
    await assertAsBefore();
    const kinds = 'clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding';
    let left: string[] = [];
    await until('nothing is left', async () => {
      const all = await cluster.kubectl(['get', `${kinds},role,rolebinding,job,daemonset`, '-A', '-o', 'name']);
      left = all.split('\n').filter((name) => name.includes('node-tuning'));
      return left.length === 0;
    }).catch((error: Error) => assert.fail(`${error.message}: ${left.join(' ')}`));
  });
});

/** Looks at its node's network settings. */
function reader(node: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: `reader-${node}`, namespace: NAMESPACE, labels: { app: 'reader' } },
    spec: {
      nodeName: node,
      hostNetwork: true,
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'reader',
          image: 'docker.io/pushcluster/operator:0.1.0',
          command: ['node', '-e', 'setInterval(() => {}, 1e9)'],
        },
      ],
    },
  };
}
