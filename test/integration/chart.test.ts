import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { CLUSTER_RULES, OWN_RULES } from '@pushcluster/operator/rbac.ts';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { type Helm, helmWith } from '../harness/cluster/helm.ts';
import { apply, established } from '../harness/cluster/kubectl.ts';
import { CHART, REGISTRY, restrictedNamespace } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { until } from '../harness/until.ts';

const OLD_CHART = new URL('../fixtures/charts/pushcluster-0.0.9', import.meta.url).pathname;
const OPERATOR = new URL('../../operator/main.ts', import.meta.url).pathname;
const CRD = 'crd/pushclusters.pushcluster.dev';
const NAMESPACE = 'push-system';
const ACCOUNT = `system:serviceaccount:${NAMESPACE}:pushcluster-operator`;
const SET_REGISTRY = ['--set', `images.registry=${REGISTRY}`];
/** Everything that is off or empty by default. */
const ALL_SET = {
  images: { registry: 'mirror.example.com', operator: { digest: `sha256:${'0'.repeat(64)}` }, logic: { tag: '1.2.3' } },
  imagePullSecrets: [{ name: 'registry' }],
  commonLabels: { team: 'a', 'cost-center': '7' },
  pushClusters: { imagePullSecrets: [{ name: 'registry' }], podSecurityContext: { runAsUser: 1000 } },
  watchNamespaces: ['shop', 'chat'],
  serviceAccount: { annotations: { a: 'b' } },
  operator: {
    replicas: 3,
    logLevel: 'debug',
    maxConcurrentRollouts: 3,
    priorityClassName: 'system-cluster-critical',
    nodeSelector: { 'kubernetes.io/os': 'linux' },
    tolerations: [{ key: 'dedicated', operator: 'Exists', effect: 'NoSchedule' }],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: 'arch', operator: 'Exists' }] }],
        },
      },
    },
    topologySpreadConstraints: [{ maxSkew: 2, topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway' }],
    podLabels: { team: 'a' },
    podAnnotations: { note: 'b' },
    adminPort: 9191,
    extraEnv: [{ name: 'HTTPS_PROXY', value: 'http://proxy:3128' }],
    hostNetwork: true,
  },
  networkPolicy: { enabled: true, metricsFrom: [{ namespaceSelector: {} }] },
  monitoring: {
    dashboards: { namespace: 'kube-public', annotations: { grafana_folder: 'PushCluster' } },
    rules: { labels: { team: 'a' }, configMap: true, lineRate: 25, runbook: 'https://runbooks.example.com/push' },
    serviceMonitor: { labels: { team: 'a' } },
  },
  metricsApi: { enabled: true, port: 8443, prometheusAdapterRules: true },
};

const Tree: z.ZodType<Tree> = z.lazy(() => z.union([z.record(z.string(), Tree), z.array(z.unknown()), Leaf]));
const Leaf = z.union([z.string(), z.number(), z.boolean()]);
type Tree = { [name: string]: Tree } | unknown[] | z.infer<typeof Leaf>;
const KubeObject = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
  rules: z.array(z.unknown()).optional(),
});
type KubeObject = z.infer<typeof KubeObject>;
const Deployment = z.object({
  spec: z.object({
    template: z.object({
      metadata: z.looseObject({ labels: z.record(z.string(), z.string()) }),
      spec: z.looseObject({
        containers: z.array(
          z.looseObject({ image: z.string(), env: z.array(z.object({ name: z.string(), value: z.string() })) }),
        ),
      }),
    }),
  }),
});
const Service = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({ ports: z.array(z.object({ appProtocol: z.string().optional() })) }),
});

const file = (name: string) => readFileSync(`${CHART}/${name}`, 'utf8');
const isMap = (value: unknown): value is Record<string, Tree> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The values that have no values below them, by their path. */
function* leaves(tree: Tree, path = ''): Generator<[path: string, value: unknown]> {
  if (isMap(tree) && Object.keys(tree).length > 0)
    for (const [name, below] of Object.entries(tree)) yield* leaves(below, path === '' ? name : `${path}.${name}`);
  else yield [path, tree];
}

