import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { certificatesIn, endOf } from '@pushcluster/operator/certificates/certificates.ts';
import { rotationIn } from '@pushcluster/operator/pushcluster/desired/natsPasswords.ts';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { PlayedPods } from '../harness/cluster/playedPods.ts';
import { Metrics } from '../harness/metrics.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';
const TLS = 'pushcluster.dev/nats-tls';
const EXPIRY = 'pushcluster_operator_cluster_nats_certificate_expiry_timestamp_seconds';
const SERVER = 'live-nats-0';

const Found = z.object({
  metadata: z.object({ annotations: z.record(z.string(), z.string()).default({}) }),
  data: z.record(z.string(), z.string()).default({}),
  status: z
    .object({
      conditions: z
        .array(
          z.object({
            type: z.string(),
            status: z.string(),
            reason: z.string().optional(),
            message: z.string().optional(),
          }),
        )
        .default([]),
      nats: z.object({ url: z.string() }).optional(),
    })
    .prefault({}),
});

describe('managed NATS, as the operator changes it', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  let pods: PlayedPods;
  const ending = new AbortController();
  let playing: Promise<void> | undefined;
  /** Whether a NATS server that was restarted becomes ready. */
  let startsReady = true;

  before(async () => {
    plane = await startControlPlane();
    const [adminPort = 0, podPort = 0] = await freePorts(2);
    await OperatorProcess.install(plane);
    operator = new OperatorProcess(plane, { adminPort, env: { POD_PORT: String(podPort) } });
    pods = new PlayedPods(plane, podPort);
    await Promise.all([operator.start(), pods.start()]);
    await apply(plane.kubectl, [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE } },
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata: { name: 'live', namespace: NAMESPACE },
        spec: { gateway: { replicas: 1, drain: { settle: '0s' } }, logic: { replicas: 1 } },
      },
    ]);
    playing = playServer();
    await until('it is ready', async () => isTrue(await get('pushcluster', 'live'), 'Ready'));
  });
  after(async () => {
    ending.abort();
    await playing;
    await operator?.end('SIGKILL');
    await pods?.stop();
    await plane?.stop();
  });

  async function get(kind: string, name: string): Promise<z.infer<typeof Found> | undefined> {
    const text = await plane.kubectl(['get', kind, name, '-n', NAMESPACE, '-o=json', '--ignore-not-found']);
    return text === '' ? undefined : Found.parse(JSON.parse(text));
  }
  const isTrue = (found: z.infer<typeof Found> | undefined, type: string) =>
    found?.status.conditions.some((each) => each.type === type && each.status === 'True') ?? false;
  const patch = (change: object) =>
    plane.kubectl(['patch', 'pushcluster', 'live', '-n', NAMESPACE, '--type=merge', '-p', JSON.stringify(change)]);
  const annotation = async (kind: string, name: string) => (await get(kind, name))?.metadata.annotations[TLS];
  const accepts = async () => (await annotation('statefulset', 'live-nats'))?.split(' ')[0];
  const trusts = () => annotation('deployment', 'live-gateway');

  /** Unix times in seconds at which certificates of NATS expire, by PushCluster. */
  const expiries = async () => {
    const metrics = new Metrics(await (await fetch(`http://127.0.0.1:${operator.adminPort}/metrics`)).text());
    return [...metrics.by(EXPIRY, 'cluster_name')];
  };

  /** Makes the server of NATS ready, as a kubelet does. */
  async function playServer(): Promise<void> {
    while (!ending.signal.aborted) {
      const pod = startsReady ? await get('pod', SERVER).catch(() => undefined) : undefined;
      // Reading it takes a while.
      if (pod && startsReady && !isTrue(pod, 'Ready')) {
        const conditions = ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => {
          return { type, status: 'True', lastTransitionTime: new Date().toISOString() };
        });
        const args = ['patch', 'pod', SERVER, '-n', NAMESPACE, '--subresource=status', '--type=merge', '-p'];
        // The pod may have been replaced meanwhile.
        await plane.kubectl([...args, JSON.stringify({ status: { phase: 'Running', conditions } })]).catch(() => {});
      }
      await setTimeout(200);
    }
  }

  it('turns TLS on: servers accept both, then pods use it, then servers accept nothing else', async () => {
    startsReady = false;
    await patch({ spec: { nats: { managed: { tls: { enabled: true } } } } });
    await until('servers are to accept both', async () => (await accepts()) === 'optional');
    await until('the server was replaced', async () => !isTrue(await get('pod', SERVER), 'Ready'));
    const secret = await get('secret', 'live-nats-tls');
    assert.ok(certificatesIn(secret?.data ?? {}));
    assert.equal(await trusts(), undefined, 'the server is not ready yet');
    startsReady = true;
    await until('gateways trust the CA', async () => (await trusts()) === 'live-nats-tls');
    await until('servers accept nothing else', async () => (await accepts()) === 'required');
    const played = [...pods.of(NAMESPACE), ...pods.of(NAMESPACE, 'logic')].map(({ name }) =>
      pods.object(NAMESPACE, name),
    );
    assert.deepEqual(new Set(played.map((pod) => pod?.metadata.annotations?.[TLS])), new Set(['live-nats-tls']));
    const { serving } = certificatesIn(secret?.data ?? {})!;
    assert.deepEqual(await expiries(), [['live', endOf(serving.certificate) / 1_000]]);
    await until('it is ready', async () => {
      const cluster = await get('pushcluster', 'live');
      return isTrue(cluster, 'Ready') && cluster?.status.nats?.url === 'tls://live-nats.shop.svc:4222';
    });
  });

  it('keeps its certificates, and restarts nothing, while nothing is asked for', async () => {
    const version = async (kind: string, name: string) =>
      plane.kubectl(['get', kind, name, '-n', NAMESPACE, '-o=jsonpath={.metadata.generation} {.data}']);
    const all = () => Promise.all([version('secret', 'live-nats-tls'), version('statefulset', 'live-nats')]);
    const before = await all();
    await operator.end('SIGTERM');
    await operator.start();
    await patch({ spec: { gateway: { batching: { maxDelay: '250ms' } } } });
    await until('gateways have the new settings', async () => {
      const { 'gateway.yaml': text = '' } = (await get('configmap', 'live-settings'))?.data ?? {};
      return text.includes('maxDelay: 250');
    });
    assert.deepEqual(await all(), before);
  });

  it('says when its certificate expires also while the PushCluster is paused', async () => {
    const before = await expiries();
    await patch({ spec: { paused: true } });
    await operator.end('SIGTERM');
    await operator.start();
    await until('it is exported', async () => (await expiries()).length > 0);
    assert.deepEqual(await expiries(), before);
    await patch({ spec: { paused: null } });
  });

  it('gives pods the next passwords before servers', async () => {
    await patch({ metadata: { annotations: { 'pushcluster.dev/rotate-nats-passwords': 'today' } } });
    await until('the status says so', async () => {
      const { conditions } = (await get('pushcluster', 'live'))?.status ?? { conditions: [] };
      return conditions.some(({ type, reason }) => type === 'Progressing' && reason === 'NatsChanges');
    });
    const servers = () => get('secret', 'live-nats-server');
    await until('they are announced', async () => rotationIn((await servers())?.data)?.step === 'announced');
    for (const role of ['gateway', 'logic'] as const) {
      const file = Buffer.from((await get('secret', `live-nats-${role}`))?.data.password ?? '', 'base64').toString();
      const [old = '', next = ''] = file.split('\n');
      assert.ok(old.length > 0 && next.length > 0 && old !== next);
      const conf = Buffer.from((await servers())?.data['nats.conf'] ?? '', 'base64').toString();
      assert.ok(conf.includes(old) && !conf.includes(next));
    }
  });

  it('turns TLS off in the same way, and removes the certificates last', async () => {
    startsReady = false;
    await patch({ spec: { nats: { managed: { tls: null } } } });
    await until('servers are to accept both', async () => (await accepts()) === 'optional');
    assert.equal(await trusts(), 'live-nats-tls');
    startsReady = true;
    await until('gateways do without', async () => (await trusts()) === undefined);
    await until('servers accept nothing else', async () => (await accepts()) === undefined);
    await until('the certificates are gone', async () => (await get('secret', 'live-nats-tls')) === undefined);
    await until('it is ready', async () => {
      const cluster = await get('pushcluster', 'live');
      return isTrue(cluster, 'Ready') && cluster?.status.nats?.url === 'nats://live-nats.shop.svc:4222';
    });
  });

  const storageOf = async () => {
    const path = [
      '{.metadata.uid}',
      '{.spec.volumeClaimTemplates[*].metadata.name}',
      '{.spec.template.spec.volumes[*].name}',
    ];
    const args = [
      'get',
      'statefulset',
      'live-nats',
      '-n',
      NAMESPACE,
      '--ignore-not-found',
      `-o=jsonpath=${path.join('|')}`,
    ];
    const [uid = '', claims = '', volumes = ''] = (await plane.kubectl(args)).split('|');
    return { uid, claims, volumes: volumes.split(' ') };
  };
  const durable = async () => {
    const { conditions } = (await get('pushcluster', 'live'))?.status ?? { conditions: [] };
    return conditions.find(({ type }) => type === 'HistoryDurable')?.reason;
  };

  it('replaces servers that are to store on volumes, which get one each', async () => {
    const before = await storageOf();
    assert.equal(before.claims, '');
    startsReady = false;
    const jetstream = { storage: 'file', size: '1Gi' };
    await patch({ spec: { rooms: [{ match: 'chat-*', history: {} }], nats: { managed: { jetstream } } } });
    await until('there is another StatefulSet', async () => ![before.uid, ''].includes((await storageOf()).uid));
    assert.equal((await storageOf()).claims, 'jetstream');
    await until('the server has a volume', async () => {
      const volumes = await plane.kubectl(['get', 'pod', SERVER, '-n', NAMESPACE, '--ignore-not-found', '-o=json']);
      return (
        volumes.includes('"claimName":"jetstream-live-nats-0"') ||
        volumes.includes('"claimName": "jetstream-live-nats-0"')
      );
    });
    startsReady = true;
    await until('it is ready, and histories last', async () => {
      return isTrue(await get('pushcluster', 'live'), 'Ready') && (await durable()) === 'OnVolumes';
    });
    const size = '-o=jsonpath={.spec.resources.requests.storage}';
    assert.equal(await plane.kubectl(['get', 'pvc', 'jetstream-live-nats-0', '-n', NAMESPACE, size]), '1Gi');
    const { 'logic.yaml': text = '' } = (await get('configmap', 'live-settings'))?.data ?? {};
    assert.match(text, /history: \{\}/);
  });

  it('replaces no servers whose volumes are kept for another time', async () => {
    const { uid } = await storageOf();
    await patch({ spec: { nats: { managed: { jetstream: { whenDeleted: 'Delete' } } } } });
    const policy = '-o=jsonpath={.spec.persistentVolumeClaimRetentionPolicy.whenDeleted}';
    await until('the volumes are to go with it', async () => {
      return (await plane.kubectl(['get', 'statefulset', 'live-nats', '-n', NAMESPACE, policy])) === 'Delete';
    });
    assert.equal((await storageOf()).uid, uid);
    await patch({ spec: { nats: { managed: { jetstream: { whenDeleted: 'Retain' } } } } });
    await until('they are kept', async () => {
      return (await plane.kubectl(['get', 'statefulset', 'live-nats', '-n', NAMESPACE, policy])) === 'Retain';
    });
  });

  it('replaces servers that are to store in memory, keeps the volumes, and says what a restart costs', async () => {
    const before = await storageOf();
    const finalizers = (names: string[]) =>
      plane.kubectl([
        ...['patch', 'pod', SERVER, '-n', NAMESPACE, '--type=merge'],
        ...['-p', JSON.stringify({ metadata: { finalizers: names } })],
      ]);
    await finalizers(['shop/waits']);
    await patch({ spec: { nats: { managed: { jetstream: { storage: 'memory' } } } } });
    await until('the status says so while the server is there', async () => {
      const { conditions } = (await get('pushcluster', 'live'))?.status ?? { conditions: [] };
      return conditions.some(({ message }) => message?.includes('all NATS servers are being replaced'));
    });
    assert.equal((await storageOf()).uid, before.uid);
    await finalizers([]);
    await until('there is another StatefulSet', async () => ![before.uid, ''].includes((await storageOf()).uid));
    const { claims, volumes } = await storageOf();
    assert.equal(claims, '');
    assert.ok(volumes.includes('jetstream'));
    await until('it is ready, and histories do not last', async () => {
      return isTrue(await get('pushcluster', 'live'), 'Ready') && (await durable()) === 'InMemory';
    });
    const pvcs = await plane.kubectl(['get', 'pvc', '-n', NAMESPACE, '-l', 'pushcluster.dev/cluster=live', '-o=name']);
    assert.equal(pvcs.trim(), 'persistentvolumeclaim/jetstream-live-nats-0');
  });

  it('deletes the volumes where that is asked for', async () => {
    const retained = { storage: 'file', size: '1Gi', whenDeleted: 'Delete' };
    await patch({ spec: { nats: { managed: { jetstream: retained } } } });
    const owner = ['get', 'pvc', 'jetstream-live-nats-0', '-n', NAMESPACE, '--ignore-not-found'];
    await until('the volume belongs to the StatefulSet', async () => {
      const text = await plane.kubectl([...owner, '-o=jsonpath={.metadata.ownerReferences[*].kind}']);
      return text === 'StatefulSet';
    });
    await patch({ spec: { nats: { managed: { jetstream: { storage: 'memory' } } } } });
    await until('the volume is gone', async () => (await plane.kubectl([...owner, '-o=name'])) === '');
    await until('it is ready', async () => isTrue(await get('pushcluster', 'live'), 'Ready'));
  });
});
