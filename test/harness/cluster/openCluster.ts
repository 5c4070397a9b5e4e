import { join } from 'node:path';
import { type Cluster, folderOf, startCluster } from './cluster.ts';
import { type Helm, helmWith } from './helm.ts';
import { clusterPackages } from './images.ts';
import { type Kubectl, kubectlWith } from './kubectl.ts';
import { kubeTools } from './tools.ts';

/** The cluster of a test: one of our own, or the one that KUBECONFIG names. */
export type OpenCluster = {
  kubeconfig: string;
  kubectl: Kubectl;
  helm: Helm;
  /** Makes images available to its nodes; on KUBECONFIG's and on a shared one they have to be there already. */
  load(images: readonly string[], tag?: string): Promise<void>;
  /** Its nodes, network and control plane, where this process started it: skip what needs it where undefined. */
  own: Cluster | undefined;
  /** Ends it where this process started it. */
  close(): Promise<void>;
};

/**
 * Opens the cluster that tests share (E2E_CLUSTER, by `make e2e`: they run where clients are), or the one that KUBECONFIG names, or
 * else starts one.
 */
export async function openCluster(name = 'e2e'): Promise<OpenCluster> {
  const shared = process.env.E2E_CLUSTER;
  if (shared) {
    const program = await kubeTools('cluster');
    return opened(join(folderOf(shared), 'control-plane', 'kubeconfig'), program);
  }
  const kubeconfig = process.env.KUBECONFIG;
  if (kubeconfig !== undefined && kubeconfig !== '') return opened(kubeconfig, (each) => each);
  await clusterPackages();
  const own = await startCluster({ name });
  return {
    ...opened(own.kubeconfig, await kubeTools('cluster')),
    load: (images, tag) => own.load(images, tag),
    own,
    close: () => own.stop(),
  };
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
