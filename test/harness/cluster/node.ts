import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Certificate } from '../certificates.ts';
import { type AddressPlan, familiesOf, inUrl, joined } from './addressPlan.ts';
import { makeCgroup } from './cgroups.ts';
import { Daemon } from './daemon.ts';
import type { Host } from './host.ts';

/** The image of pod sandboxes, built by scripts/images.sh. */
export const PAUSE_IMAGE = 'localhost/pause:3';
/** The folder of Debian's containernetworking-plugins. */
const CNI_PLUGINS = '/usr/lib/cni';
const CONTAINERD_SOCKET = '/run/containerd/containerd.sock';

export type NodeOptions = {
  host: Host;
  program: (name: string) => string;
  folder: string;
  /** The control group that contains the node's pods. */
  cgroup: string;
  plan: AddressPlan;
  /** Its number, from 0. */
  index: number;
  caFile: string;
  serving: Certificate;
  kubeconfigs: { kubelet: string; kubeProxy: string };
  detached: boolean;
};

/** A node of the cluster: containerd, kubelet and kube-proxy on a host of their own. */
export class ClusterNode {
  readonly name: string;
  readonly address: string;
  readonly host: Host;
  readonly containerd: Daemon;
  /** A test may kill and restart the kubelet: pods continue without it. */
  readonly kubelet: Daemon;
  readonly kubeProxy: Daemon;
  readonly #options: NodeOptions;

  constructor(options: NodeOptions) {
    const { host, program, folder, plan, index, detached } = options;
    this.#options = options;
    this.name = host.name;
    this.address = plan.node(index);
    this.host = host;
    const place = { host, detached };
    const logFile = (name: string) => join(folder, `${name}.log`);
    this.containerd = new Daemon({
      ...place,
      command: [program('containerd'), '--config', join(folder, 'containerd.toml')],
      logFile: logFile('containerd'),
      ready: () => answers(this.ctr('version')),
      // containerd finds its shim and runc through the PATH.
      env: {
        PATH: `${join(program('containerd'), '..')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
      },
    });
    this.kubelet = new Daemon({
      ...place,
      command: [
        program('kubelet'),
        `--config=${join(folder, 'kubelet.json')}`,
        `--kubeconfig=${options.kubeconfigs.kubelet}`,
        `--root-dir=${join(folder, 'kubelet')}`,
        `--hostname-override=${this.name}`,
        `--node-ip=${joined(plan, (each) => each.node(index))}`,
      ],
      logFile: logFile('kubelet'),
      ready: () => answers(this.#healthz(10248)),
    });
    this.kubeProxy = new Daemon({
      ...place,
      command: [program('kube-proxy'), `--config=${join(folder, 'kube-proxy.json')}`],
      logFile: logFile('kube-proxy'),
      ready: () => answers(this.#healthz(10256)),
    });
  }

  /** Starts all programs of the node. The API server reports the node as Ready shortly afterwards. */
  async start(images: readonly string[]): Promise<void> {
    makeCgroup(this.#options.cgroup);
    await this.#configure();
    await this.containerd.start();
    // The first pod needs the sandbox image.
    await this.load(images);
    await this.kubelet.launch();
    await this.kubeProxy.launch();
    await Promise.all([this.kubelet.ready(), this.kubeProxy.ready()]);
  }

  /** Loads images from OCI archives. */
  async load(archives: readonly string[]): Promise<void> {
    for (const archive of archives) await this.ctr('images', 'import', '--local', archive);
  }

  /** Runs containerd's client in the kubelet's namespace. */
  ctr(...args: string[]): Promise<string> {
    return this.host.run(this.#options.program('ctr'), '-a', CONTAINERD_SOCKET, '-n', 'k8s.io', ...args);
  }

  #healthz(port: number): Promise<string> {
    const question = `exec 3<>/dev/tcp/127.0.0.1/${port}; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; grep -q ' 200 ' <&3`;
    return this.host.run('bash', '-c', question);
  }

  async #configure(): Promise<void> {
    const { folder } = this.#options;
    const cni = join(folder, 'cni');
    await mkdir(cni, { recursive: true });
    await mkdir(join(folder, 'kubelet'), { recursive: true });
    await writeFile(join(folder, 'containerd.toml'), containerdConfig(folder, cni));
    await writeFile(join(cni, '10-pods.conflist'), JSON.stringify(cniConfig(this.#options)));
    await writeFile(join(folder, 'kubelet.json'), JSON.stringify(kubeletConfig(this.#options)));
    await writeFile(join(folder, 'kube-proxy.json'), JSON.stringify(kubeProxyConfig(this.#options)));
  }
}

async function answers(question: Promise<unknown>): Promise<boolean> {
  return question.then(
    () => true,
    () => false,
  );
}

function containerdConfig(folder: string, cni: string): string {
  return `version = 3
root = '${join(folder, 'containerd')}'
state = '/run/containerd'
disabled_plugins = ['io.containerd.internal.v1.opt']
[grpc]
  address = '${CONTAINERD_SOCKET}'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '${PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['${CNI_PLUGINS}']
    conf_dir = '${cni}'
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins.'io.containerd.nri.v1.nri']
  disable = true
`;
}

/**
 * Each pod has its own veth pair to the node, and the node routes. With a bridge, traffic between its pods would bypass
 * kube-proxy.
 */
function cniConfig({ plan, index, folder }: NodeOptions): object {
  return {
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [
      {
        type: 'ptp',
        ipam: {
          type: 'host-local',
          dataDir: join(folder, 'cni-addresses'),
          ranges: familiesOf(plan).map((each) => [{ subnet: each.podsOf(index) }]),
          routes: familiesOf(plan).map((each) => ({ dst: each.everywhere })),
        },
      },
    ],
  };
}

function kubeletConfig({ folder, cgroup, caFile, serving, plan }: NodeOptions): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    address: plan.any,
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: caFile } },
    authorization: { mode: 'Webhook' },
    tlsCertFile: serving.certFile,
    tlsPrivateKeyFile: serving.keyFile,
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}`,
    failCgroupV1: false,
    failSwapOn: false,
    clusterDomain: 'cluster.local',
    clusterDNS: [plan.dns],
    // Pods must not use the name servers of this machine.
    resolvConf: '',
    podLogsDir: join(folder, 'pod-logs'),
    volumePluginDir: join(folder, 'volume-plugins'),
    // A developer's disk may be almost full; pods must not be evicted because of it.
    evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
  };
}

function kubeProxyConfig({ host, kubeconfigs, plan }: NodeOptions): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    clientConnection: { kubeconfig: kubeconfigs.kubeProxy },
    hostnameOverride: host.name,
    bindAddress: plan.any,
    healthzBindAddress: `${inUrl(plan.any)}:10256`,
    clusterCIDR: joined(plan, ({ pods }) => pods),
    detectLocalMode: 'ClusterCIDR',
    // The machine sets the size of the connection tracking table, not a node on it.
    conntrack: { maxPerCore: 0, min: 0 },
  };
}
