import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { BYTES_METRIC, CONNECTIONS_METRIC } from '@pushcluster/operator/metricsApi/api.ts';
import { parse } from 'yaml';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { helmWith } from '../harness/cluster/helm.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { CHART, REGISTRY } from '../harness/cluster/product.ts';
import { startPrometheusAdapter } from '../harness/cluster/prometheusAdapter.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { type Prometheus, startPrometheus } from '../harness/prometheus.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const TARGET = 10;
const CONNECTED = [12, 7] as const;
const MORE = 16;
const DEADLINE_MS = 120_000;

const ConfigMap = z.object({ data: z.object({ 'config.yaml': z.string() }) });
const Values = z.object({
  items: z.array(z.object({ describedObject: z.object({ name: z.string() }), value: z.string() })),
});
const Condition = z.object({ type: z.string(), status: z.string(), message: z.string() });
const Autoscaler = z.object({
  status: z.object({ conditions: z.array(Condition).default([]), currentMetrics: z.unknown().optional() }),
});

/** Pods are objects here whose gateways are processes beside them: by their labels Prometheus takes these for those. */
describe("prometheus-adapter, with the chart's rules", () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let pods: PlayedPods;
  let nats: NatsServer;
  let gateways: GatewayProcess[] = [];
  let logic: LogicProcess;
  let prometheus: Prometheus;
  let adapter: Awaited<ReturnType<typeof startPrometheusAdapter>>;
  const connections: Connection[] = [];
  /** Names of the pods that the gateways stand for. */
  let names: string[] = [];

  before(async () => {
    [plane, nats] = await Promise.all([startControlPlane(), startNatsServer()]);
    await OperatorProcess.install(plane);
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }]);
    const [adminPort = 0, podPort = 0] = await freePorts(2);
    operator = new OperatorProcess(plane, { adminPort, env: { POD_PORT: String(podPort) } });
    pods = new PlayedPods(plane, podPort);
    const options = { nats: [nats.url], settings: { gateway: { shards: 1 }, auth: { anonymous: true } } };
    [gateways, logic] = await Promise.all([
      Promise.all([startGateway(options), startGateway(options)]),
      startLogic({ nats: [nats.url] }),
      operator.start(),
      pods.start(),
    ]);
    await apply(plane.kubectl, [
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata: { name: 'live', namespace: NAMESPACE },
        spec: { gateway: { autoscaling: { minReplicas: 2, maxReplicas: 6, targetConnections: TARGET } } },
      },
    ]);
    await until('both pods run', () => pods.of(NAMESPACE).length === 2, DEADLINE_MS).catch((error: Error) => {
      throw new Error(`${error.message}: ${operator.output.slice(-3_000)}`);
    });
    names = pods.of(NAMESPACE).map(({ name }) => name);
    prometheus = await startPrometheus({
      targets: gateways.map((gateway, i) => ({
        address: `127.0.0.1:${gateway.adminPort}`,
        labels: { namespace: NAMESPACE, pod: names[i] ?? '' },
      })),
    });
    adapter = await startPrometheusAdapter(plane, { prometheus: prometheus.url, config: await rules() });
    await Promise.all([come(0, CONNECTED[0]), come(1, CONNECTED[1])]);
  });
  after(async () => {
    cutAll(connections);
    await adapter?.stop();
    await Promise.all([
      ...gateways.map((gateway) => gateway.stop()),
      logic?.stop(),
      prometheus?.stop(),
      operator?.end('SIGKILL'),
    ]);
    await Promise.all([pods?.stop(), nats?.stop()]);
    await plane?.stop();
  });

  /** Its configuration, from the ConfigMap that the chart makes. */
  async function rules(): Promise<string> {
    const helm = helmWith((await kubeTools('control-plane'))('helm'));
    const template = ['-s', 'templates/metrics-api-adapter-rules.yaml'];
    const set = ['--set', `images.registry=${REGISTRY},metricsApi.prometheusAdapterRules=true`];
    const made = await helm(['template', 'pushcluster', CHART, ...set, ...template]);
    return ConfigMap.parse(parse(made)).data['config.yaml'];
  }
  async function come(gateway: number, count: number): Promise<void> {
    const { port = 0 } = gateways[gateway] ?? {};
    for (let n = 0; n < count; n++) connections.push(await Connection.open({ port }));
  }
  /** What `kubectl get --raw` gives, by pod. */
  async function values(metric: string, namespace = NAMESPACE): Promise<Record<string, string>> {
    const path = `/apis/custom.metrics.k8s.io/v1beta1/namespaces/${namespace}/pods/*/${metric}`;
    const { items } = Values.parse(JSON.parse(await plane.kubectl(['get', '--raw', path])));
    return Object.fromEntries(items.map(({ describedObject: { name }, value }) => [name, value]));
  }
  /** Waits for values; says which they were last where they don't come. */
  async function comes(what: string, metric: string, holds: (found: Record<string, string>) => boolean): Promise<void> {
    let last = '';
    await until(
      what,
      async () => {
        const found = await values(metric).catch((error: Error) => {
          last = error.message;
          return undefined;
        });
        if (found) last = JSON.stringify(found);
        return found !== undefined && holds(found);
      },
      DEADLINE_MS,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${last}\n${adapter.logTail()}`);
    });
  }
  const autoscaler = async () =>
    Autoscaler.parse(JSON.parse(await plane.kubectl(['get', 'hpa/live-gateway', '-n', NAMESPACE, '-o=json']))).status;
  const describeHpa = () => plane.kubectl(['get', 'hpa/live-gateway', '-n', NAMESPACE, '-o=yaml']).catch(String);

  it('answers with the connections of each gateway', async () => {
    const expected = Object.fromEntries(names.map((name, i) => [name, `${CONNECTED[i]}`]));
    await comes('it has theirs and no others', CONNECTIONS_METRIC, (found) => isDeepStrictEqual(found, expected));
  });

  it('answers with the bytes a second of each gateway', async () => {
    for (const connection of connections) await connection.join('football');
    let pushed = 0;
    await comes('there are some', BYTES_METRIC, (found) => {
      // As many as it takes: what came before a first scrape is in no rate.
      logic.push({ room: 'football' }, [`"item ${pushed++}"`]).catch(() => {});
      return names.every((name) => found[name] !== undefined && found[name] !== '0');
    });
  });

  it("feeds Kubernetes' autoscaler, which scales out by it", async () => {
    await until(
      'the autoscaler has the metric',
      async () =>
        (await autoscaler()).conditions.some(({ type, status }) => type === 'ScalingActive' && status === 'True'),
      DEADLINE_MS,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}: ${await describeHpa()}`);
    });
    const wanted = async () =>
      Number(await plane.kubectl(['get', 'pushcluster/live', '-n', NAMESPACE, '-o=jsonpath={.spec.gateway.replicas}']));
    assert.equal(await wanted(), 2, 'nineteen connections are enough for two gateways');
    await come(1, MORE);
    await until('35 connections get four gateways', async () => (await wanted()) === 4, DEADLINE_MS).catch(
      async (error: Error) => {
        throw new Error(`${error.message}: ${await describeHpa()}`);
      },
    );
  });

  it('has no value of a gateway that is gone, instead of an old one or zero', async () => {
    await gateways[1]?.stop();
    await comes('it has the other one only', CONNECTIONS_METRIC, (found) => Object.keys(found).join() === names[0]);
  });
});
