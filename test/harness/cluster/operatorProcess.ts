import { type ChildProcess, spawn } from 'node:child_process';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { CLUSTER_RULES, OWN_RULES } from '@pushcluster/operator/rbac.ts';
import type { MemoryCgroup } from '../memoryCgroup.ts';
import { freePorts } from '../ports.ts';
import { until } from '../until.ts';
import type { ControlPlane } from './controlPlane.ts';
import { helmWith } from './helm.ts';
import { apply, established } from './kubectl.ts';
import { CHART, REGISTRY } from './product.ts';
import { kubeTools } from './tools.ts';

const PROGRAM = new URL('../../../operator/main.ts', import.meta.url).pathname;
const IMAGES = {
  GATEWAY_IMAGE: 'gateway:1.2.3',
  LOGIC_IMAGE: 'logic:1.2.3',
  NATS_IMAGE: 'nats:2',
  NATS_EXPORTER_IMAGE: 'exporter:2',
};

/** Default user name of the operator's requests. */
export const OPERATOR_USER = 'the-operator';
/** The group that has the operator's rights. */
export const OPERATOR_GROUP = 'the-operators';

/** The operator as a process, with exactly its documented rights. */
export class OperatorProcess {
  readonly adminPort: number;
  /** User name of the operator for the API server and its audit log. */
  readonly user: string;
  readonly #plane: ControlPlane;
  readonly #env: Record<string, string>;
  readonly #flags: readonly string[];
  readonly #cgroup: MemoryCgroup | undefined;
  readonly #program: string;
  readonly #restarts: boolean;
  #child: ChildProcess | undefined;
  /** A test has ended it: it is not started again. */
  #ended = false;
  #exit: Promise<number | null> = Promise.resolve(null);
  #output = '';
  /** Output of the latest start. */
  #outputNow = '';

  /**
   * @param options `flags` are flags for Node; `program` is the main file of another version; `restarts`: the process is
   * started again when it has lost its lease, as a kubelet would (default: only without a `user` of its own, which tests of
   * several operators have); `cgroup`: all its processes are in it
   */
  constructor(
    plane: ControlPlane,
    options: {
      adminPort: number;
      user?: string;
      env?: Record<string, string>;
      flags?: string[];
      program?: string;
      restarts?: boolean;
      cgroup?: MemoryCgroup | undefined;
    },
  ) {
    const { adminPort, user = OPERATOR_USER, env = {}, flags = [], program = PROGRAM } = options;
    this.user = user;
    this.#restarts = options.restarts ?? options.user === undefined;
    this.#plane = plane;
    this.#flags = flags;
    this.#cgroup = options.cgroup;
    this.#program = program;
    this.adminPort = adminPort;
    this.#env = env;
  }

  /** Log output over all starts. */
  get output(): string {
    return this.#output;
  }

  /** Process id of the latest start. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /**
   * Installs the CRD, the operator's rights, and the chart's policies that restrict what it writes. Call it once for each
   * control plane.
   */
  static async install(plane: ControlPlane): Promise<void> {
    await apply(plane.kubectl, [crd(), ...rights()]);
    await apply(plane.kubectl, await policies());
    await established(plane.kubectl, 'pushclusters.pushcluster.dev');
  }

  /**
   * Prepares a test of the operator's objects: installs the CRD, creates a namespace for a PushCluster, and starts an
   * operator that leads.
   */
  static async startIn(plane: ControlPlane, namespace: string): Promise<OperatorProcess> {
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }]);
    return OperatorProcess.startOn(plane);
  }

  /** Installs the CRD, and starts an operator that leads. */
  static async startOn(plane: ControlPlane): Promise<OperatorProcess> {
    await OperatorProcess.install(plane);
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

  /** Starts the operator and waits until it leads. */
  async start(): Promise<void> {
    await this.launch();
    await until('the operator leads', () => this.leads).catch((error: Error) => {
      throw new Error(`${error.message}: ${this.#outputNow}`);
    });
  }

  /** Whether the latest process has become the leader. */
  get leads(): boolean {
    return this.#outputNow.includes('"leading"');
  }

  /** Starts the operator without waiting. */
  async launch(): Promise<void> {
    this.#ended = false;
    await this.#spawn();
  }

  async #spawn(): Promise<void> {
    const KUBECONFIG = await this.#plane.kubeconfigFor(`/O=${OPERATOR_GROUP}/CN=${this.user}`);
    const admin = { ADMIN_HOST: '127.0.0.1', ADMIN_PORT: String(this.adminPort) };
    const env = { ...process.env, ...IMAGES, KUBECONFIG, ...admin, ...this.#env };
    if (this.#ended) return;
    const start = async () =>
      spawn(process.execPath, [...this.#flags, this.#program], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const child = await (this.#cgroup ? this.#cgroup.within(start) : start());
    this.#outputNow = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#outputNow += text;
        this.#output += text;
      });
    this.#child = child;
    // Not at `exit`: its last words may still be in the pipe then.
    this.#exit = new Promise((resolve) => child.once('close', resolve));
    child.once('close', () => {
      const lostLease = child === this.#child && !child.killed && this.#outputNow.includes('lost the lease');
      if (this.#restarts && lostLease) void this.#spawn();
    });
  }

  /**
   * Sends `signal` and waits for the end, by when `output` is complete. Returns the exit code; null if a signal ended the
   * operator.
   */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#ended = true;
    this.signal(signal);
    return this.#exit;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }
}

/** The chart's policies, about the group of the processes in place of the chart's service account. */
async function policies(): Promise<string> {
  const helm = helmWith((await kubeTools('control-plane'))('helm'));
  const args = [
    '-s',
    'templates/operator-policy.yaml',
    '--set',
    `images.registry=${REGISTRY},metricsApi.enabled=true,rbac.podServiceAccounts={cloud}`,
  ];
  const text = await helm(['template', 'pushcluster', CHART, '-n', 'default', ...args]);
  const account = "request.userInfo.username == 'system:serviceaccount:default:pushcluster-operator'";
  if (!text.includes(account)) throw new Error(`the policies are not about ${account}:\n${text}`);
  return text.replaceAll(account, `request.userInfo.groups.exists(group, group == '${OPERATOR_GROUP}')`);
}

function rights(): object[] {
  const apiVersion = 'rbac.authorization.k8s.io/v1';
  const subjects = [{ kind: 'Group', name: OPERATOR_GROUP, apiGroup: 'rbac.authorization.k8s.io' }];
  const role = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name: OPERATOR_GROUP });
  const own = { name: OPERATOR_GROUP, namespace: 'default' };
  return [
    { apiVersion, kind: 'ClusterRole', metadata: { name: OPERATOR_GROUP }, rules: CLUSTER_RULES },
    {
      ...{ apiVersion, kind: 'ClusterRoleBinding', metadata: { name: OPERATOR_GROUP } },
      ...{ roleRef: role('ClusterRole'), subjects },
    },
    { apiVersion, kind: 'Role', metadata: own, rules: OWN_RULES },
    { apiVersion, kind: 'RoleBinding', metadata: own, roleRef: role('Role'), subjects },
  ];
}
