import { join } from 'node:path';
import type { Credentials } from './credentials.ts';

/** Cluster addresses of Services; the first one is the API server's. */
export const SERVICE_RANGE = '10.96.0.0/16';
export const API_SERVICE = '10.96.0.1';
export const LOOPBACK = '127.0.0.1';

/** From the range for documentation: without nodes nobody looks for the API server there. */
const NOWHERE = '192.0.2.1';
/** Shorter than Kubernetes' own 50 s and 15 s, which make tests of lost nodes and of autoscaling long. */
const NODE_GRACE = '20s';
const AUTOSCALER_PERIOD = '5s';

export type Ports = { api: number; etcd: number; etcdPeer: number; controllerManager: number };
export type Plan = {
  program: (name: string) => string;
  folder: string;
  credentials: Credentials;
  ports: Ports;
  /** Where nodes find the API server; undefined where there are none. */
  nodesReach: string | undefined;
};

/** What is asked for is written down, never what was in it: secrets are asked for too. */
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
    // A killed process loses nothing by it: only a machine would.
    '--unsafe-no-fsync',
  ];
}

export function apiServerCommand({ program, folder, credentials, ports, nodesReach }: Plan): [string, ...string[]] {
  const { authority, frontProxyAuthority, serving, admin, frontProxy, serviceAccountKey } = credentials;
  return [
    program('kube-apiserver'),
    `--etcd-servers=http://${LOOPBACK}:${ports.etcd}`,
    `--bind-address=${nodesReach ? '0.0.0.0' : LOOPBACK}`,
    `--secure-port=${ports.api}`,
    `--advertise-address=${nodesReach ?? NOWHERE}`,
    `--endpoint-reconciler-type=${nodesReach ? 'lease' : 'none'}`,
    `--service-cluster-ip-range=${SERVICE_RANGE}`,
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
    // It is no part of the cluster's own network: it goes to the pods of an API and not to its Service. Where there is no
    // such network, an API is a process on loopback: a Service of type ExternalName leads there.
    ...(nodesReach ? ['--enable-aggregator-routing'] : []),
    '--kubelet-preferred-address-types=InternalIP',
    `--kubelet-certificate-authority=${authority.caFile}`,
    `--kubelet-client-certificate=${admin.certFile}`,
    `--kubelet-client-key=${admin.keyFile}`,
    `--audit-policy-file=${auditPolicyFile(folder)}`,
    `--audit-log-path=${auditLogFile(folder)}`,
    // No second file: a test reads this one.
    '--audit-log-maxsize=0',
  ];
}

export function controllerManagerCommand(plan: Plan): [string, ...string[]] {
  const { program, folder, credentials, ports } = plan;
  const { authority, serviceAccountKey, kubeconfigs } = credentials;
  return [
    program('kube-controller-manager'),
    // With the limits that it comes with, the pods of 200 PushClusters take it more than a minute.
    '--kube-api-qps=40',
    '--kube-api-burst=60',
    ...clientOf(kubeconfigs.controllerManager, folder),
    `--secure-port=${ports.controllerManager}`,
    `--service-account-private-key-file=${serviceAccountKey}`,
    `--root-ca-file=${authority.caFile}`,
    `--cluster-signing-cert-file=${authority.caFile}`,
    `--cluster-signing-key-file=${authority.caKeyFile}`,
    // Its own default is a folder of the system, which it makes.
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
