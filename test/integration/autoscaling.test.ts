import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { API_SERVICE, CONNECTIONS_METRIC, METRICS_API_VERSION } from '@pushcluster/operator/metricsApi/api.ts';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { metricsApiRegistration, metricsApiRights } from '../harness/cluster/metricsApi.ts';
import { OPERATOR_USER, OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const TARGET = 100;
/** The autoscaler looks every 5 s. */
const SYNC_MS = 5_000;
/** A reading counts for 20 s, and then the autoscaler looks; a busy machine takes its time. */
const FOLLOWS_MS = 120_000;

const PUSH_CLUSTER = `/apis/pushcluster.dev/v1alpha1/namespaces/${NAMESPACE}/pushclusters/live`;
const HPA = `/apis/autoscaling/v2/namespaces/${NAMESPACE}/horizontalpodautoscalers/live-gateway`;
/** Milliseconds between two looks. */
const LOOK_MS = 100;
const Wanted = z.object({ spec: z.object({ gateway: z.object({ replicas: z.number().optional() }) }) });
const Condition = z.object({ type: z.string(), status: z.string(), reason: z.string(), message: z.string() });
const Reported = z.object({ status: z.object({ conditions: z.array(Condition) }) });
const Conditions = z.object({ status: z.object({ conditions: z.array(Condition).optional() }) });

describe("Kubernetes' own autoscaler, on a PushCluster", () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let pods: PlayedPods;

  before(async () => {
    plane = await startControlPlane();
    await OperatorProcess.install(plane);
    await apply(plane.kubectl, [
      ...metricsApiRights(OPERATOR_USER),
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
    ]);
    const [port = 0, adminPort = 0, podPort = 0] = await freePorts(3);
    await apply(plane.kubectl, metricsApiRegistration(port));
    const env = { METRICS_API_HOST: '127.0.0.1', METRICS_API_PORT: String(port), POD_PORT: String(podPort) };
    operator = new OperatorProcess(plane, { adminPort, env });
    pods = new PlayedPods(plane, podPort);
    await Promise.all([operator.start(), pods.start()]);
    await plane.kubectl(['wait', `apiservice/${API_SERVICE}`, '--for=condition=Available', '--timeout=180s']);
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await pods?.stop();
    await plane?.stop();
  });

  const running = () => pods.of(NAMESPACE);
  /** What each gateway says that it holds from now on, those that are still to come too. */
  function eachHolds(connections: number): void {
    pods.startsWith = () => connections;
    for (const { says } of running()) says.connections = connections;
  }

  /** Asked without a kubectl: a process for each look would be most of what this test costs. */
  async function get<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
    const { status, text } = await plane.get(path);
    return status === 404 ? undefined : schema.parse(JSON.parse(text));
  }
  const wanted = async () => (await get(PUSH_CLUSTER, Wanted))?.spec.gateway.replicas;
  const condition = async (type: string) =>
    (await get(HPA, Conditions))?.status.conditions?.find((each) => each.type === type);
  const describeHpa = () => plane.kubectl(['get', 'hpa/live-gateway', '-n', NAMESPACE, '-o=yaml']).catch(String);
  async function wants(count: number): Promise<void> {
    await until(`${count} gateways are wanted`, async () => (await wanted()) === count, FOLLOWS_MS, LOOK_MS).catch(
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
        const found = await wanted();
        if (found !== count) assert.equal(found, count, await describeHpa());
        return performance.now() > end;
      },
      ms + FOLLOWS_MS,
      LOOK_MS,
    );
  }
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
      FOLLOWS_MS,
      LOOK_MS,
    );
  }

  it('scales out by connections, through the scale subresource', async () => {
    eachHolds(TARGET);
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
      FOLLOWS_MS,
      LOOK_MS,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${await describeHpa()}\n${operator.output.slice(-3_000)}`);
    });
    assert.equal(await wanted(), 2);
    const reported = async () =>
      (await get(PUSH_CLUSTER, Reported))?.status.conditions.find(({ type }) => type === 'Autoscaling');
    await until(
      'the status tells that it works',
      async () => (await reported())?.reason === 'Active',
      FOLLOWS_MS,
      LOOK_MS,
    );
    eachHolds(2 * TARGET);
    await wants(4);
    await until(
      'the status tells that more are needed',
      async () => (await reported())?.reason === 'AtMaximum',
      FOLLOWS_MS,
      LOOK_MS,
    );
    assert.equal(
      (await reported())?.message,
      'HorizontalPodAutoscaler live-gateway needs more than gateway.autoscaling.maxReplicas, 4',
    );
    eachHolds(TARGET);
    await until('there are four gateways', () => running().length === 4);
    await told(TARGET);
    await staysAt(4, 2 * SYNC_MS);
  });

  it('does not scale in by what it does not know: a gateway that says nothing is missing, and not empty', async () => {
    // Three of 80 and one that may be full need four; were it empty, three would do.
    eachHolds(0.8 * TARGET);
    const [silent] = running();
    assert.ok(silent);
    silent.isUp = false;
    const path = `/apis/${METRICS_API_VERSION}/namespaces/${NAMESPACE}/pods/*/${CONNECTIONS_METRIC}`;
    const isMissing = async () => !(await plane.get(path)).text.includes(`"${silent.name}"`);
    await until('its last word is too old', isMissing, FOLLOWS_MS, LOOK_MS);
    await until(
      'the autoscaler goes by the others',
      async () => (await condition('ScalingActive'))?.status === 'True',
      FOLLOWS_MS,
      LOOK_MS,
    );
    await staysAt(4, 2 * SYNC_MS + 2_000);
    silent.says.connections = 0;
    silent.isUp = true;
    await wants(3);
  });

  it('goes on where it was when the operator comes back, and changes nothing meanwhile', async () => {
    eachHolds(TARGET);
    await told(TARGET);
    const before = await wanted();
    await operator.end('SIGKILL');
    await until(
      'the autoscaler misses the metric',
      async () => (await condition('ScalingActive'))?.status === 'False',
      FOLLOWS_MS,
      LOOK_MS,
    );
    assert.equal(await wanted(), before);
    await operator.start();
    await until(
      'the autoscaler has the metric again',
      async () => (await condition('ScalingActive'))?.status === 'True',
      FOLLOWS_MS,
      LOOK_MS,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${await describeHpa()}\n${operator.output.slice(-3_000)}`);
    });
    assert.equal(await wanted(), before);
  });

  it('neither takes a drain back nor doubles it while a gateway drains, with no window to hide it', async () => {
    eachHolds(2 * TARGET);
    await wants(4);
    await until('there are four gateways', () => running().length === 4);
    // 260 of four gateways need three; counted without the one that drains, they would need two.
    eachHolds(0.65 * TARGET);
    await wants(3);
    const drains = () =>
      running().filter(({ name }) => pods.object(NAMESPACE, name)?.metadata.annotations?.['pushcluster.dev/drain']);
    await until('one drains', () => drains().length === 1).catch((error: Error) => {
      throw new Error(`${error.message}: ${operator.output.slice(-3_000)}`);
    });
    await staysAt(3, 3 * SYNC_MS);
    assert.equal(drains().length, 1);
    assert.equal(running().length, 4);
  });
});
