import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { Baseline } from '../../harness/baseline.ts';
import { Audience } from '../../harness/cluster/audience.ts';
import { apply } from '../../harness/cluster/kubectl.ts';
import { Live } from '../../harness/cluster/live.ts';
import { type OpenCluster, openCluster } from '../../harness/cluster/openCluster.ts';
import {
  BASELINE_TAG,
  CHART,
  claimNamespace,
  REGISTRY,
  RELEASE,
  restrictedNamespace,
} from '../../harness/cluster/product.ts';
import { until } from '../../harness/until.ts';

const NAMESPACE = 'skew';
const BUS = { namespace: 'skew-bus', name: 'bus' };
const GATEWAYS = 2;
const FANS = 40;
const REGULARS = 40;
const STEP_MS = 600_000;
/** Nothing has changed for so long: the operator is done. */
const QUIET_MS = 15_000;
const ROLES = ['gateway', 'logic'] as const;
type Version = 'old' | 'new';

const Holder = z.object({ spec: z.object({ holderIdentity: z.string().optional() }) });
const Pods = z.object({
  items: z.array(
    z.object({
      metadata: z.object({ name: z.string(), namespace: z.string() }),
      spec: z.object({ containers: z.array(z.object({ image: z.string() })) }),
      status: z.object({ containerStatuses: z.array(z.object({ restartCount: z.number() })).default([]) }),
    }),
  ),
});

