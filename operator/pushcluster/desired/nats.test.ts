import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { z } from 'zod';
import type { ManagedNats } from '../../api/spec/nats.ts';
import { managedNats } from './bus.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { selectorLabels } from './names.ts';
import { natsStatefulSet, storesElsewhere } from './nats.ts';
import { natsConfig } from './natsConfig.ts';

const passwords = { apiKey: 'a', gateway: 'gw', logic: 'lg', routes: 'r/t' };

function statefulSet(managed: z.input<typeof ManagedNats> = {}) {
  const cluster = clusterOf({ nats: { managed } });
  return natsStatefulSet(cluster, managedNats(cluster)!, passwords, contextOf()).spec!;
}

function config(managed: z.input<typeof ManagedNats> = {}) {
  const cluster = clusterOf({ nats: { managed } });
  return natsConfig(cluster, managedNats(cluster)!, passwords);
}

describe('managed NATS', () => {
  it('is one server without a volume, so that it works on any cluster', () => {
    assert.equal(statefulSet().replicas, 1);
    assert.equal(statefulSet().volumeClaimTemplates, undefined);
    assert.doesNotMatch(config(), /^cluster/m);
  });

  it('is there unless a URL is given', () => {
    assert.ok(managedNats(clusterOf()));
    assert.equal(managedNats(clusterOf({ nats: { url: 'nats://n', prefix: 'p' } })), undefined);
  });

  it('is a cluster of three or five servers that know each other and their password', () => {
    const text = config({ replicas: 3 });
    for (const i of [0, 1, 2])
      assert.ok(text.includes(`nats://routes:r%2Ft@live-nats-${i}.live-nats-peers.shop.svc:6222`));
    assert.ok(!text.includes('live-nats-3'));
    assert.match(text, /authorization \{ user: routes, password: "r\/t"/);
    assert.equal(statefulSet({ replicas: 5 }).replicas, 5);
  });

  it('is started all at once, and upgraded one by one', () => {
    const { podManagementPolicy, updateStrategy, minReadySeconds } = statefulSet({ replicas: 3 });
    assert.equal(podManagementPolicy, 'Parallel');
    assert.deepEqual(updateStrategy, { type: 'RollingUpdate' });
    assert.ok((minReadySeconds ?? 0) > 0);
  });

  it('is restarted when its configuration changes, since it reads that only then', () => {
    const annotation = (managed: z.input<typeof ManagedNats>) =>
      statefulSet(managed).template.metadata?.annotations?.['pushcluster.dev/nats-config'];
    assert.equal(annotation({}), annotation({ resources: {} }));
    assert.notEqual(annotation({}), annotation({ replicas: 3 }));
  });

  it('lets clients leave a server before it stops, if there is another', () => {
    const [one, three] = ([1, 3] as const).map((replicas) => statefulSet({ replicas }).template.spec!);
    assert.deepEqual(three!.containers[0]?.lifecycle?.preStop?.exec?.command, ['nats-server', '--signal', 'ldm=1']);
    const [, duration] = /^lame_duck_duration: "(\d+)s"$/m.exec(config({ replicas: 3 })) ?? [];
    assert.ok(three!.terminationGracePeriodSeconds! > Number(duration));
    assert.equal(one!.containers[0]?.lifecycle, undefined);
    assert.doesNotMatch(config(), /lame_duck/);
  });

  it('runs where it is told to, and is spread like the other pods otherwise', () => {
    const placement = {
      nodeSelector: { pool: 'bus' },
      tolerations: [{ key: 'bus', operator: 'Exists' as const }],
      priorityClassName: 'live',
      topologySpreadConstraints: [
        { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'DoNotSchedule' as const },
      ],
    };
    const spec = statefulSet({ replicas: 3, placement }).template.spec!;
    assert.deepEqual(spec.nodeSelector, { 'kubernetes.io/os': 'linux', pool: 'bus' });
    assert.deepEqual(spec.tolerations, placement.tolerations);
    assert.equal(spec.priorityClassName, 'live');
    const labelSelector = { matchLabels: selectorLabels(clusterOf(), 'nats') };
    assert.deepEqual(spec.topologySpreadConstraints, [{ labelSelector, ...placement.topologySpreadConstraints[0] }]);
    const [spread] = statefulSet({ replicas: 3 }).template.spec!.topologySpreadConstraints ?? [];
    assert.equal(spread?.topologyKey, 'kubernetes.io/hostname');
  });

  it('lets its servers pass as restricted pods', () => {
    const { securityContext, containers } = statefulSet().template.spec!;
    assert.equal(securityContext?.runAsNonRoot, true);
    assert.equal(containers[0]?.securityContext?.readOnlyRootFilesystem, true);
  });

  const certificate = { isOptional: false, routes: true, secretName: 'live-nats-tls', fingerprint: 'f1' };
  const withTls = (replicas: 1 | 3, tls = certificate) => {
    const cluster = clusterOf({ nats: { managed: { replicas, tls: { enabled: true } } } });
    const context = contextOf({ natsTls: { servers: tls, certificates: undefined } });
    const made = natsStatefulSet(cluster, managedNats(cluster)!, passwords, context);
    return { made, text: natsConfig(cluster, managedNats(cluster)!, passwords, tls) };
  };

  it('brings its exporter of metrics only where that is asked for, which reads the server inside of its pod', () => {
    assert.equal(statefulSet().template.spec!.containers.length, 1);
    assert.equal(statefulSet({ exporter: {} }).template.spec!.containers.length, 1);
    const [server, exporter] = statefulSet({ exporter: { enabled: true } }).template.spec!.containers;
    assert.equal(exporter?.image, 'exporter:1');
    assert.equal(exporter?.args?.at(-1), '$(POD_NAME),http://localhost:8222');
    assert.ok(server?.ports?.some(({ containerPort }) => containerPort === 8_222));
    assert.deepEqual(exporter?.securityContext, server?.securityContext);
    assert.deepEqual(exporter?.resources, { requests: { cpu: '10m', memory: '32Mi' } });
    const [, own] = statefulSet({ exporter: { enabled: true, image: 'mine:2' } }).template.spec!.containers;
    assert.equal(own?.image, 'mine:2');
    // Its configuration is the same, and so are the objects of a cluster without it.
    assert.equal(config({ exporter: { enabled: true } }), config());
  });

  it('has its exporter changed by the pod template, by name', () => {
    const spec = { containers: [{ name: 'exporter', args: ['-varz', 'http://localhost:8222'] }] };
    const [, exporter] = statefulSet({ exporter: { enabled: true }, podTemplate: { spec } }).template.spec!.containers;
    assert.deepEqual([exporter?.image, exporter?.args], ['exporter:1', spec.containers[0]?.args]);
  });

  it('has no TLS unless that is asked for', () => {
    assert.doesNotMatch(config({ replicas: 3 }), /tls/);
    assert.doesNotMatch(JSON.stringify(statefulSet({ replicas: 3 })), /tls/);
  });

  it('has TLS for clients, and for routes with certificates of both sides', () => {
    const { text } = withTls(3);
    const [clients, routes] = [...text.matchAll(/tls \{([^}]+)\}/g)].map(([, options = '']) => options);
    const files = 'cert_file: "/etc/pushcluster/tls/tls.crt", key_file: "/etc/pushcluster/tls/tls.key"';
    assert.ok(clients?.includes(files) && routes?.includes(files));
    assert.ok(!clients?.includes('verify'));
    assert.match(routes!, /ca_file: "\/etc\/pushcluster\/tls\/ca\.crt", verify: true/);
    assert.doesNotMatch(text, /allow_non_tls/);
    assert.doesNotMatch(withTls(3, { ...certificate, routes: false }).text, /verify/);
    assert.match(withTls(1, { ...certificate, isOptional: true }).text, /allow_non_tls: true/);
  });

  it('mounts its certificate, and not the key of the CA', () => {
    const { spec, metadata } = withTls(1).made;
    const volume = spec!.template.spec!.volumes?.find(({ name }) => name === 'tls');
    assert.equal(volume?.secret?.secretName, 'live-nats-tls');
    assert.deepEqual(
      volume?.secret?.items?.map(({ key }) => key),
      ['tls.crt', 'tls.key', 'ca.crt'],
    );
    assert.equal(metadata.annotations?.['pushcluster.dev/nats-tls'], 'required live-nats-tls f1');
  });

  it('is restarted with another certificate', () => {
    const annotation = (fingerprint: string) =>
      withTls(1, { ...certificate, fingerprint }).made.spec!.template.metadata?.annotations?.[
        'pushcluster.dev/nats-config'
      ];
    assert.equal(annotation('f1'), annotation('f1'));
    assert.notEqual(annotation('f1'), annotation('f2'));
  });

  const memory = { storage: 'memory' as const };
  const file = { storage: 'file' as const };
  const users = (text: string) =>
    [...text.matchAll(/^ {4}(\{.*\})$/gm)].map(([, user = '']) => User.parse(JSON.parse(user)));

  it('stores nothing, and permits nothing of JetStream, unless that is asked for', () => {
    assert.doesNotMatch(config({ replicas: 3 }), /jetstream|JS\.API|hist/);
    assert.doesNotMatch(JSON.stringify(statefulSet({ replicas: 3 })), /jetstream|storage/);
  });

  it('stores in memory without a volume, up to the size that is set', () => {
    assert.match(config({ jetstream: memory }), /max_memory_store: 33554432\n {2}max_file_store: 0\n\}/);
    assert.match(config({ jetstream: { ...memory, size: '1Gi' } }), /max_memory_store: 1073741824/);
    const { volumeClaimTemplates, template } = statefulSet({ jetstream: memory });
    assert.equal(volumeClaimTemplates, undefined);
    assert.deepEqual(template.spec?.volumes?.find(({ name }) => name === 'jetstream')?.emptyDir, {});
  });

  it('stores in a volume of each server, of which it leaves a fifth for the rest, and syncs each message', () => {
    const text = config({ jetstream: { ...file, size: '10Gi' } });
    assert.match(text, /max_memory_store: 0\n {2}max_file_store: 8589934592\n {2}sync_interval: "always"/);
    assert.match(config({ jetstream: { ...file, sync: 'interval' } }), /sync_interval: "2m"/);
    const options = { ...file, size: '10GiB', storageClassName: 'fast', whenDeleted: 'Delete' as const };
    const set = statefulSet({ jetstream: options });
    const [claim] = set.volumeClaimTemplates ?? [];
    assert.equal(claim?.spec?.storageClassName, 'fast');
    assert.equal(claim?.spec?.resources?.requests?.storage, '10Gi');
    assert.deepEqual(set.persistentVolumeClaimRetentionPolicy, { whenDeleted: 'Delete', whenScaled: 'Retain' });
    const [folder] = set.template.spec!.containers[0]!.volumeMounts!.filter(
      ({ name }) => name === claim?.metadata?.name,
    );
    assert.ok(text.includes(`store_dir: "${folder?.mountPath}/1"`));
    assert.notEqual(folder?.readOnly, true);
  });

  it('permits logic to store and gateways to read, and gateways nothing else', () => {
    const [gateway, logic] = users(config({ jetstream: file }));
    const [bare] = users(config());
    const added = gateway!.permissions.publish.filter((subject) => !bare!.permissions.publish.includes(subject));
    assert.deepEqual(added, ['$JS.API.STREAM.INFO.*', '$JS.API.STREAM.MSG.GET.*', '$JS.API.DIRECT.GET.*']);
    assert.ok(logic!.permissions.publish.includes('pushcluster.hist.>'));
    assert.ok(
      !logic!.permissions.publish.some((subject) => /DELETE|PURGE|>$/.test(subject.replace(/(hist|out)\.>$/, ''))),
    );
  });

  it('has started once it has caught up, and later serves also without the others', () => {
    const { startupProbe, readinessProbe } = statefulSet({ replicas: 3, jetstream: file }).template.spec!
      .containers[0]!;
    assert.equal(startupProbe?.httpGet?.path, '/healthz');
    assert.equal(readinessProbe?.httpGet?.path, '/healthz?js-server-only=true');
    const [single] = statefulSet({ jetstream: file }).template.spec!.containers;
    assert.equal(single?.startupProbe?.httpGet?.path, '/healthz?js-server-only=true');
  });

  it('stores apart from what another number of servers has stored on the same volumes', () => {
    const folder = (replicas: 1 | 3) => /store_dir: .*/.exec(config({ replicas, jetstream: file }))?.[0];
    assert.notEqual(folder(1), folder(3));
  });

  it('is replaced as a whole if it stores elsewhere, and only then', () => {
    const set = (managed: z.input<typeof ManagedNats>) => {
      const cluster = clusterOf({ nats: { managed } });
      return natsStatefulSet(cluster, managedNats(cluster)!, passwords, contextOf());
    };
    const kinds = [{}, { jetstream: memory }, { jetstream: file }].map(set);
    for (const from of kinds) for (const to of kinds) assert.equal(storesElsewhere(to, from), from !== to);
    const other = set({ jetstream: { ...file, sync: 'interval', whenDeleted: 'Delete' }, image: 'nats:2' });
    assert.equal(storesElsewhere(other, kinds[2]!), false);
  });
});

const User = z.object({ permissions: z.object({ publish: z.array(z.string()) }) });
