import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { until } from '../until.ts';
import { type AddressPlan, addressPlan, inUrl } from './addressPlan.ts';
import { cgroupName, removeCgroups } from './cgroups.ts';
import { type ControlPlane, startControlPlane } from './controlPlane.ts';
import { LOOPBACK } from './controlPlaneCommands.ts';
import { Daemon } from './daemon.ts';
import { endHost, Host, hostPids } from './host.ts';
import { buildImages } from './images.ts';
import { apply, type Kubectl } from './kubectl.ts';
import { joinNetwork } from './network.ts';
import { ClusterNode } from './node.ts';
import { kubeTools } from './tools.ts';

const ADDONS = new URL('addons.yaml', import.meta.url);
const RELAY = new URL('relay.ts', import.meta.url).pathname;
const LOAD_BALANCER = new URL('loadBalancer.ts', import.meta.url).pathname;
/** Days for which the certificates of the cluster are valid, that of its kubeconfig included. */
const DAYS = 30;
const FOLDERS = '/var/lib/pushcluster';
const READY_DEADLINE_MS = 300_000;
/** Stands in addons.yaml for the address of the cluster's DNS. */
const DNS_ADDRESS = 'DNS_ADDRESS';

export type ClusterOptions = {
  /** Clusters of different names can run at the same time. */
  name?: string;
  nodes?: number;
  /** The addresses of nodes, pods and Services: IPv4 (default), IPv6 or DualStack. */
  family?: string;
  /** Whether Services of type LoadBalancer get an address and accept connections there; true by default. */
  loadBalancer?: boolean;
  /** The cluster outlives this process; `stopCluster` ends it. */
  detached?: boolean;
  /** Called with a description of each step. */
  progress?: (text: string) => void;
};

/** A real Kubernetes of several nodes on this machine. */
export class Cluster {
  readonly name: string;
  readonly controlPlane: ControlPlane;
  /** The network of the control plane and of clients, outside the nodes. Services and pods can be reached from it. */
  readonly outside: Host;
  readonly nodes: readonly ClusterNode[];
  readonly kubeconfig: string;
  readonly kubectl: Kubectl;

  constructor(name: string, controlPlane: ControlPlane, outside: Host, nodes: readonly ClusterNode[]) {
    this.name = name;
    this.controlPlane = controlPlane;
    this.outside = outside;
    this.nodes = nodes;
    this.kubeconfig = controlPlane.kubeconfig;
    this.kubectl = controlPlane.kubectl;
  }

  /** Loads images onto every node, by the names of scripts/images.sh. @param source of another version */
  async load(images: readonly string[], tag?: string, source?: string): Promise<void> {
    const archives = await buildImages(images, tag, source === undefined ? {} : { source });
    await Promise.all(this.nodes.map((node) => node.load(archives)));
  }

  /** Ends the cluster and removes all its processes and files. */
  stop(): Promise<void> {
    return stopCluster(this.name);
  }
}

/**
 * Starts a control plane and nodes, with DNS and metrics, and waits until pods can run. First removes the remains of a
 * cluster of the same name that was not stopped. Needs root and the packages of `scripts/debian-packages.sh cluster`.
 */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const {
    name = 'test',
    nodes: size = 2,
    family,
    loadBalancer = true,
    detached = false,
    progress = () => {},
  } = options;
  const plan = addressPlan(family);
  if (process.getuid?.() !== 0)
    throw new Error('a cluster of our own needs root: its nodes are namespaces and control groups');
  await stopCluster(name);
  const program = await kubeTools('cluster');
  const images = await buildImages(['pause', 'coredns', 'metrics-server']);
  const folder = folderOf(name);
  await mkdir(folder, { recursive: true });
  try {
    progress('network and control plane');
    const hostNames = Array.from({ length: size }, (_, index) => `node${index + 1}`);
    const startHost = (host: string) =>
      Host.start({ cluster: name, name: host, init: program('pause'), folder, detached });
    const [outside, ...hosts] = await Promise.all(['outside', ...hostNames].map(startHost));
    await joinNetwork(outside!, hosts, plan);
    const controlPlane = await startControlPlane({
      on: { host: outside!, addresses: plan, expose: (port) => expose(outside!, folder, port, detached) },
      folder: join(folder, 'control-plane'),
      detached,
      days: DAYS,
    });
    if (loadBalancer) {
      await new Daemon({
        command: [process.execPath, LOAD_BALANCER, controlPlane.kubeconfig, plan.family],
        host: outside!,
        logFile: join(folder, 'load-balancer.log'),
        ready: async () => true,
        detached,
      }).start();
    }
    progress('nodes');
    const nodes = await Promise.all(
      hosts.map((host, index) => makeNode({ name, folder, host, plan, index, controlPlane, program, detached })),
    );
    const cluster = new Cluster(name, controlPlane, outside!, nodes);
    await Promise.all(nodes.map((node) => node.start(images)));
    await nodesReady(cluster);
    progress('DNS and metrics');
    await apply(cluster.kubectl, (await readFile(ADDONS, 'utf8')).replace(DNS_ADDRESS, plan.dns));
    await addonsReady(cluster);
    return cluster;
  } catch (error) {
    await stopCluster(name);
    throw error;
  }
}

