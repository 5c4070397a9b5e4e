import { join } from 'node:path';
import { type AddressPlan, joined } from './addressPlan.ts';
import type { Credentials } from './credentials.ts';

export const LOOPBACK = '127.0.0.1';

/** An address of the range for documentation: without nodes nobody connects to the API server at it. */
const NOWHERE = '192.0.2.1';
/** Shorter than Kubernetes' defaults of 50 s and 15 s, which would slow down tests of lost nodes and of autoscaling. */
const NODE_GRACE = '20s';
const AUTOSCALER_PERIOD = '5s';

export type Ports = { api: number; etcd: number; etcdPeer: number; controllerManager: number };
export type Plan = {
  program: (name: string) => string;
  folder: string;
  credentials: Credentials;
  ports: Ports;
  addresses: AddressPlan;
  /** Whether nodes connect to the API server. */
  hasNodes: boolean;
};

/** Logs the metadata of requests but no bodies, because they may contain secrets. */
export const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [{ level: 'Metadata' }],
};

export const auditPolicyFile = (folder: string) => join(folder, 'audit-policy.json');
export const auditLogFile = (folder: string) => join(folder, 'audit.log');

export function etcdCommand({ program, folder, ports }: Plan): [string, ...string[]] {
  const url = `http://${LOOPBACK}:${ports.etcd}`;
  const peerUrl = `http://${LOOPBACK}:${ports.etcdPeer}`;
  return [
    program('etcd'),
    `--data-dir=${join(folder, 'etcd')}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
    '--log-level=warn',
    // Killed processes lose no data without fsync; only a crash of the machine would.
    '--unsafe-no-fsync',
  ];
}

export function apiServerCommand({
  program,
  folder,
  credentials,
  ports,
  addresses,
  hasNodes,
}: Plan): [string, ...string[]] {
  const { authority, frontProxyAuthority, serving, admin, frontProxy, serviceAccountKey } = credentials;
  return [
    program('kube-apiserver'),
    `--etcd-servers=http://${LOOPBACK}:${ports.etcd}`,
    `--bind-address=${hasNodes ? addresses.any : LOOPBACK}`,
    `--secure-port=${ports.api}`,
    `--advertise-address=${hasNodes ? addresses.outside : NOWHERE}`,
    `--endpoint-reconciler-type=${hasNodes ? 'lease' : 'none'}`,
    `--service-cluster-ip-range=${joined(addresses, ({ services }) => services)}`,
    `--cert-dir=${folder}`,
    `--tls-cert-file=${serving.certFile}`,
    `--tls-private-key-file=${serving.keyFile}`,
    `--client-ca-file=${authority.caFile}`,
    '--authorization-mode=Node,RBAC',
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${serviceAccountKey}`,
    `--service-account-signing-key-file=${serviceAccountKey}`,
    `--requestheader-client-ca-file=${frontProxyAuthority.caFile}`,
    '--requestheader-allowed-names=front-proxy',
    '--requestheader-username-headers=X-Remote-User',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    `--proxy-client-cert-file=${frontProxy.certFile}`,
    `--proxy-client-key-file=${frontProxy.keyFile}`,
    // The API server is outside the network of Services, so it connects directly to the pods of an aggregated API.
    // Without nodes, an aggregated API is a process on loopback, to which a Service of type ExternalName leads.
    ...(hasNodes ? ['--enable-aggregator-routing'] : []),
    '--kubelet-preferred-address-types=InternalIP',
    `--kubelet-certificate-authority=${authority.caFile}`,
    `--kubelet-client-certificate=${admin.certFile}`,
    `--kubelet-client-key=${admin.keyFile}`,
    `--audit-policy-file=${auditPolicyFile(folder)}`,
    `--audit-log-path=${auditLogFile(folder)}`,
    // No rotation: tests read this file.
    '--audit-log-maxsize=0',
  ];
}

export function controllerManagerCommand(plan: Plan): [string, ...string[]] {
  const { program, folder, credentials, ports } = plan;
  const { authority, serviceAccountKey, kubeconfigs } = credentials;
  return [
    program('kube-controller-manager'),
    // With the default limits the controller manager needs more than a minute for the pods of 200 PushClusters.
    '--kube-api-qps=40',
    '--kube-api-burst=60',
    ...clientOf(kubeconfigs.controllerManager, folder),
    `--secure-port=${ports.controllerManager}`,
    `--service-account-private-key-file=${serviceAccountKey}`,
    `--root-ca-file=${authority.caFile}`,
    `--cluster-signing-cert-file=${authority.caFile}`,
    `--cluster-signing-key-file=${authority.caKeyFile}`,
    // By default the controller manager creates a system folder.
    `--flex-volume-plugin-dir=${join(folder, 'volume-plugins')}`,
    `--node-monitor-grace-period=${NODE_GRACE}`,
    `--horizontal-pod-autoscaler-sync-period=${AUTOSCALER_PERIOD}`,
  ];
}

export function schedulerCommand({ program, folder, credentials }: Plan): [string, ...string[]] {
  return [program('kube-scheduler'), ...clientOf(credentials.kubeconfigs.scheduler, folder)];
}

function clientOf(kubeconfig: string, folder: string): string[] {
  return [
    `--kubeconfig=${kubeconfig}`,
    `--authentication-kubeconfig=${kubeconfig}`,
    `--authorization-kubeconfig=${kubeconfig}`,
    `--bind-address=${LOOPBACK}`,
    `--cert-dir=${folder}`,
    '--leader-elect=false',
  ];
}
