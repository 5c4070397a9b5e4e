import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { operatorOptions } from './options.ts';
import { POD_DEFAULTS } from './pushcluster/desired/pods.ts';

const IMAGES = {
  GATEWAY_IMAGE: 'gateway:1',
  LOGIC_IMAGE: 'logic:1',
  NATS_IMAGE: 'nats:1',
  NATS_EXPORTER_IMAGE: 'exporter:1',
};

const MAIN = [new URL('main.ts', import.meta.url).pathname];
/** Only reads its options: the operator itself takes far longer to load. */
const READER = [
  '--input-type=module',
  '-e',
  `import { operatorOptions } from '${import.meta.dirname}/options.ts'; operatorOptions(process.argv.slice(1), process.env);`,
  '--',
];

function run(args: readonly string[], environment: Record<string, string> = {}, program = READER) {
  const env = { PATH: process.env.PATH ?? '', ...environment };
  const { status, stdout, stderr } = spawnSync(process.execPath, [...program, ...args], { env, encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe("the operator's options", () => {
  it('come from the environment, and from the command line before it', () => {
    const environment = { ...IMAGES, ADMIN_PORT: '9', RUNBOOK_URL: '', WATCH_NAMESPACES: 'a, b,a', LOG_LEVEL: 'warn' };
    assert.deepEqual(operatorOptions(['--admin-port', '10', '--logic-image', 'logic:2'], environment), {
      namespaces: ['a', 'b'],
      leaseName: 'pushcluster-operator',
      leaseNamespace: undefined,
      admin: { host: '::', port: 10 },
      maxConcurrentRollouts: 10,
      podPort: 9_090,
      metricsApi: undefined,
      logLevel: 'warn',
      images: { gateway: 'gateway:1', logic: 'logic:2', nats: 'nats:1', natsExporter: 'exporter:1' },
      podDefaults: POD_DEFAULTS,
      runbook: undefined,
    });
  });

  it('serve the metrics API only where it has a port', () => {
    const { metricsApi } = operatorOptions(['--metrics-api-port=10250'], IMAGES);
    assert.deepEqual(metricsApi, { host: '::', port: 10_250 });
  });

  it('say what the pods of all PushClusters have', () => {
    const environment = { ...IMAGES, POD_PULL_SECRETS: 'mirror,other', POD_SECURITY_CONTEXT: '{"runAsUser":1000}' };
    assert.deepEqual(operatorOptions([], environment).podDefaults, {
      securityContext: { runAsUser: 1_000 },
      imagePullSecrets: [{ name: 'mirror' }, { name: 'other' }],
    });
    assert.deepEqual(operatorOptions(['--pod-security-context={}'], IMAGES).podDefaults.securityContext, {});
  });

  it('are told of by --help', () => {
    const { status, stdout } = run(['--help']);
    assert.equal(status, 0);
    assert.match(stdout, /^usage: operator/);
  });

  it('are refused with a sentence where they are wrong', () => {
    const missing = run([], {
      ...IMAGES,
      NATS_IMAGE: '',
      POD_SECURITY_CONTEXT: '{"runAsUser":0,"runAsUsr":1}',
      RUNBOOK_URL: 'runbook.md',
    });
    assert.equal(missing.status, 2, missing.stderr);
    assert.match(missing.stderr, /^operator: --nats-image \(or NATS_IMAGE\): is required/);
    assert.match(missing.stderr, /--pod-security-context\.runAsUser \(or POD_SECURITY_CONTEXT\): .*; .*runAsUsr/);
    assert.match(missing.stderr, /--runbook \(or RUNBOOK_URL\)/);
    assert.match(run(['--port', '1'], IMAGES).stderr, /Unknown option '--port'/);
    const outOfRange = run(['--admin-port', '70000', '--pod-security-context', 'restricted'], IMAGES);
    assert.equal(outOfRange.status, 2, outOfRange.stderr);
    assert.match(outOfRange.stderr, /--pod-security-context .*: must be JSON/);
  });

  it('are of no use without an API server to talk to', () => {
    const { status, stderr } = run([], IMAGES, MAIN);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /^operator: no Kubernetes cluster found: run in a pod .* or set KUBECONFIG/);
  });
});
