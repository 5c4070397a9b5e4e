import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { PushCluster } from '@pushcluster/operator/api/pushCluster.ts';
import { mergePodTemplate } from '@pushcluster/operator/pushcluster/desired/mergePodTemplate.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'shop';

const WORKLOADS = [
  { role: 'gateway', workload: 'deployment/live-gateway' },
  { role: 'logic', workload: 'deployment/live-logic' },
  { role: 'nats', workload: 'statefulset/live-nats' },
] as const;
type Role = (typeof WORKLOADS)[number]['role'];

/** A spec with a pod template for each role. */
function specOf(template: (role: Role) => object) {
  return {
    gateway: { podTemplate: template('gateway') },
    logic: { podTemplate: template('logic') },
    nats: { managed: { podTemplate: template('nats') } },
  };
}

/** A bit of everything that a PodSpec has. */
const everything = (role: Role) => ({
  metadata: { labels: { team: 'live' }, annotations: { 'example.com/a': 'b' } },
  spec: {
    runtimeClassName: 'kata',
    schedulerName: 'other',
    priorityClassName: 'high',
    serviceAccountName: 'cloud',
    dnsPolicy: 'None',
    dnsConfig: { nameservers: ['192.0.2.1'], options: [{ name: 'ndots', value: '1' }] },
    hostAliases: [{ ip: '192.0.2.2', hostnames: ['bus.example.com'] }],
    nodeSelector: { pool: 'live' },
    tolerations: [{ key: 'live', operator: 'Exists' }],
    imagePullSecrets: [{ name: 'own' }],
    securityContext: { fsGroup: 7, supplementalGroups: [8] },
    volumes: [{ name: 'more', configMap: { name: 'more' } }],
    initContainers: [{ name: 'fetch', image: 'fetch:1', restartPolicy: 'Always' }],
    containers: [
      {
        name: role,
        env: [{ name: 'NODE_EXTRA_CA_CERTS', value: '/more/ca.crt' }],
        envFrom: [{ secretRef: { name: 'more' } }],
        volumeMounts: [{ name: 'more', mountPath: '/more', readOnly: true }],
        resources: { limits: { 'example.com/nic': '1' } },
        securityContext: { runAsUser: 9 },
      },
      { name: 'proxy', image: 'proxy:1', ports: [{ containerPort: 15_090 }] },
    ],
  },
});

type Container = {
  name: string;
  image: string;
  args?: string[];
  env?: { name: string }[];
  envFrom?: object[];
  ports?: object[];
  volumeMounts?: { name: string; mountPath: string }[];
  resources: { requests?: object; limits?: object };
  securityContext: object;
  livenessProbe?: object;
};
type Template = {
  metadata: { labels: Record<string, string>; annotations: Record<string, string> };
  spec: Record<string, unknown> & { containers: Container[]; volumes: { name: string }[] };
};

