import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { Baseline } from '../harness/baseline.ts';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { type Helm, helmWith } from '../harness/cluster/helm.ts';
import { apply, established } from '../harness/cluster/kubectl.ts';
import { OperatorProcess } from '../harness/cluster/operatorProcess.ts';
import { CHART, REGISTRY, restrictedNamespace } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { freePorts } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const NAMESPACE = 'push-system';
/** Whose name lacks `pushcluster`. */
const RELEASE = 'shop';
const OPERATOR = `${RELEASE}-pushcluster-operator`;
const FORMER_LEASE = 'pushcluster-operator';
/** Everything that makes objects. */
const VALUES = JSON.stringify({
  images: { registry: REGISTRY },
  nodeTuning: { enabled: true },
  metricsApi: { enabled: true },
  monitoring: { rules: { configMap: true } },
});
const MONITORING = ['ServiceMonitor', 'PrometheusRule'].flatMap((kind) => [
  '--api-versions',
  `monitoring.coreos.com/v1/${kind}`,
]);

const Made = z.object({
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
  roleRef: z.unknown().optional(),
  subjects: z.unknown().optional(),
  rules: z.array(z.record(z.string(), z.array(z.string()))).exactOptional(),
  spec: z.looseObject({ selector: z.unknown().optional() }).exactOptional(),
});
type Made = z.infer<typeof Made>;

/** What an upgrade of the chart changes that is there, and that processes of the earlier version use meanwhile. */
describe('an upgrade from the baseline', () => {
  let baseline: Baseline;
  let plane: ControlPlane;
  let helm: Helm;
  const operators: OperatorProcess[] = [];

  before(async () => {
    baseline = new Baseline();
    plane = await startControlPlane();
    helm = helmWith((await kubeTools('control-plane'))('helm'), plane.kubeconfig);
  });
  after(async () => {
    await Promise.all(operators.map((each) => each.end('SIGKILL')));
    await plane?.stop();
    baseline?.remove();
  });

  const formerChart = () => join(baseline.app, 'charts/pushcluster');

  async function rendered(chart: string, release: string): Promise<Map<string, Made>> {
    const text = await helm(['template', release, chart, '-n', NAMESPACE, '-f', '-', ...MONITORING], VALUES);
    const objects = parseAllDocuments(text)
      .map((document): unknown => document.toJS())
      .filter((object) => object !== null)
      .map((object) => Made.parse(object));
    const idOf = ({ kind, metadata }: Made) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`;
    return new Map(objects.map((object) => [idOf(object), object]));
  }

  for (const release of ['pushcluster', RELEASE, 'push-eu', 'my-pushcluster'])
    it(`changes nothing of release ${release} that Kubernetes refuses to change, and renames no object beside the operator`, async () => {
      const before = await rendered(formerChart(), release);
      const now = await rendered(CHART, release);
      for (const [id, old] of before) {
        const made = now.get(id);
        if (!made) {
          // Pods of the earlier version find these objects only by their bindings, which helm deletes last.
          assert.match(
            id,
            /^(Cluster)?Role(Binding)? |^ValidatingAdmissionPolicy(Binding)? /,
            `${id} has another name`,
          );
          assert.notEqual(old.metadata.namespace, NAMESPACE, `${id} has another name`);
          const renamed = now.get(id.replace('/', `/${NAMESPACE}-`));
          assert.deepEqual(renamed?.subjects, old.subjects, `${id} is bound to others`);
          continue;
        }
        assert.deepEqual(made.roleRef, old.roleRef, `roleRef of ${id}`);
        if (/^(Deployment|DaemonSet) /.test(id)) assert.deepEqual(made.spec?.selector, old.spec?.selector, id);
      }
    });

  it('lets pods of the earlier version keep their lease, by its name of then', async () => {
    for (const release of ['pushcluster', RELEASE]) {
      const id = [...(await rendered(formerChart(), release)).keys()].find((each) => each.endsWith('-leader')) ?? '';
      const { rules = [] } = (await rendered(CHART, release)).get(id) ?? assert.fail(`there is no ${id}`);
      const may = rules.filter(({ resourceNames }) => resourceNames?.includes(FORMER_LEASE));
      assert.deepEqual(
        may.map(({ verbs }) => verbs),
        [['get', 'update']],
      );
    }
  });

  it('has one leader at a time, with the rights that both charts give: the new one waits for the end of the former', async () => {
    await apply(plane.kubectl, [restrictedNamespace(NAMESPACE)]);
    const upgrade = (chart: string) =>
      helm(['upgrade', '--install', RELEASE, chart, '-n', NAMESPACE, '-f', '-'], '{"images":{"registry":"docker.io"}}');
    await upgrade(formerChart());
    await established(plane.kubectl, 'pushclusters.pushcluster.dev');
    const user = `system:serviceaccount:${NAMESPACE}:${OPERATOR}`;
    const operator = async (more: { env?: Record<string, string>; program?: string }) => {
      const [adminPort = 0] = await freePorts(1);
      const env = { ...more.env, LEASE_NAMESPACE: NAMESPACE };
      const made = new OperatorProcess(plane, { ...more, adminPort, user, env });
      operators.push(made);
      return made;
    };
    const former = await operator({ program: join(baseline.app, 'operator/main.ts') });
    await former.start();
    await upgrade(CHART);
    const env = { LEASE_NAME: OPERATOR };
    const today = await operator({ env });
    await today.launch();
    const looks = async (name: string) =>
      (await plane.audit.events()).filter((each) => each.name === name && each.verb === 'get' && each.code < 500)
        .length;
    const before = await looks(OPERATOR);
    await until('the new one has looked for its lease some times', async () => (await looks(OPERATOR)) >= before + 4);
    assert.deepEqual([former.leads, former.isRunning, today.leads], [true, true, false]);
    // It still works.
    const metadata = { name: 'live', namespace: NAMESPACE };
    await apply(plane.kubectl, [{ apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster', metadata }]);
    await until('the former reconciles', () =>
      plane.kubectl(['get', 'deployment', 'live-gateway', '-n', NAMESPACE]).then(
        () => true,
        () => false,
      ),
    );
    assert.equal(await former.end(), 0);
    await until('the new one leads', () => today.leads);
    assert.doesNotMatch(today.output, /leases.*forbidden/);
    const holder = (lease: string) =>
      plane.kubectl(['get', 'lease', lease, '-n', NAMESPACE, '-o=jsonpath={.spec.holderIdentity}']);
    assert.deepEqual([await holder(FORMER_LEASE), (await holder(OPERATOR)) === ''], ['', false]);
    assert.equal(await today.end(), 0);
  });
});
