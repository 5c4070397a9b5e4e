import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { API_SERVICE, CONNECTIONS_METRIC, METRICS_API_VERSION } from '@pushcluster/operator/metricsApi/api.ts';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { metricsApiRegistration, metricsApiRights } from '../harness/cluster/metricsApi.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const TARGET = 100;
/** A reading counts for 20 s, the autoscaler looks every 5 s. */
const STALE_MS = 20_000;
const SYNC_MS = 5_000;

const Pods = z.object({
  items: z.array(
    z.object({
      metadata: z.object({
        name: z.string(),
        deletionTimestamp: z.string().optional(),
        labels: z.record(z.string(), z.string()),
        annotations: z.record(z.string(), z.string()).default({}),
      }),
      status: z.object({ phase: z.string(), podIP: z.string().optional() }),
    }),
  ),
});
type Pod = z.infer<typeof Pods>['items'][number];
const Conditions = z.array(z.object({ type: z.string(), status: z.string(), reason: z.string(), message: z.string() }));

describe("Kubernetes' own autoscaler, on a PushCluster", () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  /** What each gateway says that it holds; a pod that is not in it says nothing. */
  let connections: (pod: Pod) => number | undefined = () => 0;
  const pods = new Map<string, { pod: Pod; server: Server | undefined }>();
  let played: Promise<void>;
  let ended = false;

  before(async () => {
    plane = await startControlPlane();
    await OperatorProcess.install(plane);
    await apply(plane.kubectl, [
      ...metricsApiRights(OPERATOR_USER),
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    ]);
    const [port = 0, adminPort = 0] = await freePorts(2);
    await apply(plane.kubectl, metricsApiRegistration(port));
    const env = { METRICS_API_HOST: '127.0.0.1', METRICS_API_PORT: String(port) };
    operator = new OperatorProcess(plane, { adminPort, env });
    await operator.start();
    await plane.kubectl(['wait', `apiservice/${API_SERVICE}`, '--for=condition=Available', '--timeout=60s']);
    played = play();
  });
  after(async () => {
    ended = true;
    await played;
    for (const { server } of pods.values()) server?.closeAllConnections();
    for (const { server } of pods.values()) server?.close();
    await operator?.end('SIGKILL');
    await plane?.stop();
  });

  /**
   * Where there are no nodes nobody runs pods: their status is set here, and what they say of themselves is said on
   * addresses of loopback. Everything else is real.
   */
  async function play(): Promise<void> {
    const network = `127.${100 + Math.floor(Math.random() * 100)}.${Math.floor(Math.random() * 250)}`;
    let last = 1;
    while (!ended) {
      const selector = 'pushcluster.dev/cluster=live,app.kubernetes.io/component=gateway';
      const { text } = await plane.get(`/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${selector}`);
      const found = Pods.parse(JSON.parse(text)).items;
      for (const pod of found) {
        const known = pods.get(pod.metadata.name);
        if (known) known.pod = pod;
        else {
          const podIP = `${network}.${++last}`;
          const { name } = pod.metadata;
          pods.set(name, { pod, server: undefined });
          const server = await listen(podIP, name);
          pods.set(name, { pod, server });
          await setRunning(name, podIP);
        }
      }
      for (const [name, { server }] of pods)
        if (!found.some((pod) => pod.metadata.name === name)) {
          pods.delete(name);
          server?.closeAllConnections();
          server?.close();
        }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  function listen(host: string, name: string): Promise<Server> {
    const server = createServer((_, response) => {
      const known = pods.get(name);
      const count = known && connections(known.pod);
      if (known === undefined || count === undefined) {
        response.destroy();
        return;
      }
      response.setHeader('content-type', 'application/json').end(JSON.stringify(statusOf(known.pod, count)));
    });
    return new Promise((resolve) => server.listen({ host, port: 9090 }, () => resolve(server)));
  }
  async function setRunning(name: string, podIP: string): Promise<void> {
    const now = new Date().toISOString();
    const conditions = ['Initialized', 'ContainersReady', 'Ready', 'PodScheduled'].map((type) => ({
      ...{ type, status: 'True', lastTransitionTime: now },
    }));
    const status = { phase: 'Running', podIP, podIPs: [{ ip: podIP }], startTime: now, conditions };
    await plane.kubectl([
      ...['patch', 'pod', name, '-n', NAMESPACE, '--subresource=status', '--type=merge'],
      ...['-p', JSON.stringify({ status })],
    ]);
  }

  const wanted = async () =>
    Number(await plane.kubectl(['get', 'pushcluster/live', '-n', NAMESPACE, '-o=jsonpath={.spec.gateway.replicas}']));
  const condition = async (type: string) => {
    const path = '-o=jsonpath={.status.conditions}';
    const text = await plane.kubectl(['get', 'hpa/live-gateway', '-n', NAMESPACE, path, '--ignore-not-found']);
    return Conditions.parse(text === '' ? [] : JSON.parse(text)).find((each) => each.type === type);
  };
  const describeHpa = () => plane.kubectl(['get', 'hpa/live-gateway', '-n', NAMESPACE, '-o=yaml']).catch(String);
  async function wants(count: number, deadline: number): Promise<void> {
    await until(`${count} gateways are wanted`, async () => (await wanted()) === count, deadline).catch(
      async (error: Error) => {
        throw new Error(`${error.message}: ${await describeHpa()}\n${operator.output.slice(-3_000)}`);
      },
    );
  }
  /** Looks for `ms` that as many gateways stay wanted. */
  async function staysAt(count: number, ms: number): Promise<void> {
    const end = performance.now() + ms;
    await until(
      'that time is over',
      async () => {
        assert.equal(await wanted(), count, await describeHpa());
        return performance.now() > end;
      },
      ms + 10_000,
    );
  }
  const running = () => [...pods.values()].filter(({ server }) => server !== undefined);
  /** The metrics API has a value of this for every pod. */
  async function told(value: number): Promise<void> {
    const path = `/apis/${METRICS_API_VERSION}/namespaces/${NAMESPACE}/pods/*/${CONNECTIONS_METRIC}`;
    await until(
      `every gateway is told to hold ${value}`,
      async () => {
        const { status, text } = await plane.get(path);
        if (status !== 200) return false;
        const values = [...text.matchAll(/"value":"(\d+)"/g)].map(([, each]) => Number(each));
        return values.length === running().length && values.every((each) => each === value);
      },
      STALE_MS,
    );
  }

  it('scales out by connections, through the scale subresource', async () => {
    connections = () => TARGET;
    await apply(plane.kubectl, [
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata: { name: 'live', namespace: NAMESPACE },
        spec: {
          gateway: {
            autoscaling: {
              minReplicas: 2,
              // Readings of one moment are seconds apart: what has moved meanwhile counts twice.
              maxReplicas: 4,
              targetConnections: TARGET,
              // At once: what a stabilised autoscaler would hide is to be seen.
              behavior: {
                scaleUp: { stabilizationWindowSeconds: 0 },
                scaleDown: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 4, periodSeconds: 5 }] },
              },
            },
          },
        },
      },
    ]);
    await until(
      'the autoscaler has the metric',
      async () => (await condition('ScalingActive'))?.status === 'True',
      60_000,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${await describeHpa()}\n${operator.output.slice(-3_000)}`);
    });
    assert.equal(await wanted(), 2);
    connections = () => 2 * TARGET;
    await wants(4, STALE_MS + 2 * SYNC_MS);
    connections = () => TARGET;
    await until('there are four gateways', () => running().length === 4, 20_000);
    await told(TARGET);
    await staysAt(4, 2 * SYNC_MS);
  });

  it('does not scale in by what it does not know: a gateway that says nothing is missing, and not empty', async () => {
    const [silent] = pods.keys();
    assert.ok(silent);
    let says: number | undefined;
    // Three of 80 and one that may be full need four; were it empty, three would do.
    connections = ({ metadata }) => (metadata.name === silent ? says : 0.8 * TARGET);
    const path = `/apis/${METRICS_API_VERSION}/namespaces/${NAMESPACE}/pods/*/${CONNECTIONS_METRIC}`;
    const isMissing = async () => !(await plane.get(path)).text.includes(`"${silent}"`);
    await until('its last word is too old', isMissing, STALE_MS + SYNC_MS);
    assert.equal((await condition('ScalingActive'))?.status, 'True');
    await staysAt(4, 2 * SYNC_MS + 2_000);
    says = 0;
    await wants(3, STALE_MS + 2 * SYNC_MS);
  });

  it('goes on where it was when the operator comes back, and changes nothing meanwhile', async () => {
    connections = () => TARGET;
    await told(TARGET);
    const before = await wanted();
    await operator.end('SIGKILL');
    await until(
      'the autoscaler misses the metric',
      async () => (await condition('ScalingActive'))?.status === 'False',
      60_000,
    );
    assert.equal(await wanted(), before);
    await operator.start();
    await until(
      'the autoscaler has the metric again',
      async () => (await condition('ScalingActive'))?.status === 'True',
      90_000,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${await describeHpa()}\n${operator.output.slice(-3_000)}`);
    });
    assert.equal(await wanted(), before);
  });

  it('neither takes a drain back nor doubles it while a gateway drains, with no window to hide it', async () => {
    connections = () => 2 * TARGET;
    await wants(4, STALE_MS + 2 * SYNC_MS);
    await until('there are four gateways', () => running().length === 4, 20_000);
    // 260 of four gateways need three; counted without the one that drains, they would need two.
    connections = () => 0.65 * TARGET;
    await wants(3, STALE_MS + 2 * SYNC_MS);
    const drains = () => running().filter(({ pod }) => pod.metadata.annotations['pushcluster.dev/drain']);
    await until('one drains', () => drains().length === 1, 20_000).catch((error: Error) => {
      throw new Error(`${error.message}: ${operator.output.slice(-3_000)}`);
    });
    await staysAt(3, 3 * SYNC_MS);
    assert.equal(drains().length, 1);
    assert.equal(running().length, 4);
  });
});

function statusOf({ metadata: { name, annotations } }: Pod, connections: number): PodStatus {
  return {
    ...{ version: '1.2.3', role: 'gateway', name, draining: Boolean(annotations['pushcluster.dev/drain']) },
    ...{ connections, bytesSentTotal: 0, pressure: {}, bus: { connected: true } },
    settings: { generation: 0, file: '0'.repeat(64) },
    fds: { limit: 1_048_576, open: connections },
  };
}
