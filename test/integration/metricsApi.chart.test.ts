import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { BYTES_METRIC, CONNECTIONS_METRIC } from '@pushcluster/operator/metricsApi/api.ts';
import { parse } from 'yaml';
import { z } from 'zod';
import { type ControlPlane, startControlPlane } from '../harness/cluster/controlPlane.ts';
import { type Helm, helmWith } from '../harness/cluster/helm.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { metricsApiRegistration } from '../harness/cluster/metricsApi.ts';
import { CHART, REGISTRY, restrictedNamespace } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { until } from '../harness/until.ts';

const OPERATOR = new URL('../../operator/main.ts', import.meta.url).pathname;
const NAMESPACE = 'push-system';
const ACCOUNT = `system:serviceaccount:${NAMESPACE}:pushcluster-operator`;
const API_SERVICE = 'apiservice/v1beta2.custom.metrics.k8s.io';
const AdapterRules = z.object({
  rules: z.array(z.object({ seriesQuery: z.string(), name: z.object({ as: z.string() }), metricsQuery: z.string() })),
});

describe("the chart's metrics API", () => {
  let plane: ControlPlane;
  let helm: Helm;
  let operator: ChildProcess | undefined;
  let output = '';
  before(async () => {
    plane = await startControlPlane();
    helm = helmWith((await kubeTools('control-plane'))('helm'), plane.kubeconfig);
    await apply(plane.kubectl, [restrictedNamespace(NAMESPACE)]);
  });
  after(async () => {
    operator?.kill('SIGKILL');
    await plane?.stop();
  });

  const release = ['upgrade', '--install', 'pushcluster', CHART, '-n', NAMESPACE, '--reset-values'];
  const upgrade = (...args: string[]) => helm([...release, '--set', `images.registry=${REGISTRY}`, ...args]);
  const bundle = () => plane.kubectl(['get', API_SERVICE, '-o=jsonpath={.spec.caBundle}']);
  const exists = (...what: string[]) =>
    plane.kubectl(['get', '-n', NAMESPACE, ...what]).then(
      () => true,
      () => false,
    );

  it('is not there unless it is turned on', async () => {
    await upgrade();
    assert.equal(await exists(API_SERVICE), false);
    assert.equal(await exists('secret', 'pushcluster-metrics-api'), false);
  });

  it('is refused beside another adapter, and not once that is gone', async () => {
    const others = metricsApiRegistration(1, {
      name: 'prometheus-adapter',
      version: 'v1beta1',
      trust: { insecureSkipTLSVerify: true },
    });
    await apply(plane.kubectl, others);
    await assert.rejects(
      upgrade('--set', 'metricsApi.enabled=true'),
      /another adapter serves custom\.metrics\.k8s\.io already \(APIService v1beta1\.custom\.metrics\.k8s\.io, Service default\/prometheus-adapter\)/,
    );
    await upgrade('--set', 'metricsApi.prometheusAdapterRules=true');
    await plane.kubectl(['delete', 'apiservice/v1beta1.custom.metrics.k8s.io', 'service/prometheus-adapter']);
    await upgrade('--set', 'metricsApi.enabled=true');
    // Its own is not another one.
    await upgrade('--set', 'metricsApi.enabled=true,operator.logLevel=debug');
    await upgrade('--set', 'metricsApi.prometheusAdapterRules=true');
  });

  it('gives the operator the rights to make its authority known, which later upgrades leave alone', async () => {
    await upgrade('--set', 'metricsApi.enabled=true');
    const subject = `/O=system:serviceaccounts/O=system:serviceaccounts:${NAMESPACE}/CN=${ACCOUNT}`;
    const env = {
      PATH: process.env.PATH,
      KUBECONFIG: await plane.kubeconfigFor(subject, plane.url, NAMESPACE),
      ...{ ADMIN_HOST: '127.0.0.1', ADMIN_PORT: '0', METRICS_API_HOST: '127.0.0.1', METRICS_API_PORT: '0' },
      ...{
        GATEWAY_IMAGE: 'gateway:1',
        LOGIC_IMAGE: 'logic:1',
        NATS_IMAGE: 'nats:1',
        NATS_EXPORTER_IMAGE: 'exporter:1',
      },
    };
    operator = spawn(process.execPath, [OPERATOR], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [operator.stdout, operator.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    await until('the API server knows its authority', async () => (await bundle()) !== '').catch((error: Error) => {
      throw new Error(`${error.message}: ${output}`);
    });
    assert.doesNotMatch(output, /forbidden/i);
    const before = await bundle();
    const secret = () =>
      plane.kubectl(['get', 'secret/pushcluster-metrics-api', '-n', NAMESPACE, '-o=jsonpath={.data}']);
    const kept = await secret();
    await upgrade('--set', 'metricsApi.enabled=true,operator.logLevel=debug');
    assert.equal(await bundle(), before);
    assert.equal(await secret(), kept);
  });

  it('has rules for prometheus-adapter that make the metrics which HPAs ask for', async () => {
    await upgrade('--set', 'metricsApi.prometheusAdapterRules=true');
    const name = 'configmap/pushcluster-prometheus-adapter-rules';
    const text = await plane.kubectl(['get', name, '-n', NAMESPACE, '-o=jsonpath={.data.config\\.yaml}']);
    const { rules } = AdapterRules.parse(parse(text));
    assert.deepEqual(
      rules.map((rule) => rule.name.as),
      [CONNECTIONS_METRIC, BYTES_METRIC],
    );
    assert.equal(await exists(API_SERVICE), false, 'it was turned off');
    const isSecret = () => exists('secret', 'pushcluster-metrics-api');
    await until('its Secret is gone, though the operator of before still runs', async () => !(await isSecret()));
  });

  it('leaves no APIService behind when the chart is removed', async () => {
    await upgrade('--set', 'metricsApi.enabled=true');
    assert.equal(await exists(API_SERVICE), true);
    await until('the operator has filled it in', async () => (await bundle()) !== '').catch((error: Error) => {
      throw new Error(`${error.message}: ${output}`);
    });
    operator?.kill('SIGTERM');
    await helm(['uninstall', 'pushcluster', '-n', NAMESPACE, '--wait']);
    const left = await plane.kubectl(['get', 'apiservices', '-o=name']);
    assert.doesNotMatch(left, /metrics/);
    const kinds = 'secrets,services,configmaps,roles,rolebindings';
    await until(
      'nothing of it is left',
      async () => !/metrics-api|prometheus-adapter/.test(await plane.kubectl(['get', kinds, '-A', '-o=name'])),
    );
    assert.doesNotMatch(await plane.kubectl(['get', 'clusterroles,clusterrolebindings', '-o=name']), /metrics-api/);
  });
});
