import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { type Keda, startKeda } from '../harness/cluster/keda.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { Connection, cutAll } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { freePorts } from '../harness/ports.ts';
import { type GatewayProcess, startGateway } from '../harness/processes.ts';
import { type Prometheus, startPrometheus } from '../harness/prometheus.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const TARGET = 10;
const AUTOSCALING = {
  minReplicas: 2,
  maxReplicas: 6,
  targetConnections: TARGET,
  // At once: what a stabilised autoscaler would hide is to be seen.
  behavior: {
    scaleDown: { stabilizationWindowSeconds: 0, policies: [{ type: 'Pods', value: 4, periodSeconds: 15 }] },
  },
};
/** Several queries of KEDA, 15 s apart, and looks of the autoscaler. */
const LOST_MS = 60_000;
const DEADLINE_MS = 240_000;

const Autoscaler = z.object({
  metadata: z.object({ ownerReferences: z.array(z.object({ kind: z.string(), name: z.string() })) }),
  spec: z.object({
    scaleTargetRef: z.object({ apiVersion: z.string(), kind: z.string(), name: z.string() }),
    minReplicas: z.number(),
    maxReplicas: z.number(),
  }),
});

/** Pods are objects here whose gateway is a process beside them: by its labels Prometheus takes it for one of those. */
describe('KEDA itself', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let pods: PlayedPods;
  let nats: NatsServer;
  let gateway: GatewayProcess;
  let prometheus: Prometheus;
  let keda: Keda;
  const connections: Connection[] = [];

  before(async () => {
    [plane, nats] = await Promise.all([startControlPlane(), startNatsServer()]);
    await OperatorProcess.install(plane);
    await apply(plane.kubectl, [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } }]);
    keda = await startKeda(plane);
    const [adminPort = 0, podPort = 0] = await freePorts(2);
    operator = new OperatorProcess(plane, { adminPort, env: { POD_PORT: String(podPort) } });
    pods = new PlayedPods(plane, podPort);
    [gateway] = await Promise.all([
      startGateway({ nats: [nats.url], settings: { gateway: { shards: 1 }, auth: { anonymous: true } } }),
      operator.start(),
      pods.start(),
    ]);
    await pushCluster({ autoscaling: AUTOSCALING });
    await until('both pods run', () => pods.of(NAMESPACE).length === 2, DEADLINE_MS);
    const [pod] = pods.of(NAMESPACE);
    prometheus = await startPrometheus({
      targets: [{ address: `127.0.0.1:${gateway.adminPort}`, labels: { namespace: NAMESPACE, pod: pod?.name ?? '' } }],
    });
  });
  after(async () => {
    cutAll(connections);
    await keda?.stop();
    await Promise.all([gateway?.stop(), prometheus?.stop(), operator?.end('SIGKILL')]);
    await Promise.all([pods?.stop(), nats?.stop()]);
    await plane?.stop();
  });

  const pushCluster = (of: object) =>
    apply(plane.kubectl, [
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata: { name: 'live', namespace: NAMESPACE },
        spec: { gateway: of },
      },
    ]);
  const get = (...args: string[]) => plane.kubectl(['get', '-n', NAMESPACE, '--ignore-not-found', ...args]);
  const soon = (what: string, holds: () => Promise<boolean>) =>
    until(what, holds, DEADLINE_MS).catch(async (error: Error) => {
      const found = await get('scaledobject,hpa', '-o=yaml').catch(String);
      throw new Error(`${error.message}: ${found}\n${keda.logTail()}\n${operator.output.slice(-3_000)}`);
    });
  const condition = (type: string) =>
    get('scaledobject/live-gateway', `-o=jsonpath={.status.conditions[?(@.type=="${type}")].status}`);
  const wanted = async () => Number(await get('pushcluster/live', '-o=jsonpath={.spec.gateway.replicas}'));

  it('takes the ScaledObject in place of our autoscaler, and makes one on the PushCluster', async () => {
    await soon('ours is there', async () => (await get('hpa', '-o=name')).includes('/live-gateway'));
    await pushCluster({ autoscaling: { ...AUTOSCALING, keda: { prometheus: prometheus.url } } });
    await soon('it is ready', async () => (await condition('Ready')) === 'True');
    await soon(
      "KEDA's is the only one",
      async () => (await get('hpa', '-o=name')).trim() === 'horizontalpodautoscaler.autoscaling/keda-hpa-live-gateway',
    );
    const { metadata, spec } = Autoscaler.parse(JSON.parse(await get('hpa/keda-hpa-live-gateway', '-o=json')));
    assert.deepEqual(metadata.ownerReferences, [{ kind: 'ScaledObject', name: 'live-gateway' }]);
    assert.deepEqual(spec, {
      scaleTargetRef: { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster', name: 'live' },
      minReplicas: AUTOSCALING.minReplicas,
      maxReplicas: AUTOSCALING.maxReplicas,
    });
  });

  it('scales the PushCluster out by the connections of its gateways', async () => {
    assert.equal(await wanted(), 2);
    while (connections.length < 3.5 * TARGET) connections.push(await Connection.open({ port: gateway.port }));
    await soon('four gateways are wanted', async () => (await wanted()) === 4);
    await until('four gateways run', () => pods.of(NAMESPACE).length === 4, DEADLINE_MS);
    await soon('it says that it scales', async () => (await condition('Active')) === 'True');
  });

  it('takes neither a gateway that is not scraped for an empty one, nor failed queries for none', async () => {
    const stays = async (ms: number) => {
      const end = performance.now() + ms;
      await soon('that time is over', async () => {
        assert.equal(await wanted(), 4);
        return performance.now() > end;
      });
    };
    gateway.signal('SIGSTOP');
    try {
      await soon('it is not scraped', async () =>
        (await prometheus.query('up')).some(({ points }) => points.at(-1)?.value === 0),
      );
      await stays(LOST_MS);
    } finally {
      gateway.signal('SIGCONT');
    }
    await pushCluster({ autoscaling: { ...AUTOSCALING, keda: { prometheus: 'http://127.0.0.1:1' } } });
    await soon('KEDA says that it has no metrics', async () => (await condition('Fallback')) === 'True');
    await soon('the PushCluster says so', async () => {
      const path = '-o=jsonpath={.status.conditions[?(@.type=="Autoscaling")].reason}';
      return (await get('pushcluster/live', path)) === 'Fallback';
    });
    await stays(LOST_MS);
    await pushCluster({ autoscaling: { ...AUTOSCALING, keda: { prometheus: prometheus.url } } });
    await soon('it has them again', async () => (await condition('Fallback')) !== 'True');
    assert.equal(await wanted(), 4);
  });

  it('scales in when the connections are gone', async () => {
    cutAll(connections);
    await soon('two gateways are wanted', async () => (await wanted()) === 2);
  });

  it('leaves nothing behind, and the gateways as many as they are, where it is not to scale them any more', async () => {
    await pushCluster({ autoscaling: { minReplicas: 2, maxReplicas: 6, targetConnections: TARGET } });
    await soon('the ScaledObject is gone', async () => (await get('scaledobject', '-o=name')) === '');
    await soon(
      'only ours is there',
      async () => (await get('hpa', '-o=name')).trim() === 'horizontalpodautoscaler.autoscaling/live-gateway',
    );
    assert.equal(await wanted(), 2);
  });
});