/** The paths of all maps that have names of ours. */
function* maps(tree: Tree, path: string[] = []): Generator<string[]> {
  if (!isMap(tree) || Object.keys(tree).length === 0) return;
  yield path;
  for (const [name, below] of Object.entries(tree)) yield* maps(below, [...path, name]);
}

const values = Tree.parse(parse(file('values.yaml')));

describe('the chart', () => {
  let helm: Helm;
  before(async () => {
    helm = helmWith((await kubeTools('control-plane'))('helm'));
  });

  it('passes helm lint --strict, also with everything set', async () => {
    await helm(['lint', '--strict', CHART]);
    await helm(['lint', '--strict', CHART, ...SET_REGISTRY]);
    await helm(['lint', '--strict', CHART, '-f', '-'], JSON.stringify(ALL_SET));
  });

  it('has the version of the product, and runs images of it', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    assert.equal(parse(file('Chart.yaml')).appVersion, version);
    const { image, env } = Deployment.parse(ofKind(await rendered(helm), 'Deployment')[0]).spec.template.spec
      .containers[0]!;
    assert.equal(image, `${REGISTRY}/pushcluster/operator:${version}`);
    assert.deepEqual(
      env.filter(({ name }) => name.endsWith('_IMAGE')).map(({ value }) => value),
      [
        `${REGISTRY}/pushcluster/gateway:${version}`,
        `${REGISTRY}/pushcluster/logic:${version}`,
        `${REGISTRY}/library/nats:2.14.8`,
        `${REGISTRY}/natsio/prometheus-nats-exporter:0.20.1`,
      ],
    );
  });

  it('is not installed without a registry, and says where images come from', async () => {
    for (const images of [{}, { registry: '' }, { registry: null }])
      await assert.rejects(
        helm(['template', 'pushcluster', CHART, '-f', '-'], JSON.stringify({ images })),
        /images\.registry is not set: PushCluster's images are in no public registry.*docs\/how-to\/install\.md/,
      );
    await assert.rejects(helm(['install', 'pushcluster', CHART, '--dry-run=client']), /images\.registry is not set/);
  });

  it('takes images from a mirror, by tag or by digest', async () => {
    const { image, env } = Deployment.parse(ofKind(await rendered(helm, ALL_SET), 'Deployment')[0]).spec.template.spec
      .containers[0]!;
    assert.equal(image, `mirror.example.com/pushcluster/operator@sha256:${'0'.repeat(64)}`);
    assert.equal(env.find(({ name }) => name === 'LOGIC_IMAGE')?.value, 'mirror.example.com/pushcluster/logic:1.2.3');
  });

  it('refuses a misspelt value at every level', async () => {
    for (const path of maps(values)) {
      const wrong = path.reduceRight<Record<string, unknown>>((below, name) => ({ [name]: below }), { misspelt: 1 });
      // Kubernetes' own names of resources are open.
      if (path.some((name) => ['requests', 'limits', 'securityContext'].includes(name))) continue;
      if (path.includes('podSecurityContext') && path[0] === 'operator') continue;
      await assert.rejects(rendered(helm, wrong), /misspelt/, path.join('.'));
    }
  });

  it('refuses values of a wrong kind, and says where', async () => {
    for (const [wrong, says] of [
      [{ operator: { replicas: 'two' } }, /operator\/replicas/],
      [{ operator: { logLevel: 'loud' } }, /operator\/logLevel/],
      [{ images: { gateway: { digest: 'sha256:1' } } }, /images\/gateway\/digest/],
      [{ watchNamespaces: 'shop' }, /watchNamespaces/],
      [{ crds: { keep: 'yes' } }, /crds\/keep/],
      [{ metricsApi: { enabled: true, port: 9090 } }, /metricsApi\.port: 9090 is the operator's port for metrics/],
    ] as const)
      await assert.rejects(rendered(helm, wrong), says);
  });

  it("keeps its own labels whatever the pods' labels are to be: its selectors live by them", async () => {
    const podLabels = { team: 'a', 'app.kubernetes.io/name': 'mine', 'app.kubernetes.io/component': 'mine' };
    const given = { images: { registry: REGISTRY }, commonLabels: podLabels, operator: { podLabels } };
    const text = await helm(['template', 'pushcluster', CHART, '-f', '-'], JSON.stringify(given));
    assert.equal(text.match(/app\.kubernetes\.io\/name: mine/g), null);
    const { labels } = Deployment.parse(ofKind(await rendered(helm, { operator: { podLabels } }), 'Deployment')[0]).spec
      .template.metadata;
    assert.equal(labels.team, 'a');
    assert.equal(labels['app.kubernetes.io/name'], 'pushcluster-operator');
    assert.equal(labels['app.kubernetes.io/component'], 'operator');
  });

  it('lists every value with its default in its README', () => {
    const rows = [...file('README.md').matchAll(/^\| `([^`]+)` \| `([^`]*)` \|/gm)];
    const listed = rows.map(([, name, value]) => [name, parse(value ?? '')] as const);
    assert.deepEqual(Object.fromEntries(listed), Object.fromEntries(leaves(values)));
    assert.equal(listed.length, [...leaves(values)].length);
  });

  it('says what each port of its Services speaks, so that no mesh has to guess', async () => {
    const services = z.array(Service).parse(ofKind(await rendered(helm, ALL_SET), 'Service'));
    assert.deepEqual(
      services.map(({ metadata, spec }) => [metadata.name, spec.ports.map(({ appProtocol }) => appProtocol)]),
      [
        ['pushcluster-metrics-api', ['https']],
        ['pushcluster-operator-metrics', ['http']],
      ],
    );
  });

  it('gives the operator the rights that it says it needs, and nobody else any', async () => {
    const objects = await rendered(helm);
    const rules = (kind: string, name: string) =>
      objects.find((object) => object.kind === kind && object.metadata.name === name)?.rules;
    assert.deepEqual(rules('ClusterRole', `${NAMESPACE}-pushcluster-operator`), CLUSTER_RULES);
    assert.deepEqual(rules('Role', 'pushcluster-operator-leader'), OWN_RULES);
    assert.deepEqual(
      ofKind(objects, 'ClusterRoleBinding').map(({ subjects }) => subjects),
      [[{ kind: 'ServiceAccount', name: 'pushcluster-operator', namespace: NAMESPACE }]],
    );
  });

  it('gives it rights only where it watches, where it watches some namespaces', async () => {
    const objects = await rendered(helm, { watchNamespaces: ['shop', 'chat'] });
    assert.deepEqual(ofKind(objects, 'ClusterRoleBinding'), []);
    const roles = ofKind(objects, 'Role').map(({ metadata, rules }) => [metadata.namespace, rules]);
    assert.deepEqual(roles, [
      ['shop', CLUSTER_RULES],
      ['chat', CLUSTER_RULES],
      [NAMESPACE, OWN_RULES],
    ]);
  });

  it('can leave out the CRD, the rights and the account', async () => {
    const kinds = (
      await rendered(helm, {
        crds: { install: false },
        rbac: { create: false, aggregate: false },
        serviceAccount: { create: false, name: 'given' },
        operator: { podDisruptionBudget: false },
        monitoring: { dashboards: { enabled: false } },
      })
    ).map(({ kind }) => kind);
    assert.deepEqual(kinds.sort(), ['Deployment', 'Service']);
  });

  it('has no object twice where two namespaces have a release of one name, or two long names begin alike', async () => {
    const long = 'a-team-with-a-long-name-and-a-longer-suffix-';
    const given = {
      watchNamespaces: ['shop'],
      monitoring: { dashboards: { namespace: 'grafana' } },
      metricsApi: { enabled: false },
      nodeTuning: { enabled: true },
      crds: { install: false },
    };
    const releases = await Promise.all(
      [
        { namespace: 'one' },
        { namespace: 'two' },
        { namespace: 'three', name: `${long}1` },
        { namespace: 'three', name: `${long}2` },
      ].map((release) => rendered(helm, given, release)),
    );
    const ids = releases.flat().map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`);
    assert.deepEqual([...ids].sort(), [...new Set(ids)].sort());
  });

  it('elects a leader for each release', async () => {
    for (const name of ['pushcluster', 'other']) {
      const objects = await rendered(helm, {}, { name });
      const { env } = Deployment.parse(ofKind(objects, 'Deployment')[0]).spec.template.spec.containers[0]!;
      const lease = env.find((each) => each.name === 'LEASE_NAME')?.value;
      assert.equal(lease, name === 'other' ? 'other-pushcluster-operator' : 'pushcluster-operator');
      const rules = ofKind(objects, 'Role').find(({ metadata }) => metadata.name === `${lease}-leader`)?.rules;
      assert.match(JSON.stringify(rules), new RegExp(`"resourceNames":\\["${lease}"\\]`));
    }
  });

  it('leaves users and groups of pods to OpenShift where it is one', async () => {
    const given = { nodeTuning: { enabled: false } };
    const contextOf = async (openshift: unknown, ...args: string[]) => {
      const objects = await rendered(helm, { ...given, ...(openshift === undefined ? {} : { openshift }) }, { args });
      const { template } = Deployment.parse(ofKind(objects, 'Deployment')[0]).spec;
      assert.doesNotMatch(JSON.stringify(template), /"(runAsUser|runAsGroup|fsGroup)":/, 'the image names the user');
      const text = template.spec.containers[0]!.env.find(({ name }) => name === 'POD_SECURITY_CONTEXT')?.value;
      return JSON.parse(text ?? '');
    };
    const user = { fsGroup: 65_532, fsGroupChangePolicy: 'OnRootMismatch', runAsGroup: 65_532, runAsUser: 65_532 };
    const served = '--api-versions=security.openshift.io/v1';
    assert.deepEqual(await contextOf(undefined), user);
    assert.deepEqual(await contextOf(undefined, served), {});
    assert.deepEqual(await contextOf(true), {});
    assert.deepEqual(await contextOf(false, served), user);
  });

  it('says what comes next', async () => {
    const said = await helm([
      'install',
      'pushcluster',
      CHART,
      '-n',
      NAMESPACE,
      '--dry-run=client',
      '--hide-notes=false',
      ...SET_REGISTRY,
      '--set-string=watchNamespaces={4711}',
    ]);
    assert.match(said, /kubectl -n push-system rollout status deployment\/pushcluster-operator/);
    assert.match(said, /kind: PushCluster/);
    assert.match(said, /name: live\n +namespace: "4711"\n/);
    assert.match(said, /`helm uninstall` keeps the CRD/);
  });
});

describe('the chart, on a Kubernetes', () => {
  let plane: ControlPlane;
  let helm: Helm;
  before(async () => {
    plane = await startControlPlane();
    helm = helmWith((await kubeTools('control-plane'))('helm'), plane.kubeconfig);
    const namespaces = ['shop', 'chat', 'other', NAMESPACE].map(restrictedNamespace);
    await apply(plane.kubectl, namespaces);
  });
  after(() => plane?.stop());

  const release = ['pushcluster', CHART, '-n', NAMESPACE];
  const upgrade = (...args: string[]) =>
    helm(['upgrade', '--install', ...release, '--reset-values', ...SET_REGISTRY, ...args]);
  const uninstall = () => helm(['uninstall', 'pushcluster', '-n', NAMESPACE, '--wait']);
  const dryRun = (items: readonly object[]) =>
    plane.kubectl(
      ['apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', '-'],
      JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
    );
  const path = (what: string, value: string, namespace = 'shop') =>
    plane.kubectl(['get', what, '-n', namespace, `-o=jsonpath={${value}}`]);
  const pushCluster = (namespace: string, spec: object = {}) => ({
    apiVersion: 'pushcluster.dev/v1alpha1',
    kind: 'PushCluster',
    metadata: { name: 'live', namespace },
    spec,
  });
  const exists = (...what: string[]) =>
    plane.kubectl(['get', ...what]).then(
      () => true,
      () => false,
    );

  it('makes objects that are accepted, by default and with everything set', async () => {
    await dryRun(await rendered(helm));
    await dryRun(await rendered(helm, ALL_SET));
  });

  it("makes pods of the operator that the level restricted admits, and that can't write a file", async () => {
    const { metadata, spec } = Deployment.parse(ofKind(await rendered(helm), 'Deployment')[0]).spec.template;
    // The account is not there yet, and isn't what this is about.
    const pod = { ...spec, serviceAccountName: 'default' };
    await until('pods are admitted to the namespace', () => exists('serviceaccount', 'default', '-n', NAMESPACE));
    await dryRun([
      { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'operator', namespace: NAMESPACE }, spec: pod },
    ]);
    assert.match(JSON.stringify(spec.containers[0]), /"readOnlyRootFilesystem":true/);
  });

  it('upgrades one with an older CRD: PushClusters and values that were given stay, and what is new can be said', async () => {
    await helm(['install', 'pushcluster', OLD_CHART, '-n', NAMESPACE, '--set', 'operator.replicas=3']);
    await established(plane.kubectl, 'pushclusters.pushcluster.dev');
    await apply(plane.kubectl, [pushCluster('shop', { gateway: { replicas: 3 } })]);
    const newer = pushCluster('shop', { gateway: { replicas: 3, drain: { rate: 7 } } });
    await assert.rejects(dryRun([newer]), /unknown field|not declared in schema/);
    const uid = await path('pushcluster/live', '.metadata.uid');
    const operator = await path('deployment/pushcluster-operator', '.metadata.uid', NAMESPACE);

    // As its README says.
    await helm(['upgrade', ...release, '--reset-then-reuse-values', ...SET_REGISTRY]);
    await until('the new fields are known', () =>
      dryRun([newer]).then(
        () => true,
        () => false,
      ),
    );
    await apply(plane.kubectl, [newer]);
    assert.equal(await path('pushcluster/live', '.metadata.uid'), uid);
    assert.equal(await path('pushcluster/live', '.spec.gateway.replicas'), '3');
    assert.equal(await path('pushcluster/live', '.spec.gateway.batching.maxDelay'), '1s');
    assert.equal(await path('deployment/pushcluster-operator', '.metadata.uid', NAMESPACE), operator);
    assert.equal(await path('deployment/pushcluster-operator', '.spec.replicas', NAMESPACE), '3');
  });

  it('lets editors of a namespace make PushClusters there, and viewers see them', async () => {
    for (const role of ['view', 'edit'])
      await plane.kubectl(['create', 'rolebinding', role, `--clusterrole=${role}`, `--user=${role}or`, '-n', 'shop']);
    const may = async (user: string, verb: string, ...what: string[]) =>
      (await plane.kubectl(['auth', 'can-i', verb, ...what, `--as=${user}`, '-n', 'shop']).catch(() => 'no')).trim();
    await until('the roles are put together', async () => (await may('editor', 'create', 'pushclusters')) === 'yes');
    await until('both of them', async () => (await may('viewor', 'list', 'pushclusters')) === 'yes');
    assert.equal(await may('editor', 'patch', 'pushclusters', '--subresource=scale'), 'yes');
    assert.equal(await may('editor', 'patch', 'pushclusters', '--subresource=status'), 'no');
    assert.equal(await may('viewor', 'create', 'pushclusters'), 'no');
  });

  it('lets the operator work in the namespaces that it watches, and in no others', async () => {
    await upgrade('--set', 'watchNamespaces={shop,chat}');
    const subject = `/O=system:serviceaccounts/O=system:serviceaccounts:${NAMESPACE}/CN=${ACCOUNT}`;
    const KUBECONFIG = await plane.kubeconfigFor(subject);
    const env = {
      PATH: process.env.PATH,
      KUBECONFIG,
      WATCH_NAMESPACES: 'shop,chat',
      LEASE_NAMESPACE: NAMESPACE,
      ...{
        ADMIN_PORT: '0',
        ADMIN_HOST: '127.0.0.1',
        GATEWAY_IMAGE: 'g:1',
        LOGIC_IMAGE: 'l:1',
        NATS_IMAGE: 'n:1',
        NATS_EXPORTER_IMAGE: 'e:1',
      },
    };
    const operator: ChildProcess = spawn(process.execPath, [OPERATOR], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [operator.stdout, operator.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    const ended = new Promise<number | null>((resolve) => operator.once('exit', resolve));
    try {
      // Something to tell of.
      await plane.kubectl(['create', 'configmap', 'live-settings', '-n', 'chat']);
      await apply(plane.kubectl, [pushCluster('other'), pushCluster('chat')]);
      for (const namespace of ['shop', 'chat'])
        await until(`PushCluster live in ${namespace} is said to be starting`, async () =>
          (await path('pushcluster/live', '.status.conditions[?(@.type=="Progressing")].reason', namespace)).includes(
            'Starting',
          ),
        );
      assert.equal(await path('pushcluster/live', '.status', 'other'), '');
      assert.equal(await exists('deployment', 'live-gateway', '-n', 'other'), false);
      await until('events are written', async () =>
        (await plane.kubectl(['get', 'events', '-n', 'chat', '-o=name'])).includes('event/live.'),
      );
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${output}`);
    } finally {
      operator.kill('SIGTERM');
    }
    assert.equal(await ended, 0, output);
    assert.doesNotMatch(output, /forbidden/i);
  });

  it('leaves the CRD and the PushClusters when it is removed, and takes them over when it comes back', async () => {
    const uid = await path('pushcluster/live', '.metadata.uid');
    await uninstall();
    assert.equal(await exists('deployment', 'pushcluster-operator', '-n', NAMESPACE), false);
    assert.equal(await exists('clusterrole', `${NAMESPACE}-pushcluster-edit`), false);
    assert.equal(await path('pushcluster/live', '.metadata.uid'), uid);
    await upgrade();
    assert.equal(await path('pushcluster/live', '.metadata.uid'), uid);
  });

  it('takes them along where it is told to', async () => {
    await upgrade('--set', 'crds.keep=false');
    await uninstall();
    await until('the CRD is gone', async () => !(await exists(CRD)));
  });
});

async function rendered(
  helm: Helm,
  given: { images?: object; [value: string]: unknown } = {},
  release: { name?: string; namespace?: string; args?: string[] } = {},
): Promise<KubeObject[]> {
  const { name = 'pushcluster', namespace = NAMESPACE, args = [] } = release;
  const values = { ...given, images: { registry: REGISTRY, ...given.images } };
  const text = await helm(['template', name, CHART, '-n', namespace, '-f', '-', ...args], JSON.stringify(values));
  return parseAllDocuments(text)
    .map((document): unknown => document.toJS())
    .filter((object) => object !== null)
    .map((object) => KubeObject.parse(object));
}

function ofKind(objects: readonly KubeObject[], kind: string): KubeObject[] {
  return objects.filter((object) => object.kind === kind);
}
