import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { z } from 'zod';
import type { Spec } from '../../api/pushCluster.ts';
import type { Context } from './context.ts';
import { clusterOf, contextOf } from './fixture.ts';
import { gatewayDeployment } from './gateway.ts';
import { POD_DEFAULTS } from './pods.ts';

function deployment(gateway: z.input<typeof Spec>['gateway'] = {}, context: Partial<Context> = {}) {
  return gatewayDeployment(clusterOf({ gateway }), contextOf(context)).spec!;
}

function pod(gateway: z.input<typeof Spec>['gateway'] = {}) {
  return deployment(gateway).template.spec!;
}

describe('the gateway Deployment', () => {
  it('runs as many gateways as it is told, whatever the spec says: the drain decides', () => {
    assert.equal(deployment({ replicas: 3 }, { gatewayReplicas: 5 }).replicas, 5);
  });

  it('never has less capacity in a rollout than before', () => {
    assert.deepEqual(deployment().strategy?.rollingUpdate, { maxSurge: '25%', maxUnavailable: 0 });
  });

  it('lets old gateways go 40 s after new ones are ready, or at once where they are out of the Service', () => {
    assert.equal(deployment().minReadySeconds, 40);
    assert.equal(deployment({}, { releasesOld: true }).minReadySeconds, 0);
  });

  it('adds no more at a time than may be terminating, and holds old gateways until those that do are gone', () => {
    const limited = { rollout: { maxTerminating: 2 }, drain: { settle: '10s', timeout: '2m' } } as const;
    const surge = (replicas: number) =>
      deployment(limited, { gatewayReplicas: replicas }).strategy?.rollingUpdate?.maxSurge;
    assert.deepEqual([0, 3, 8, 40].map(surge), [1, 1, 2, 2]);
    const seconds = (context: Parameters<typeof deployment>[1]) => deployment(limited, context).minReadySeconds;
    assert.deepEqual([seconds({}), seconds({ holdsOld: true }), seconds({ releasesOld: true })], [40, 180, 20]);
    // Kubernetes gives a rollout up that makes no progress for so long.
    assert.equal(deployment(limited).progressDeadlineSeconds, 780);
    assert.equal(deployment().progressDeadlineSeconds, undefined);
  });

  it('selects by labels that nobody else sets, and not by the one that a drain takes away', () => {
    const { selector, template } = deployment({ podTemplate: { labels: { team: 'live' } } });
    assert.deepEqual(selector.matchLabels, {
      'pushcluster.dev/cluster': 'live',
      'app.kubernetes.io/component': 'gateway',
    });
    const labels = template.metadata?.labels ?? {};
    for (const [name, value] of Object.entries(selector.matchLabels ?? {})) assert.equal(labels[name], value);
    assert.equal(labels['pushcluster.dev/serving'], 'true');
    assert.equal(labels.team, 'live');
  });

  it('gives a gateway the time to drain and ten seconds', () => {
    assert.equal(pod({ drain: { settle: '10s', timeout: '2m' } }).terminationGracePeriodSeconds, 140);
    assert.equal(pod({ drain: { settle: '0s', timeout: '1.5s' } }).terminationGracePeriodSeconds, 12);
  });

  it('is admitted by the Pod Security level restricted', () => {
    const { securityContext, containers } = pod();
    assert.equal(securityContext?.runAsNonRoot, true);
    assert.deepEqual(securityContext?.seccompProfile, { type: 'RuntimeDefault' });
    assert.deepEqual(containers[0]?.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
  });

  it('gives its pods no token of the API server, and no addresses of other Services', () => {
    assert.equal(pod().automountServiceAccountToken, false);
    assert.equal(pod().enableServiceLinks, false);
  });

  it('asks for health and readiness on the admin port', () => {
    const { startupProbe, livenessProbe, readinessProbe } = pod().containers[0]!;
    assert.deepEqual(startupProbe?.httpGet, { path: '/healthz', port: 9_090 });
    assert.deepEqual(livenessProbe?.httpGet, { path: '/healthz', port: 9_090 });
    assert.deepEqual(readinessProbe?.httpGet, { path: '/readyz', port: 9_090 });
  });

  it('lets a gateway replace a hung shard by itself before the kubelet restarts it all', () => {
    const { periodSeconds = 0, failureThreshold = 0 } = pod().containers[0]?.livenessProbe ?? {};
    assert.ok(periodSeconds * failureThreshold >= 60);
  });

  it('mounts no file by subPath, which would not follow a change', () => {
    const { containers, volumes } = pod({ service: { tls: { secretName: 'cert' } } });
    for (const mount of containers[0]?.volumeMounts ?? []) {
      assert.equal(mount.subPath, undefined);
      assert.ok(volumes?.some(({ name }) => name === mount.name));
      assert.equal(mount.readOnly, true);
    }
  });

  it('lets a gateway read the drain annotation of its own pod', () => {
    const [item] = pod().volumes?.find(({ name }) => name === 'pod')?.downwardAPI?.items ?? [];
    assert.deepEqual(item, { path: 'drain', fieldRef: { fieldPath: "metadata.annotations['pushcluster.dev/drain']" } });
  });

  it('spreads gateways over nodes and zones, those of one template among themselves', () => {
    const { topologySpreadConstraints = [], affinity } = pod();
    assert.deepEqual(
      topologySpreadConstraints.map(({ topologyKey, whenUnsatisfiable, matchLabelKeys }) => ({
        topologyKey,
        whenUnsatisfiable,
        matchLabelKeys,
      })),
      [
        {
          topologyKey: 'kubernetes.io/hostname',
          whenUnsatisfiable: 'ScheduleAnyway',
          matchLabelKeys: ['pod-template-hash'],
        },
      ],
    );
    const [preferred] = affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    assert.equal(preferred?.podAffinityTerm.topologyKey, 'topology.kubernetes.io/zone');
    assert.deepEqual(preferred?.podAffinityTerm.matchLabelKeys, ['pod-template-hash']);
  });

  it('takes the spreading that is given, and gives it the selector that is left out', () => {
    const given = { maxSkew: 2, topologyKey: 'rack', whenUnsatisfiable: 'DoNotSchedule' } as const;
    const { topologySpreadConstraints = [], affinity } = pod({ placement: { topologySpreadConstraints: [given] } });
    const [constraint] = topologySpreadConstraints;
    assert.equal(affinity, undefined);
    assert.equal(constraint?.maxSkew, 2);
    assert.equal(constraint?.labelSelector?.matchLabels?.['app.kubernetes.io/component'], 'gateway');
  });

  it('places pods as it is told', () => {
    const placement = {
      nodeSelector: { nic: '10gbe' },
      tolerations: [{ key: 'dedicated', operator: 'Exists' }],
      priorityClassName: 'live',
      affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: 'rack' }] } },
    };
    const { nodeSelector, tolerations, priorityClassName, affinity } = pod({ placement });
    assert.deepEqual(
      { nodeSelector, tolerations, priorityClassName, affinity },
      { ...placement, nodeSelector: { 'kubernetes.io/os': 'linux', nic: '10gbe' } },
    );
    assert.deepEqual(pod().nodeSelector, { 'kubernetes.io/os': 'linux' });
  });

  it('passes resources on as they are, so that equal requests and limits are the guaranteed QoS class', () => {
    const { resources } = pod({ resources: { limits: { cpu: 4, memory: '4Gi' } } }).containers[0]!;
    assert.deepEqual(resources, { limits: { cpu: '4', memory: '4Gi' } });
  });

  it('sets a sysctl only where it is told to', () => {
    assert.equal(pod().securityContext?.sysctls, undefined);
    const name = 'net.ipv4.tcp_wmem';
    assert.deepEqual(pod({ sysctls: { [name]: '4096 16384 131072' } }).securityContext?.sysctls, [
      { name, value: '4096 16384 131072' },
    ]);
  });

  it("finds Services by name in its node's network, too", () => {
    assert.equal(pod().hostNetwork, undefined);
    const { hostNetwork, dnsPolicy } = pod({ hostNetwork: true });
    assert.deepEqual({ hostNetwork, dnsPolicy }, { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' });
  });

  it('merges the pod template over all of it, and lets its own files be read by whoever it runs as then', () => {
    const template = (spec: Record<string, unknown>) => pod({ podTemplate: { spec } });
    const limits = { limits: { cpu: 3 } };
    const [own, beside] = template({
      containers: [
        { name: 'beside', image: 'a' },
        { name: 'gateway', resources: limits },
      ],
    }).containers;
    assert.deepEqual(own?.resources, { requests: { cpu: '100m', memory: '256Mi' }, ...limits });
    assert.equal(beside?.name, 'beside');
    const modes = (spec: Record<string, unknown>) =>
      template(spec).volumes?.map(({ projected }) => projected?.defaultMode);
    assert.ok(modes({})?.includes(0o440));
    assert.ok(modes({ securityContext: { fsGroup: null } })?.includes(0o444));
  });

  it('pulls the image that is named, else that of the operator', () => {
    const image = (image: z.input<typeof Spec>['image']) =>
      gatewayDeployment(
        clusterOf({ ...(image ? { image } : {}), imagePullSecrets: [{ name: 'registry' }] }),
        contextOf(),
      ).spec?.template.spec;
    assert.equal(image(undefined)?.containers[0]?.image, 'gateway:1');
    assert.equal(image({ gateway: 'mine/gateway@sha256:1' })?.containers[0]?.image, 'mine/gateway@sha256:1');
    assert.deepEqual(image({})?.imagePullSecrets, [{ name: 'registry' }]);
  });

  it('adds the pull secrets of the operator to those of the PushCluster, each once', () => {
    const secrets = (...names: string[]) => names.map((name) => ({ name }));
    const podDefaults = { ...POD_DEFAULTS, imagePullSecrets: secrets('mirror', 'registry') };
    const { template } = gatewayDeployment(
      clusterOf({ imagePullSecrets: secrets('registry') }),
      contextOf({ podDefaults }),
    ).spec!;
    assert.deepEqual(template.spec?.imagePullSecrets, secrets('registry', 'mirror'));
  });

  it('keeps the labels and annotations that the operator lives by', () => {
    const { metadata } = deployment({
      podTemplate: {
        labels: { 'app.kubernetes.io/component': 'logic' },
        annotations: { 'pushcluster.dev/static-settings': 'mine', note: 'ours' },
      },
    }).template;
    assert.equal(metadata?.labels?.['app.kubernetes.io/component'], 'gateway');
    assert.match(metadata?.annotations?.['pushcluster.dev/static-settings'] ?? '', /^[0-9a-f]{16}$/);
    assert.equal(metadata?.annotations?.note, 'ours');
  });
});
