import { type ChildProcess, spawn } from 'node:child_process';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { CLUSTER_RULES, OWN_RULES } from '@pushcluster/operator/rbac.ts';
import { freePorts } from '../ports.ts';
import { until } from '../until.ts';
import type { ControlPlane } from './controlPlane.ts';
import { apply } from './kubectl.ts';

const PROGRAM = new URL('../../../operator/main.ts', import.meta.url).pathname;
const IMAGES = { GATEWAY_IMAGE: 'gateway:1.2.3', LOGIC_IMAGE: 'logic:1.2.3', NATS_IMAGE: 'nats:2' };

/** Whose requests the operator's are. */
export const OPERATOR_USER = 'the-operator';

/** The operator as its own process, with exactly the rights that it says it needs. */
export class OperatorProcess {
  readonly adminPort: number;
  readonly #plane: ControlPlane;
  readonly #env: Record<string, string>;
  readonly #flags: readonly string[];
  #child: ChildProcess | undefined;
  #exit: Promise<number | null> = Promise.resolve(null);
  #output = '';

  /** @param options `flags` are Node's */
  constructor(plane: ControlPlane, options: { adminPort: number; env?: Record<string, string>; flags?: string[] }) {
    const { adminPort, env = {}, flags = [] } = options;
    this.#plane = plane;
    this.#flags = flags;
    this.adminPort = adminPort;
    this.#env = env;
  }

  /** What it has logged, over all of its starts. */
  get output(): string {
    return this.#output;
  }

  /** Of the process that was started last. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Makes the CRD and its rights. Call it once for a control plane. */
  static async install(plane: ControlPlane): Promise<void> {
    await apply(plane.kubectl, [crd(), ...rights()]);
    await plane.kubectl(['wait', '--for=condition=Established', 'crd/pushclusters.pushcluster.dev', '--timeout=30s']);
  }

  /** All that a test of what it makes needs: the CRD, a namespace for a PushCluster, and it leading. */
  static async startIn(plane: ControlPlane, namespace: string): Promise<OperatorProcess> {
    await OperatorProcess.install(plane);
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }]);
    const [adminPort = 0] = await freePorts(1);
    const operator = new OperatorProcess(plane, { adminPort });
    try {
      await operator.start();
    } catch (error) {
      await operator.end('SIGKILL');
      throw error;
    }
    return operator;
  }

  /** Starts it and waits until it leads. */
  async start(): Promise<void> {
    const KUBECONFIG = await this.#plane.kubeconfigFor(`/CN=${OPERATOR_USER}`);
    const admin = { ADMIN_HOST: '127.0.0.1', ADMIN_PORT: String(this.adminPort) };
    const env = { ...process.env, ...IMAGES, KUBECONFIG, ...admin, ...this.#env };
    const child = spawn(process.execPath, [...this.#flags, PROGRAM], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        this.#output += text;
      });
    this.#child = child;
    this.#exit = new Promise((resolve) => child.once('exit', resolve));
    await until('the operator leads', () => output.includes('"leading"'), 30_000).catch((error: Error) => {
      throw new Error(`${error.message}: ${output}`);
    });
  }

  /** Ends it; its exit code, null where a signal ended it. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#child?.kill(signal);
    return this.#exit;
  }
}

function rights(): object[] {
  const apiVersion = 'rbac.authorization.k8s.io/v1';
  const subjects = [{ kind: 'User', name: OPERATOR_USER, apiGroup: 'rbac.authorization.k8s.io' }];
  const role = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name: OPERATOR_USER });
  const own = { name: OPERATOR_USER, namespace: 'default' };
  return [
    { apiVersion, kind: 'ClusterRole', metadata: { name: OPERATOR_USER }, rules: CLUSTER_RULES },
    {
      ...{ apiVersion, kind: 'ClusterRoleBinding', metadata: { name: OPERATOR_USER } },
      ...{ roleRef: role('ClusterRole'), subjects },
    },
    { apiVersion, kind: 'Role', metadata: own, rules: OWN_RULES },
    { apiVersion, kind: 'RoleBinding', metadata: own, roleRef: role('Role'), subjects },
  ];
}
