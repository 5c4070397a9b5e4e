import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../ports.ts';
import type { ControlPlane } from './controlPlane.ts';
import { Daemon } from './daemon.ts';
import { goProgram } from './goProgram.ts';
import { apply } from './kubectl.ts';
import { metricsApiRegistration } from './metricsApi.ts';

/** The API version that prometheus-adapter's own chart registers. */
const VERSION = 'v1beta1';

/**
 * A real prometheus-adapter on loopback as the custom metrics API of a control plane. Resolves when the API server gets
 * answers from the adapter. Stop it at the end of the test.
 * @param config text of its configuration file, YAML
 */
export async function startPrometheusAdapter(
  plane: ControlPlane,
  { prometheus, config }: { prometheus: string; config: string },
): Promise<{ stop: () => Promise<void>; logTail: () => string }> {
  const folder = await mkdtemp(join(tmpdir(), 'pushcluster-prometheus-adapter-'));
  const [port = 0] = await freePorts(1);
  await writeFile(join(folder, 'config.yaml'), config);
  const { kubeconfig } = plane;
  const available = () =>
    plane.get(`/apis/custom.metrics.k8s.io/v1beta1`).then(
      ({ status }) => status === 200,
      () => false,
    );
  const adapter = new Daemon({
    command: [
      await goProgram('prometheus-adapter'),
      `--config=${join(folder, 'config.yaml')}`,
      `--prometheus-url=${prometheus}`,
      `--lister-kubeconfig=${kubeconfig}`,
      `--authentication-kubeconfig=${kubeconfig}`,
      `--authorization-kubeconfig=${kubeconfig}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${port}`,
      `--cert-dir=${folder}`,
      // The default is ten minutes, during which the adapter would not see a new cluster.
      '--metrics-relist-interval=2s',
      '--metrics-max-age=1m',
    ],
    logFile: join(folder, 'prometheus-adapter.log'),
    ready: available,
  });
  // As in prometheus-adapter's own chart without certificates.
  const trust = { insecureSkipTLSVerify: true };
  await apply(plane.kubectl, metricsApiRegistration(port, { name: 'prometheus-adapter', version: VERSION, trust }));
  const stop = async () => {
    await adapter.kill();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await adapter.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop, logTail: () => adapter.logTail };
}
