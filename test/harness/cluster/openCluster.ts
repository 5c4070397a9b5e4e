import { get } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type Cluster, folderOf, startCluster } from './cluster.ts';
import { clusterName } from './clusterName.ts';
import { type Helm, helmWith } from './helm.ts';
import { clusterPackages } from './images.ts';
import { type Kubectl, kubectlWith } from './kubectl.ts';
import { kubeTools } from './tools.ts';

const CONNECT_MS = 5_000;

/** The cluster of a test: one that the harness started, or the cluster of KUBECONFIG. */
export type OpenCluster = {
  kubeconfig: string;
  kubectl: Kubectl;
  helm: Helm;
  /** Loads images onto the nodes. The cluster of KUBECONFIG and a shared cluster must have the images already. */
  load(images: readonly string[], tag?: string): Promise<void>;
  /**
   * Nodes, network and control plane if this process started the cluster, otherwise undefined. Skip a test that needs
   * them then.
   */
  own: Cluster | undefined;
  /** Ends the cluster if this process started it. */
  close(): Promise<void>;
};

/**
 * Opens the cluster that tests share (E2E_CLUSTER, set by `make e2e`, which runs the tests on the network of clients),
 * or the cluster of KUBECONFIG, or starts a new one.
 */
export async function openCluster(name = clusterName('tests')): Promise<OpenCluster> {
  const shared = process.env.E2E_CLUSTER;
  if (shared) {
    const program = await kubeTools('cluster');
    return opened(join(folderOf(shared), 'control-plane', 'kubeconfig'), program);
  }
  const kubeconfig = process.env.KUBECONFIG;
  if (kubeconfig !== undefined && kubeconfig !== '') {
    const cluster = opened(kubeconfig, await kubeTools('cluster'));
    await reachable(cluster.kubectl);
    return cluster;
  }
  await clusterPackages();
  const own = await startCluster({ name });
  return {
    ...opened(own.kubeconfig, await kubeTools('cluster')),
    load: (images, tag) => own.load(images, tag),
    own,
    close: () => own.stop(),
  };
}

/**
 * Throws if Services can't be reached from here. Without this check each test would fail at its deadline, without the
 * reason.
 */
async function reachable(kubectl: Kubectl): Promise<void> {
  const address = await kubectl(['-n', 'default', 'get', 'service', 'kubernetes', '-o', 'jsonpath={.spec.clusterIP}']);
  // Something else may accept connections to any address. Only the API server knows its version.
  const answer = await versionAt(address).catch((error: Error) => error.message);
  if (!/"gitVersion"|"kind": *"Status"/.test(answer))
    throw new Error(
      `Services of KUBECONFIG's cluster can't be reached from here (the API server at ${address}:443: ${answer || 'no answer'}): its tests are clients ` +
        'of pods, Services and load balancers. Run them on one of its nodes or in its network, see docs/contributing/testing-on-kubernetes.md',
    );
}

/** Needs no credentials and verifies no certificate: kubectl's certificate authority is for another address. */
function versionAt(address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { host: address, path: '/version', rejectUnauthorized: false, timeout: CONNECT_MS };
    const asked = get(options, (response) => text(response).then(resolve, reject));
    asked.once('timeout', () => asked.destroy(new Error(`no answer in ${CONNECT_MS / 1_000} s`)));
    asked.once('error', reject);
  });
}

function opened(kubeconfig: string, program: (name: string) => string): OpenCluster {
  return {
    kubeconfig,
    kubectl: kubectlWith(program('kubectl'), kubeconfig),
    helm: helmWith(program('helm'), kubeconfig),
    load: async () => {},
    own: undefined,
    close: async () => {},
  };
}