describe('an operator, gateways and logic of the baseline and of this version, while people are connected', () => {
  let cluster: OpenCluster;
  let live: Live;
  let audience: Audience;
  let baseline: Baseline;
  const tags: Record<Version, string> = { old: BASELINE_TAG, new: '' };
  /** The greatest number of restarts of a container, by pod. */
  const restarts = new Map<string, number>();
  const watching = new AbortController();
  let watched: Promise<void> | undefined;

  before(async () => {
    baseline = new Baseline();
    cluster = await openCluster();
    const { kubectl, helm } = cluster;
    tags.new = z.string().parse(/^appVersion: "?([^"\n]+)/m.exec(await helm(['show', 'chart', CHART]))?.[1]);
    await apply(kubectl, [restrictedNamespace(RELEASE.namespace)]);
    // What an earlier test has left: an operator is upgraded from the baseline, not to it.
    await helm(['uninstall', RELEASE.name, '-n', RELEASE.namespace, '--wait', '--ignore-not-found']);
    await helm(
      ['install', RELEASE.name, join(baseline.app, 'charts/pushcluster'), ...IN_NAMESPACE, '-f', '-'],
      JSON.stringify({ images: imagesOf(tags.old) }),
    );
    await startBus();
    live = await Live.start(kubectl, NAMESPACE, {
      gateway: { replicas: GATEWAYS, drain: { rate: 40, timeout: '40s' } },
      logic: { replicas: 2 },
      nats: { url: `nats://${BUS.name}.${BUS.namespace}.svc:4222`, prefix: 'skew' },
    });
    audience = new Audience(await live.address());
    await audience.come({ fans: FANS, regulars: REGULARS });
    audience.write(live);
    watched = watch();
  });
  after(async () => {
    watching.abort();
    await watched;
    audience?.end();
    await live?.end();
    await cluster?.kubectl(['delete', 'namespace', BUS.namespace, '--wait=false', '--ignore-not-found']);
    await cluster?.close();
    baseline?.remove();
  });

  /** A NATS that no operator changes: what happens to pushes meanwhile is not its restart's. */
  async function startBus(): Promise<void> {
    const { namespace, name } = BUS;
    const images = ['-n', RELEASE.namespace, 'get', 'deployment', RELEASE.operator];
    const image = await cluster.kubectl([...images, '-o', 'jsonpath={..env[?(@.name=="NATS_IMAGE")].value}']);
    await claimNamespace(cluster.kubectl, namespace);
    const labels = { app: name };
    await apply(cluster.kubectl, [
      {
        ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace } },
        spec: { selector: labels, ports: [{ name: 'client', port: 4222 }] },
      },
      {
        ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels } },
        spec: {
          securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [
            { name, image, securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } },
          ],
        },
      },
    ]);
    await cluster.kubectl(['-n', namespace, 'wait', `pod/${name}`, '--for=condition=Ready', '--timeout=120s']);
  }

  /** Counts restarts of the operator, the gateways and logic until the test ends. */
  async function watch(): Promise<void> {
    while (!watching.signal.aborted) {
      for (const namespace of [RELEASE.namespace, NAMESPACE]) {
        const text = await cluster.kubectl(['get', 'pods', '-n', namespace, '-o', 'json']).catch(() => '{"items":[]}');
        for (const { metadata, status } of Pods.parse(JSON.parse(text)).items) {
          const most = Math.max(0, ...status.containerStatuses.map(({ restartCount }) => restartCount));
          restarts.set(metadata.name, Math.max(most, restarts.get(metadata.name) ?? 0));
        }
      }
      await setTimeout(1_000, undefined, { signal: watching.signal }).catch(() => {});
    }
  }

  const upgrade = () =>
    cluster.helm(
      ['upgrade', RELEASE.name, CHART, ...IN_NAMESPACE, '--reset-values', '-f', '-'],
      JSON.stringify({ images: imagesOf('') }),
    );
  const rollback = () => cluster.helm(['rollback', RELEASE.name, '1', ...IN_NAMESPACE]);
  const pin = (version: Version) =>
    live.patch({
      image: Object.fromEntries(ROLES.map((role) => [role, `${REGISTRY}/pushcluster/${role}:${tags[version]}`])),
    });
  const unpin = () => live.patch({ image: { gateway: null, logic: null } });

  /** Whether an operator of this version leads. */
  async function leads(version: Version): Promise<boolean> {
    const inNamespace = ['-n', RELEASE.namespace, '-o', 'json'];
    const lease = Holder.parse(
      JSON.parse(await cluster.kubectl(['get', 'lease', 'pushcluster-operator', ...inNamespace])),
    );
    const { items } = Pods.parse(JSON.parse(await cluster.kubectl(['get', 'pods', ...inNamespace])));
    const holder = items.find(({ metadata }) => lease.spec.holderIdentity?.startsWith(`${metadata.name}_`));
    return holder?.spec.containers[0]?.image.endsWith(`:${tags[version]}`) ?? false;
  }

  /** Waits until an operator and pods of these versions are all that is there, and nothing changes any more. */
  async function settled(t: TestContext, operator: Version, pods: Version): Promise<void> {
    const began = performance.now();
    let before = '';
    let since = began;
    await until(
      `operator ${operator}, pods ${pods}`,
      async () => {
        const found = (await Promise.all(ROLES.map((role) => live.pods(role)))).flat();
        const isDone =
          (await leads(operator)) &&
          live.condition(await live.get(), 'Ready')?.status === 'True' &&
          found.length === GATEWAYS + 2 &&
          found.every(({ image, ready, ending }) => image.endsWith(`:${tags[pods]}`) && ready && !ending);
        const now = isDone ? found.map(({ uid }) => uid).join() : '';
        if (now === '' || now !== before) since = performance.now();
        before = now;
        return performance.now() - since > QUIET_MS;
      },
      STEP_MS,
      500,
    ).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await live.told()}`);
    });
    t.diagnostic(`operator ${operator}, pods ${pods}: after ${((since - began) / 1_000).toFixed(0)} s`);
  }

  it('go together after helm upgrade of the operator, with pods that keep the old images', async (t) => {
    await pin('old');
    await settled(t, 'old', 'old');
    await upgrade();
    await settled(t, 'new', 'old');
  });

  it('go together while gateways and logic are rolled out to the new images', async (t) => {
    await unpin();
    await settled(t, 'new', 'new');
  });

  it('go together after helm rollback of the operator, with pods that keep the new images', async (t) => {
    await pin('new');
    await settled(t, 'new', 'new');
    await rollback();
    await settled(t, 'old', 'new');
  });

  it('go together while gateways and logic are rolled out to the old images', async (t) => {
    await unpin();
    await settled(t, 'old', 'old');
  });

  it('go together when all is upgraded at once', async (t) => {
    await upgrade();
    await settled(t, 'new', 'new');
  });

  it('and nobody missed a push, none was refused, and nothing crashed', async (t) => {
    await until('all clients are connected', () => audience.everyone.every(({ isOpen }) => isOpen));
    await audience.quiet();
    t.diagnostic(`${audience.moves.length} moves, ends by code: ${JSON.stringify(audience.codes)}`);
    audience.settle(t);
    const answers = audience.ledger.writers.flatMap((writer) => writer.answers);
    t.diagnostic(`${answers.length} pushes, ${restarts.size} pods seen`);
    assert.deepEqual(
      answers.filter(({ status }) => status !== 202),
      [],
      'pushes were refused',
    );
    assert.deepEqual(
      [...restarts].filter(([, count]) => count > 0),
      [],
      'restarts by pod',
    );
  });
});

const IN_NAMESPACE = ['-n', RELEASE.namespace, '--wait', '--timeout=5m'];

function imagesOf(tag: string): object {
  const each = Object.fromEntries(['operator', 'gateway', 'logic'].map((name) => [name, { tag }]));
  return { registry: REGISTRY, ...each };
}
