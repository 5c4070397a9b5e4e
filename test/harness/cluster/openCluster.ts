import { type Cluster, startCluster } from './cluster.ts';
import { clusterPackages } from './images.ts';
import { type Kubectl, kubectlWith } from './kubectl.ts';

/** The cluster of a test: one of our own, or the one that KUBECONFIG names. */
export type OpenCluster = {
  kubeconfig: string;
  kubectl: Kubectl;
  /** Makes images available to its nodes; on KUBECONFIG's they have to be where its nodes find them already. */
  load(images: readonly string[], tag?: string): Promise<void>;
  /** Its nodes, network and control plane, where it is our own; undefined on KUBECONFIG's: skip what needs it. */
  own: Cluster | undefined;
  /** Ends it where it is our own. */
  close(): Promise<void>;
};

/** Opens the cluster that KUBECONFIG names, where it is set, else starts one. */
export async function openCluster(name = 'e2e'): Promise<OpenCluster> {
  const kubeconfig = process.env.KUBECONFIG;
  if (kubeconfig !== undefined && kubeconfig !== '') {
    return {
      kubeconfig,
      kubectl: kubectlWith('kubectl', kubeconfig),
      load: async () => {},
      own: undefined,
      close: async () => {},
    };
  }
  await clusterPackages();
  const own = await startCluster({ name });
  return {
    kubeconfig: own.kubeconfig,
    kubectl: own.kubectl,
    load: (images, tag) => own.load(images, tag),
    own,
    close: () => own.stop(),
  };
}
