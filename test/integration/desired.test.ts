import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { crd } from '@pushcluster/operator/api/crd.ts';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import type { DesiredObject } from '@pushcluster/operator/pushcluster/desired/context.ts';
import { desired } from '@pushcluster/operator/pushcluster/desired/desired.ts';
import { CLUSTER_LABEL } from '@pushcluster/operator/pushcluster/desired/names.ts';
import { POD_DEFAULTS } from '@pushcluster/operator/pushcluster/desired/pods.ts';
import fc from 'fast-check';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply, established } from '../harness/cluster/kubectl.ts';
import { anySpec } from '../harness/pushClusters.ts';
import { installKinds } from '../harness/releasedKinds.ts';

/** Specs tried, each with all its objects. */
const RUNS = 25;

const namespace = 'restricted';

let plane: ControlPlane;
/** Of a cluster that there is: the garbage collector deletes what belongs to none. */
let uid = '';
before(async () => {
  plane = await startControlPlane();
  await installKinds(plane, 'prometheus-operator', 'prometheusrules.monitoring.coreos.com');
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await apply(plane.kubectl, [crd(), { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace, labels } }]);
  await established(plane.kubectl, 'pushclusters.pushcluster.dev');
  const { apiVersion, kind } = clusterOf({});
  await apply(plane.kubectl, [{ apiVersion, kind, metadata: { name: 'live', namespace } }]);
  uid = await plane.kubectl(['get', 'pushcluster', 'live', '-n', namespace, '-o=jsonpath={.metadata.uid}']);
});
after(() => plane.stop());

function clusterOf(spec: object): PushCluster {
  return PushCluster.parse({ metadata: { name: 'live', namespace, uid, generation: 1 }, spec });
}

function objectsOf(spec: object): DesiredObject[] {
  return desired(clusterOf(spec), {
    images: { gateway: 'gateway:1', logic: 'logic:1', nats: 'nats:1', natsExporter: 'exporter:1' },
    podDefaults: POD_DEFAULTS,
    gatewayReplicas: 2,
    releasesOld: false,
    holdsOld: false,
    leaving: [
      { name: 'live-gateway-1', uid: 'a', node: 'node1', addresses: ['10.1.2.3', 'fd00::1'] },
      { name: 'live-gateway-2', uid: 'b', node: 'node2', addresses: ['10.1.2.4'] },
    ],
    logicReplicas: 2,
    serviceMonitors: false,
    secrets: new Map(),
    random: (bytes) => new Uint8Array(bytes).fill(7),
  });
}

/** Has the API server check objects without keeping them; throws with what it says. */
async function dryRun(items: readonly object[]): Promise<void> {
  const args = ['apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', '-'];
  await plane.kubectl(args, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
}

/** The pods of Deployments and StatefulSets among `objects`. */
function podsOf(objects: readonly DesiredObject[]): object[] {
  return objects.flatMap((object) => {
    if (object.kind !== 'Deployment' && object.kind !== 'StatefulSet') return [];
    assert.ok('spec' in object && typeof object.spec === 'object' && object.spec !== null);
    const template: unknown = Reflect.get(object.spec, 'template');
    assert.ok(typeof template === 'object' && template !== null);
    const metadata = { ...Reflect.get(template, 'metadata'), name: object.metadata.name, namespace };
    return [{ apiVersion: 'v1', kind: 'Pod', metadata, spec: Reflect.get(template, 'spec') }];
  });
}

describe('the objects of a PushCluster', () => {
  it('are valid for any spec that is', async () => {
    await fc.assert(
      fc.asyncProperty(anySpec(), async (spec) => {
        const { apiVersion, kind } = clusterOf(spec);
        await dryRun([{ apiVersion, kind, metadata: { name: 'tried', namespace }, spec }, ...objectsOf(spec)]);
      }),
      { numRuns: RUNS, endOnFailure: true },
    );
  });

  it('are no change when they are applied again', async () => {
    const spec = {
      gateway: { autoscaling: { maxReplicas: 9, targetCPUUtilization: 60 } },
      nats: { managed: { jetstream: { storage: 'file', size: '1.5GiB', storageClassName: 'fast' } } },
    };
    await apply(plane.kubectl, objectsOf(spec));
    // Controllers write the status of some: what counts there is the generation of the spec.
    const kept = async () => [
      await plane.kubectl([
        ...['get', 'serviceaccounts,secrets,configmaps,services,networkpolicies', '-n', namespace],
        // Controllers have objects of their own in a namespace.
        ...['-l', CLUSTER_LABEL, '-o=jsonpath={.items[*].metadata.resourceVersion}'],
      ]),
      await plane.kubectl([
        ...['get', 'deployments,statefulsets,poddisruptionbudgets', '-n', namespace],
        '-o=jsonpath={.items[*].metadata.generation}',
      ]),
    ];
    const first = await kept();
    await apply(plane.kubectl, objectsOf(spec));
    assert.deepEqual(await kept(), first);
  });

  it('have pods that a namespace of the level restricted admits', async () => {
    const spec = {
      gateway: { sysctls: { 'net.ipv4.tcp_keepalive_time': '60' }, service: { tls: { secretName: 'tls' } } },
      auth: { jwt: { secretRef: { name: 'jwt' } } },
      nats: {
        managed: { replicas: 3, jetstream: { storage: 'memory' }, placement: { nodeSelector: { pool: 'bus' } } },
      },
    };
    for (const objects of [objectsOf({}), objectsOf(spec)]) {
      await apply(
        plane.kubectl,
        objects.filter(({ kind }) => kind === 'ServiceAccount'),
      );
      await dryRun(podsOf(objects));
    }
  });

  it('have pods in the network of their node only where the namespace admits that', async () => {
    await apply(
      plane.kubectl,
      objectsOf({}).filter(({ kind }) => kind === 'ServiceAccount'),
    );
    await assert.rejects(dryRun(podsOf(objectsOf({ gateway: { hostNetwork: true } }))), /host namespaces/);
  });
});
