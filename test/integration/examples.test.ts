import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { desired } from '@pushcluster/operator/pushcluster/desired/desired.ts';
import { logicReplicas } from '@pushcluster/operator/pushcluster/desired/logicReplicas.ts';
import { POD_DEFAULTS } from '@pushcluster/operator/pushcluster/desired/pods.ts';
import { services } from '@pushcluster/operator/pushcluster/desired/services.ts';
import { wantedGateways } from '@pushcluster/operator/pushcluster/wantedGateways.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply, established } from '../harness/cluster/kubectl.ts';
import { installKinds } from '../harness/releasedKinds.ts';
import { saidPermissions } from '../harness/saidPermissions.ts';

const folder = new URL('../../examples/', import.meta.url);

const Example = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});
type Example = z.infer<typeof Example>;

const HttpRoute = z.object({
  spec: z.object({
    rules: z.array(z.object({ backendRefs: z.array(z.object({ name: z.string(), port: z.number() })) })),
  }),
});
const Ingress = z.object({
  spec: z.object({
    rules: z.array(
      z.object({
        http: z.object({
          paths: z.array(
            z.object({
              backend: z.object({ service: z.object({ name: z.string(), port: z.object({ name: z.string() }) }) }),
            }),
          ),
        }),
      }),
    ),
  }),
});

const GatewayDeployment = z.object({
  spec: z.object({
    template: z.object({
      spec: z.looseObject({
        hostNetwork: z.boolean(),
        priorityClassName: z.string(),
        containers: z.array(
          z.looseObject({ resources: z.looseObject({ requests: z.looseObject({ cpu: z.string() }) }) }),
        ),
      }),
    }),
  }),
});

const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
const examples = new Map(
  files.map((name) => [
    name,
    parseAllDocuments(readFileSync(new URL(name, folder), 'utf8')).map((document) => Example.parse(document.toJS())),
  ]),
);

function clusterIn(objects: readonly Example[]): PushCluster {
  const found = objects.find(({ kind }) => kind === 'PushCluster');
  return PushCluster.parse({ ...found, metadata: { ...found?.metadata, namespace: 'default', uid: 'uid' } });
}

function madeOf(cluster: PushCluster) {
  return desired(cluster, {
    images: { gateway: 'gateway:1', logic: 'logic:1', nats: 'nats:1', natsExporter: 'exporter:1' },
    podDefaults: POD_DEFAULTS,
    gatewayReplicas: wantedGateways(cluster, undefined).replicas,
    releasesOld: false,
    holdsOld: false,
    leaving: [],
    logicReplicas: logicReplicas(cluster, undefined),
    serviceMonitors: false,
    secrets: new Map(),
    random: randomBytes,
  });
}

describe('the examples', () => {
  let plane: ControlPlane;
  before(async () => {
    plane = await startControlPlane();
    await apply(plane.kubectl, [crd()]);
    await established(plane.kubectl, 'pushclusters.pushcluster.dev');
    const ofGateways = ['gateways', 'httproutes'].map((plural) => `${plural}.gateway.networking.k8s.io`);
    await installKinds(plane, 'gateway-api', ...ofGateways);
  });
  after(() => plane.stop());

  const dryRun = (items: readonly object[]) =>
    plane.kubectl(
      ['apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
    );

  it('are all there', () => {
    assert.deepEqual(files.sort(), [
      'autoscaling.yaml',
      'external-nats.yaml',
      'gateway-api.yaml',
      'ingress.yaml',
      'minimal.yaml',
      'production-10gbe.yaml',
      'rooms.yaml',
    ]);
  });

  it('have gateways for 10GbE that the static CPU manager gives whole CPUs: one for each shard, the hub and the kernel', async () => {
    const cluster = clusterIn(examples.get('production-10gbe.yaml') ?? []);
    const made = madeOf(cluster).find(
      ({ kind, metadata }) => kind === 'Deployment' && metadata.name === 'live-gateway',
    );
    const { spec } = GatewayDeployment.parse(made).spec.template;
    // What else the pod needs is not there.
    const { priorityClassName: _, ...rest } = spec;
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'pod' },
      spec: { ...rest, serviceAccountName: 'default' },
    };
    const answer = await plane.kubectl(['create', '--dry-run=server', '-o', 'json', '-f', '-'], JSON.stringify(pod));
    const { status } = z.object({ status: z.object({ qosClass: z.string() }) }).parse(JSON.parse(answer));
    assert.equal(status.qosClass, 'Guaranteed');
    const cpus = Number(spec.containers[0]?.resources.requests.cpu);
    assert.ok(Number.isInteger(cpus), String(cpus));
    assert.equal(cluster.spec.gateway.shards, cpus - 2);
    assert.equal(spec.hostNetwork, true);
  });

  for (const [name, objects] of examples) {
    it(`${name} is accepted as it is`, async () => {
      await dryRun(objects);
    });

    it(`${name} makes objects that are accepted`, async () => {
      await dryRun(madeOf(clusterIn(objects)));
    });

    it(`${name} names Secrets that it brings, or says how to make`, () => {
      const text = readFileSync(new URL(name, folder), 'utf8');
      const { auth, logic, nats } = clusterIn(objects).spec;
      const { gateway, logic: ofLogic } = nats.credentials ?? {};
      const wanted = [auth.jwt, ...logic.apiKeys, gateway, ofLogic].map((holder) => holder?.secretRef?.name);
      const brought = objects.filter(({ kind }) => kind === 'Secret').map(({ metadata }) => metadata.name);
      for (const secret of [...wanted, nats.caSecretRef?.name])
        if (secret !== undefined)
          assert.ok(brought.includes(secret) || text.includes(`create secret generic ${secret}`), secret);
    });
  }

  it('say the permissions that roles of a NATS need, as they are', () => {
    const { permissions, historyPermissions } = new Subjects('P');
    const said = saidPermissions();
    for (const role of ['gateway', 'logic'] as const)
      for (const way of ['publish', 'subscribe'] as const) {
        const streams = historyPermissions[role][way].map((subject) => subject.replace(/\*$/, 'S'));
        assert.deepEqual(said[role][way], [...permissions[role][way], ...streams], `${role} ${way}`);
      }
  });

  it('send what comes through an Ingress or a Gateway to a Service and a port that there are', () => {
    const found = (name: string, kind: string) => {
      const objects = examples.get(name) ?? [];
      return { object: objects.find((each) => each.kind === kind), service: services(clusterIn(objects))[0] };
    };
    const { object: route, service: behindGateway } = found('gateway-api.yaml', 'HTTPRoute');
    assert.deepEqual(HttpRoute.parse(route).spec.rules[0]?.backendRefs[0], {
      ...{ name: behindGateway?.metadata.name, port: behindGateway?.spec?.ports?.[0]?.port },
    });
    const { object: ingress, service: behindIngress } = found('ingress.yaml', 'Ingress');
    assert.deepEqual(Ingress.parse(ingress).spec.rules[0]?.http.paths[0]?.backend.service, {
      ...{ name: behindIngress?.metadata.name, port: { name: behindIngress?.spec?.ports?.[0]?.name } },
    });
  });
});
