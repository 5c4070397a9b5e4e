import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Authority } from '../certificates.ts';
import { freePorts } from '../ports.ts';
import { type AddressPlan, addressPlan } from './addressPlan.ts';
import { AuditLog } from './audit.ts';
import {
  AUDIT_POLICY,
  apiServerCommand,
  auditLogFile,
  auditPolicyFile,
  controllerManagerCommand,
  etcdCommand,
  LOOPBACK,
  type Plan,
  schedulerCommand,
} from './controlPlaneCommands.ts';
import { createCredentials } from './credentials.ts';
import { Daemon } from './daemon.ts';
import type { Host } from './host.ts';
import { writeKubeconfig } from './kubeconfig.ts';
import { type Kubectl, kubectlWith } from './kubectl.ts';
import { kubeTools } from './tools.ts';

const REQUEST_TIMEOUT_MS = 30_000;

export type ControlPlaneOptions = {
  /**
   * The host that runs the control plane, outside the nodes. By default it runs on loopback, without nodes and
   * without a scheduler.
   */
  on?: {
    host: Host;
    addresses: AddressPlan;
    /** Makes a port of the host reachable on this machine's loopback. */
    expose: (port: number) => Promise<void>;
  };
  /** Folder for files; a new temporary folder by default. */
  folder?: string;
  /** The control plane outlives this process. */
  detached?: boolean;
  /** Days for which the certificates are valid. */
  days?: number;
};

/** A real Kubernetes control plane: etcd, API server, controller manager and, if it has nodes, a scheduler. */
export class ControlPlane {
  /** `https://127.0.0.1:…` */
  readonly url: string;
  readonly port: number;
  /** Path of an administrator's kubeconfig. */
  readonly kubeconfig: string;
  readonly kubectl: Kubectl;
  readonly audit: AuditLog;
  readonly authority: Authority;
  /** Signs the certificate with which the API server identifies itself to aggregated APIs. */
  readonly frontProxyAuthority: Authority;
  readonly etcd: Daemon;
  /** A test may kill, pause, resume and restart the API server: it keeps its port and its data. */
  readonly apiServer: Daemon;
  readonly controllerManager: Daemon;
  readonly scheduler: Daemon;
  readonly #folder: string;
  readonly #agent: Agent;

  constructor(plan: Plan, place: { host?: Host; detached: boolean }) {
    const { folder, ports, credentials, program } = plan;
    const { authority, frontProxyAuthority, admin, kubeconfigs } = credentials;
    const logFile = (name: string) => join(folder, `${name}.log`);
    this.#folder = folder;
    this.#agent = new Agent({
      keepAlive: true,
      ca: readFileSync(authority.caFile),
      cert: readFileSync(admin.certFile),
      key: readFileSync(admin.keyFile),
    });
    this.port = ports.api;
    this.url = `https://${LOOPBACK}:${ports.api}`;
    this.kubeconfig = kubeconfigs.admin;
    this.kubectl = kubectlWith(program('kubectl'), kubeconfigs.admin);
    this.audit = new AuditLog(auditLogFile(folder));
    this.authority = authority;
    this.frontProxyAuthority = frontProxyAuthority;
    this.etcd = new Daemon({
      ...place,
      command: etcdCommand(plan),
      logFile: logFile('etcd'),
      // The API server waits for etcd.
      ready: async () => true,
    });
    this.apiServer = new Daemon({
      ...place,
      command: apiServerCommand(plan),
      logFile: logFile('kube-apiserver'),
      ready: () => this.#answers('/readyz'),
    });
    this.controllerManager = new Daemon({
      ...place,
      command: controllerManagerCommand(plan),
      logFile: logFile('kube-controller-manager'),
      // The controller manager creates the service account that pods need.
      ready: () => this.#answers('/api/v1/namespaces/default/serviceaccounts/default'),
    });
    this.scheduler = new Daemon({
      ...place,
      command: schedulerCommand(plan),
      logFile: logFile('kube-scheduler'),
      ready: async () => true,
    });
  }

  /** Requests a path of the API server as administrator. Throws if the API server does not answer. */
  get(path: string): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const options = { agent: this.#agent, timeout: REQUEST_TIMEOUT_MS };
      const asked = request(`${this.url}${path}`, options, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        response.once('end', () => resolve({ status: response.statusCode ?? 0, text })).once('error', reject);
      });
      asked.once('timeout', () => asked.destroy(new Error(`no answer from ${path} in ${REQUEST_TIMEOUT_MS} ms`)));
      asked.once('error', reject).end();
    });
  }

  /**
   * Writes a kubeconfig for another user, who has the rights that RBAC grants.
   * @param subject such as `/O=group/CN=user`
   * @param namespace for commands that name none
   */
  async kubeconfigFor(subject: string, server = this.url, namespace = 'default'): Promise<string> {
    const client = await this.authority.issue('', subject);
    const { caFile } = this.authority;
    return writeKubeconfig(`${client.certFile}.kubeconfig`, { server, caFile, client, namespace });
  }

  /** Ends the control plane and removes its data. */
  async stop(): Promise<void> {
    // In this order no process waits for another.
    await Promise.all([this.controllerManager, this.scheduler].map((each) => each.kill()));
    await this.apiServer.kill();
    await this.etcd.kill();
    this.#agent.destroy();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #answers(path: string): Promise<boolean> {
    try {
      return (await this.get(path)).status === 200;
    } catch {
      return false;
    }
  }
}

/** Starts a control plane and waits until objects can be created. On loopback it needs no root. */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const { on, detached = false, days = 2 } = options;
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'pushcluster-control-plane-')));
  await mkdir(folder, { recursive: true });
  const addresses = on?.addresses ?? addressPlan();
  const program = await kubeTools(on ? 'cluster' : 'control-plane');
  const [api = 0, etcd = 0, etcdPeer = 0, controllerManager = 0] = await freePorts(4);
  const credentials = await createCredentials({
    folder,
    server: `https://${LOOPBACK}:${api}`,
    addresses: [LOOPBACK, addresses.apiService, ...(on ? [addresses.outside] : [])],
    days,
  });
  await writeFile(auditPolicyFile(folder), JSON.stringify(AUDIT_POLICY));
  const ports = { api, etcd, etcdPeer, controllerManager };
  const plane = new ControlPlane(
    { program, folder, credentials, ports, addresses, hasNodes: on !== undefined },
    { detached, ...(on ? { host: on.host } : {}) },
  );
  try {
    await on?.expose(api);
    await plane.etcd.start();
    await plane.apiServer.start();
    await plane.controllerManager.launch();
    if (on) await plane.scheduler.launch();
    await plane.controllerManager.ready();
  } catch (error) {
    await plane.stop();
    throw error;
  }
  return plane;
}