describe('pod templates', () => {
  let plane: ControlPlane;
  let operator: OperatorProcess;
  before(async () => {
    plane = await startControlPlane();
    operator = await OperatorProcess.startIn(plane, NAMESPACE);
    // What pods of the template need to be admitted.
    await apply(plane.kubectl, [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'cloud', namespace: NAMESPACE } },
      { apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', metadata: { name: 'kata' }, handler: 'kata' },
      { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name: 'high' }, value: 1_000 },
    ]);
  });
  after(async () => {
    await operator?.end('SIGKILL');
    await plane?.stop();
  });

  const get = async (what: string, ...args: string[]) =>
    JSON.parse(await plane.kubectl(['get', what, '-n', NAMESPACE, '-o=json', ...args]));
  const templateOf = async (workload: string): Promise<Template> => (await get(workload)).spec.template;
  const set = (spec: object) =>
    apply(plane.kubectl, [
      {
        apiVersion: 'pushcluster.dev/v1alpha1',
        kind: 'PushCluster',
        metadata: { name: 'live', namespace: NAMESPACE },
        spec,
      },
    ]);

  /** Waits until the status is about the latest spec, and its condition Degraded is as `holds` says. */
  async function degraded(what: string, holds: (status: string, message: string) => boolean): Promise<void> {
    let found: unknown;
    await until(
      what,
      async () => {
        const { status, metadata } = PushCluster.parse(await get('pushcluster/live'));
        const condition = status?.conditions?.find(({ type }) => type === 'Degraded');
        found = condition;
        const isLatest = condition?.observedGeneration === metadata.generation;
        return isLatest && holds(condition?.status ?? '', condition?.message ?? '');
      },
      60_000,
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(found)}\n${operator.output.slice(-2_000)}`);
    });
  }
  const isFine = (status: string) => status === 'False';

  it('are merged over what the operator makes, and taken away again', async () => {
    await set({});
    await degraded('it is made', isFine);
    const before = new Map<string, Template>();
    for (const { workload } of WORKLOADS) before.set(workload, await templateOf(workload));
    await set(specOf(everything));
    await degraded('it is merged', isFine);
    for (const { role, workload } of WORKLOADS) {
      const was = before.get(workload);
      const { metadata, spec } = await templateOf(workload);
      assert.ok(was);
      assert.deepEqual(metadata.labels, { ...was.metadata.labels, team: 'live' });
      assert.equal(metadata.annotations['example.com/a'], 'b');
      const { containers, initContainers, volumes, ...others } = everything(role).spec;
      for (const [name, value] of Object.entries(others)) {
        const own: unknown = was.spec[name];
        const isMerged = typeof value === 'object' && !Array.isArray(value) && typeof own === 'object';
        assert.deepEqual(spec[name], isMerged ? { ...own, ...value } : value, `${workload} ${name}`);
      }
      assert.deepEqual(
        spec.volumes.map(({ name }) => name),
        [...was.spec.volumes.map(({ name }) => name), 'more'],
      );
      assert.equal((spec.initContainers as { name: string }[])[0]?.name, initContainers[0]?.name);
      const [own, proxy, ...rest] = spec.containers;
      const [wasOwn] = was.spec.containers;
      assert.ok(own && wasOwn);
      assert.deepEqual(rest, []);
      assert.equal(proxy?.image, 'proxy:1');
      assert.deepEqual(own.envFrom, containers[0]?.envFrom);
      assert.deepEqual(own.env, [...(wasOwn.env ?? []), ...(containers[0]?.env ?? [])]);
      assert.deepEqual(own.volumeMounts, [...(wasOwn.volumeMounts ?? []), ...(containers[0]?.volumeMounts ?? [])]);
      assert.deepEqual(own.resources, { ...wasOwn.resources, limits: { 'example.com/nic': '1' } });
      assert.deepEqual(own.securityContext, { ...wasOwn.securityContext, runAsUser: 9 });
      for (const kept of ['image', 'args', 'ports', 'livenessProbe'] as const)
        assert.deepEqual(own[kept], wasOwn[kept], kept);
    }
    const policy = await get('networkpolicy/live-gateway');
    assert.deepEqual(policy.spec.ingress.at(-1), { ports: [{ port: 15_090, protocol: 'TCP' }] });
    await set({});
    await degraded('it is as before', isFine);
    for (const { workload } of WORKLOADS) assert.deepEqual(await templateOf(workload), before.get(workload));
  });

  it('take away by null what the operator can do without, and nothing else', async () => {
    await set(specOf(() => ({ spec: { securityContext: { runAsUser: null } } })));
    await degraded('it is merged', isFine);
    for (const { workload } of WORKLOADS) {
      const { securityContext } = (await templateOf(workload)).spec;
      assert.deepEqual(Object.keys(securityContext as object).includes('runAsUser'), false);
    }
    for (const own of ['image', 'args', 'ports', 'env', 'volumeMounts', 'livenessProbe'])
      await assert.rejects(
        set({ gateway: { podTemplate: { spec: { containers: [{ name: 'gateway', [own]: null }] } } } }),
        new RegExp(`podTemplate\\.spec\\.containers\\[0\\]\\.${own} in body must be`),
      );
    await assert.rejects(set({ gateway: { podTemplate: { spec: { volumes: null } } } }), /must be of type array/);
  });

  for (const { role, workload } of WORKLOADS) {
    const title = workload === 'statefulset/live-nats' ? 'StatefulSet live-nats' : `Deployment live-${role}`;
    const wrong: [what: string, template: object, says: RegExp][] = [
      [
        'a sidecar without an image',
        { containers: [{ name: 'proxy' }] },
        /spec\.template\.spec\.containers\[1\]\.image: Required value/,
      ],
      ['a misspelt field', { nodSelector: { a: 'b' } }, /spec\.template\.spec\.nodSelector/],
      ['a value of another type', { priority: 'high' }, /spec\.template\.spec\.priority|cannot unmarshal/],
      [
        'a mount of no volume',
        { containers: [{ name: role, volumeMounts: [{ name: 'more', mountPath: '/more' }] }] },
        /volumeMounts\[\d+\]\.name: Not found: "more"/,
      ],
    ];
    // How Kubernetes answers differs by the mistake, not by the role.
    for (const [what, template, says] of role === 'gateway' ? wrong : wrong.slice(0, 1))
      it(`of ${role} with ${what} are reported in the words of the API server`, async () => {
        const spec = specOf((each) => (each === role ? { spec: template } : {}));
        await set({ ...spec, image: { pullPolicy: 'Always' }, logic: { ...spec.logic, service: { port: 80 } } });
        await degraded('it is reported', (status, message) => {
          return status === 'True' && message.startsWith(`${title}: `) && says.test(message);
        });
        const { conditions = [] } = PushCluster.parse(await get('pushcluster/live')).status ?? {};
        assert.equal(conditions.find(({ type }) => type === 'Degraded')?.reason, 'Invalid');
        assert.equal((await get('service/live-logic')).spec.ports[0].port, 80);
        for (const other of WORKLOADS)
          if (other.role !== role)
            assert.equal((await get(other.workload)).spec.template.spec.containers[0].imagePullPolicy, 'Always');
        await set({});
        await degraded('it is fine again', isFine);
      });
  }

  it('that are refused keep no gateways from being added', async () => {
    await set({ gateway: { podTemplate: { spec: { containers: [{ name: 'proxy' }] } } } });
    await degraded('it is reported', (status) => status === 'True');
    await plane.kubectl(['scale', 'pushcluster/live', '-n', NAMESPACE, '--replicas=5']);
    await until('gateways are added', async () => (await get('deployment/live-gateway')).spec.replicas === 5);
    await set({});
    await degraded('it is fine again', isFine);
  });

  it('are merged as Kubernetes merges a strategic merge patch', async () => {
    const made = (await get('deployment/live-gateway')).spec.template;
    const cases: object[] = [
      everything('gateway'),
      {
        spec: {
          containers: [
            { name: 'proxy', image: 'proxy:1' },
            { name: 'gateway', stdin: true },
          ],
        },
      },
      { spec: { affinity: null, securityContext: { runAsUser: null, fsGroup: 3 } } },
      { spec: { affinity: { nodeAffinity: {} }, nodeSelector: { 'kubernetes.io/os': null, a: 'b' } } },
      {
        spec: {
          containers: [{ name: 'gateway', securityContext: { capabilities: { drop: ['NET_RAW'], add: ['CHOWN'] } } }],
        },
      },
      { spec: { securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'a.json' } } } },
    ];
    for (const template of cases) {
      const args = ['deployment/live-gateway', '-n', NAMESPACE, '--dry-run=server', '-o=json'];
      const patch = JSON.stringify({ spec: { template } });
      const theirs = JSON.parse(await plane.kubectl(['patch', ...args, '--type=strategic', '-p', patch]));
      const replaced = [{ op: 'replace', path: '/spec/template', value: mergePodTemplate(made, template) }];
      const ours = JSON.parse(await plane.kubectl(['patch', ...args, '--type=json', '-p', JSON.stringify(replaced)]));
      assert.deepEqual(sorted(ours.spec.template), sorted(theirs.spec.template), patch);
    }
  });
});

/** With entries of lists in the order of their text: a patch of Kubernetes puts new ones first. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, each]) => [name, sorted(each)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
