import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createAuthority } from '../certificates.ts';
import { freePorts } from '../ports.ts';
import type { ControlPlane } from './controlPlane.ts';
import { Daemon } from './daemon.ts';
import { writeAccountsKubeconfig } from './kubeconfig.ts';
import { apply, established } from './kubectl.ts';
import { metricsApiRegistration } from './metricsApi.ts';

const NAMESPACE = 'keda';
const ACCOUNT = 'keda-operator';
const SCRIPTS = new URL('../../../scripts/', import.meta.url).pathname;
const GROUP = 'external.metrics.k8s.io';
const VERSION = 'v1beta1';

export type Keda = { stop: () => Promise<void>; logTail: () => string };

/**
 * A real KEDA for a control plane: its controller and its metrics API, as a ServiceAccount with the rights of KEDA's
 * own manifests. Resolves when the API server gets answers from the metrics API. Stop it at the end of the test.
 */
export async function startKeda(plane: ControlPlane): Promise<Keda> {
  const programs = await said('keda.sh');
  const config = join(await said('released-crds.sh', 'keda'), '../..');
  const folder = await mkdtemp(join(tmpdir(), 'pushcluster-keda-'));
  const certificates = await kedaCertificates(folder);
  await installKeda(plane, config);
  const account = { kubectl: plane.kubectl, namespace: NAMESPACE, account: ACCOUNT };
  const kubeconfig = await writeAccountsKubeconfig(join(folder, 'kubeconfig'), account);
  const [probes = 0, between = 0, adapterMetrics = 0, port = 0] = await freePorts(4);
  const env = {
    KUBECONFIG: kubeconfig,
    WATCH_NAMESPACE: '',
    POD_NAMESPACE: NAMESPACE,
    KEDA_CLUSTER_OBJECT_NAMESPACE: NAMESPACE,
  };
  const controller = new Daemon({
    command: [
      join(programs, 'operator'),
      `--kubeconfig=${kubeconfig}`,
      '--metrics-bind-address=0',
      `--health-probe-bind-address=127.0.0.1:${probes}`,
      `--metrics-service-bind-address=127.0.0.1:${between}`,
      `--cert-dir=${certificates}`,
    ],
    env,
    logFile: join(folder, 'operator.log'),
    ready: () =>
      fetch(`http://127.0.0.1:${probes}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      ),
  });
  const adapter = new Daemon({
    command: [
      join(programs, 'adapter'),
      `--kubeconfig=${kubeconfig}`,
      `--lister-kubeconfig=${kubeconfig}`,
      `--authentication-kubeconfig=${kubeconfig}`,
      `--authorization-kubeconfig=${kubeconfig}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      `--port=${adapterMetrics}`,
      `--metrics-service-address=127.0.0.1:${between}`,
      `--cert-dir=${certificates}`,
      `--tls-cert-file=${join(certificates, 'tls.crt')}`,
      `--tls-private-key-file=${join(certificates, 'tls.key')}`,
    ],
    env,
    logFile: join(folder, 'adapter.log'),
    ready: () =>
      plane.get(`/apis/${GROUP}/${VERSION}`).then(
        ({ status }) => status === 200,
        () => false,
      ),
  });
  const stop = async () => {
    await Promise.all([controller, adapter].map((each) => (each.running ? each.kill() : undefined)));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await controller.start();
    const trust = { insecureSkipTLSVerify: true };
    await apply(
      plane.kubectl,
      metricsApiRegistration(port, { name: 'keda-metrics-apiserver', group: GROUP, version: VERSION, trust }),
    );
    await adapter.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop, logTail: () => `${controller.logTail}\n${adapter.logTail}` };
}

/** Creates the certificates of KEDA's two programs, with the file names that KEDA expects. */
async function kedaCertificates(folder: string): Promise<string> {
  const authority = await createAuthority('KEDA authority', { folder });
  const { certFile, keyFile } = await authority.issue('DNS:localhost,IP:127.0.0.1');
  const named = { 'ca.crt': authority.caFile, 'tls.crt': certFile, 'tls.key': keyFile };
  for (const [name, file] of Object.entries(named)) await copyFile(file, join(folder, name));
  return folder;
}

/** Installs KEDA's CRDs and RBAC rules. */
async function installKeda({ kubectl }: ControlPlane, config: string): Promise<void> {
  await apply(kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }]);
  const kinds = join(config, 'crd/bases');
  const files = [
    ...(await readdir(kinds)).map((file) => join(kinds, file)),
    ...['service_account/service_account', 'rbac/role', 'rbac/role_binding'].map((file) =>
      join(config, `${file}.yaml`),
    ),
    ...['role', 'role_binding'].map((file) => join(config, `metrics-server/${file}.yaml`)),
  ];
  for (const file of files) await apply(kubectl, await readFile(file, 'utf8'));
  await established(kubectl, 'scaledobjects.keda.sh');
}

/** The output of a script. The first call of some scripts builds programs, which takes minutes on a new machine. */
async function said(script: string, ...args: string[]): Promise<string> {
  const running = promisify(execFile)(join(SCRIPTS, script), args);
  running.child.stderr?.pipe(process.stderr);
  return (await running).stdout.trim();
}