/**
 * Ends a cluster, or removes its remains after a crash: processes, with their mounts and networks; control groups;
 * files.
 */
export async function stopCluster(name: string): Promise<void> {
  await Promise.all([...hostPids(name).values()].map(endHost));
  await removeCgroups(name);
  await rm(folderOf(name), { recursive: true, force: true });
  // The folder may hold other clusters.
  await rmdir(FOLDERS).catch(() => {});
}

/** Whether anything of a cluster exists. */
export function clusterExists(name: string): boolean {
  return hostPids(name).size > 0 || existsSync(folderOf(name));
}

/**
 * The folder of a cluster's files. It belongs to root and is outside of any checkout. Its path is short, because paths
 * of Unix sockets are limited to 107 bytes.
 */
export function folderOf(name: string): string {
  if (!/^[a-z][a-z0-9-]{0,19}$/.test(name))
    throw new Error(`"${name}" cannot be the name of a cluster: letters, digits, -`);
  return `${FOLDERS}/${name}`;
}

type NodePlan = {
  name: string;
  folder: string;
  host: Host;
  plan: AddressPlan;
  index: number;
  controlPlane: ControlPlane;
  program: (name: string) => string;
  detached: boolean;
};

async function makeNode({
  name,
  folder,
  host,
  plan,
  index,
  controlPlane,
  program,
  detached,
}: NodePlan): Promise<ClusterNode> {
  const server = `https://${inUrl(plan.outside)}:${controlPlane.port}`;
  const [serving, kubelet, kubeProxy] = await Promise.all([
    controlPlane.authority.issue(`IP:${plan.node(index)},DNS:${host.name}`, `/CN=${host.name}`),
    controlPlane.kubeconfigFor(`/O=system:nodes/CN=system:node:${host.name}`, server),
    controlPlane.kubeconfigFor('/CN=system:kube-proxy', server),
  ]);
  return new ClusterNode({
    ...{ host, program, plan, index, serving, detached },
    folder: join(folder, host.name),
    cgroup: cgroupName(name, host.name),
    caFile: controlPlane.authority.caFile,
    kubeconfigs: { kubelet, kubeProxy },
  });
}

/** Forwards a loopback port of this machine to a loopback port of the outside host. */
async function expose(outside: Host, folder: string, port: number, detached: boolean): Promise<void> {
  const socket = join(folder, 'api.sock');
  const relay = (from: string, to: string) => [process.execPath, RELAY, from, to] as [string, ...string[]];
  const address = `${LOOPBACK}:${port}`;
  const inner = new Daemon({
    command: relay(socket, address),
    host: outside,
    logFile: join(folder, 'relay-inner.log'),
    ready: async () => existsSync(socket),
    detached,
  });
  const outer = new Daemon({
    command: relay(address, socket),
    host: outside.onMachineNetwork,
    logFile: join(folder, 'relay-outer.log'),
    ready: async () => true,
    detached,
  });
  await inner.start();
  await outer.start();
}

const TIMEOUT = `--timeout=${READY_DEADLINE_MS / 1_000}s`;

async function nodesReady({ kubectl, nodes }: Cluster): Promise<void> {
  await until(
    'all nodes have registered',
    async () => {
      const names = await kubectl(['get', 'nodes', '-o', 'name']);
      return names.trim().split('\n').length === nodes.length;
    },
    READY_DEADLINE_MS,
  );
  await kubectl(['wait', 'nodes', '--all', '--for=condition=Ready', TIMEOUT]);
}

async function addonsReady({ kubectl }: Cluster): Promise<void> {
  try {
    await kubectl(['-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', TIMEOUT]);
    await kubectl(['-n', 'kube-system', 'rollout', 'status', 'deployment/metrics-server', TIMEOUT]);
    await kubectl(['wait', 'apiservice', 'v1beta1.metrics.k8s.io', '--for=condition=Available', TIMEOUT]);
  } catch (error) {
    const pods = await kubectl(['describe', 'pods', '-n', 'kube-system']);
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${pods}`);
  }
}
