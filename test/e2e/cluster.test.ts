import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { API_VERSION, KIND } from '@pushcluster/operator/api/pushCluster.ts';
import { cgroupsOf } from '../harness/cluster/cgroups.ts';
import { type Cluster, folderOf, startCluster, stopCluster } from '../harness/cluster/cluster.ts';
import { clusterName } from '../harness/cluster/clusterName.ts';
import { helmWith } from '../harness/cluster/helm.ts';
import { hostPids } from '../harness/cluster/host.ts';
import { clusterPackages } from '../harness/cluster/images.ts';
import { apply, established } from '../harness/cluster/kubectl.ts';
import { commandsIn, paste } from '../harness/cluster/pasted.ts';
import { CHART, IMAGES, REGISTRY, RELEASE, restrictedNamespace } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const OLD_CHART = new URL('../fixtures/charts/pushcluster-0.0.9', import.meta.url).pathname;
const GATEWAY = 'docker.io/pushcluster/gateway:0.1.0';
const OWN = clusterName('own');
const CRASH = clusterName('crash');
const STAYS = clusterName('stays');
const MINUTES_MS = 300_000;
/** The level `restricted` of Kubernetes' Pod Security Standards. */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
};

// On somebody else's there is nothing of it to test. At the same time: much of each one's time is waiting for the other parts of it.
const options = { skip: process.env.KUBECONFIG ? 'KUBECONFIG names another one' : false, concurrency: true };
describe('clusters that we make', options, () => {
  describe('a cluster of our own', { concurrency: false }, () => {
    let cluster: Cluster;
    before(async () => {
      await clusterPackages();
      cluster = await startCluster({ name: OWN });
      await cluster.load(IMAGES);
      await cluster.kubectl(['create', 'namespace', 'pushes']);
      await cluster.kubectl(['label', 'namespace', 'pushes', 'pod-security.kubernetes.io/enforce=restricted']);
      await until('the namespace has its service account', () =>
        cluster.kubectl(['-n', 'pushes', 'get', 'serviceaccount', 'default']).then(
          () => true,
          () => false,
        ),
      );
    });
    after(() => cluster.stop());

    const pushes = (...args: string[]) => cluster.kubectl(['-n', 'pushes', ...args]);

    it('has two nodes that are Ready', async () => {
      const ready = await cluster.kubectl([
        'get',
        'nodes',
        '-o',
        'jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}',
      ]);
      assert.equal(ready.trim(), 'node1=True node2=True');
    });

    it('lets pods on both nodes reach each other by name, and by Service', async () => {
      await apply(cluster.kubectl, [...echo('one', 'node1'), ...echo('two', 'node2')]);
      await pushes('wait', 'pods', 'one', 'two', '--for=condition=Ready', '--timeout=180s');
      for (const [from, name, to] of [
        ['one', 'two', 'two'],
        ['two', 'one', 'one'],
        ['two', 'one.pushes.svc.cluster.local', 'one'],
        // To itself, by way of its Service: its own short name would be an entry of its own file.
        ['one', 'one.pushes.svc.cluster.local', 'one'],
      ] as const) {
        let answer = '';
        // A node learns of a new endpoint a moment after the API server does.
        await until(`${from} reaches ${name}`, async () => {
          answer = await pushes('exec', from, '--', 'node', '-e', ask(name)).catch(String);
          return answer === to;
        }).catch((error: Error) => assert.fail(`${error.message}: ${answer}`));
      }
    });

    it('lets clients outside of its nodes reach Services and pods', async () => {
      const service = await pushes('get', 'service', 'two', '-o', 'jsonpath={.spec.clusterIP}');
      const pod = await pushes('get', 'pod', 'two', '-o', 'jsonpath={.status.podIP}');
      for (const address of [service, `${pod}:8080`])
        assert.equal(await cluster.outside.run(process.execPath, '-e', ask(address, PATIENCE_MS)), 'two');
    });

    it('balances connections from outside over the nodes that have a pod for them', async () => {
      await apply(cluster.kubectl, [
        {
          apiVersion: 'v1',
          kind: 'Service',
          metadata: { name: 'echo', namespace: 'pushes' },
          spec: {
            type: 'LoadBalancer',
            externalTrafficPolicy: 'Local',
            selector: { role: 'echo' },
            ports: [{ port: 80, targetPort: 8080 }],
          },
        },
      ]);
      let address = '';
      await until('it has an address', async () => {
        address = await pushes('get', 'service', 'echo', '-o', 'jsonpath={.status.loadBalancer.ingress[0].ip}');
        return address !== '';
      });
      const answers = async () => {
        const each = () => cluster.outside.run(process.execPath, '-e', ask(address, 5_000)).catch(() => 'none');
        return [...new Set(await Promise.all(Array.from({ length: 4 }, each)))].sort();
      };
      await until('both answer', async () => (await answers()).join() === 'one,two');
      await pushes('label', 'pod', 'one', 'role-');
      await until('only the other answers', async () => (await answers()).join() === 'two');
      await pushes('label', 'pod', 'one', 'role=echo');
    });

    it('knows what its pods use', async () => {
      let figures = '';
      await until(
        'there are figures',
        async () => {
          figures = await cluster.kubectl(['top', 'pods', '-n', 'kube-system', '--no-headers']).catch(String);
          return /^coredns-\S+ +\d+m +\d+Mi/m.test(figures);
        },
        MINUTES_MS,
      ).catch((error: Error) => assert.fail(`${error.message}: ${figures}`));
    });

    // Each mostly waits, and neither has to do with the other.
    describe('with what runs on it', { concurrency: true }, () => {
      it('has the PushClusters of an older chart Ready, as they were stored, once that is upgraded', async () => {
        const helm = helmWith((await kubeTools('cluster'))('helm'), cluster.kubeconfig);
        await apply(cluster.kubectl, [restrictedNamespace(RELEASE.namespace)]);
        // Its CRD knows less. Its operator never runs: there is no image of it.
        await helm(['install', RELEASE.name, OLD_CHART, '-n', RELEASE.namespace]);
        await established(cluster.kubectl, 'pushclusters.pushcluster.dev');
        const metadata = { name: 'live', namespace: 'pushes', labels: { team: 'a' } };
        const spec = { gateway: { replicas: 3 } };
        await apply(cluster.kubectl, [{ apiVersion: API_VERSION, kind: KIND, metadata, spec }]);
        const before = await pushes('get', 'pushcluster', 'live', '-o', 'jsonpath={.metadata.uid} {.spec}');
        assert.match(before, /^\S+ \{"gateway":\{"replicas":3\}\}$/);
        // As the chart's README says. The older one knew its registry itself.
        const registry = ['--set', `images.registry=${REGISTRY}`];
        const upgrade = [
          'upgrade',
          RELEASE.name,
          CHART,
          '-n',
          RELEASE.namespace,
          '--reset-then-reuse-values',
          '--wait',
        ];
        await helm([...upgrade, ...registry]);
        await pushes('wait', 'push/live', '--for=condition=Ready', '--timeout=300s');
        const fields = [
          'metadata.uid',
          'metadata.labels.team',
          'spec.gateway.replicas',
          'status.gateway.readyReplicas',
        ];
        const path = fields.map((field) => `{.${field}}`).join(' ');
        assert.equal(await pushes('get', 'push', 'live', '-o', `jsonpath=${path}`), `${before.split(' ')[0]} a 3 3`);
        const images = async (namespace: string, label: string) => {
          const each = 'jsonpath={.items[*].spec.containers[*].image}';
          const said = await cluster.kubectl(['-n', namespace, 'get', 'pods', '-l', label, '-o', each]);
          return said.split(' ').sort();
        };
        const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
        const ours = (name: string) => `docker.io/pushcluster/${name}:${version}`;
        assert.deepEqual(
          (await images('pushes', 'pushcluster.dev/cluster=live')).filter((image) => !image.includes('/nats:')),
          [ours('gateway'), ours('gateway'), ours('gateway'), ours('logic'), ours('logic')],
        );
        await until('the older operator is gone', async () => {
          const operators = await images(RELEASE.namespace, `app.kubernetes.io/name=${RELEASE.operator}`);
          return operators.join() === [ours('operator'), ours('operator')].join();
        });
      });

      it("runs the gateway's image as nobody, on a file system that can't be written, and ends it well", async () => {
        await apply(cluster.kubectl, [
          pod('gateway', {
            containers: [
              {
                name: 'gateway',
                image: GATEWAY,
                readinessProbe: { httpGet: { path: '/readyz', port: 9090 }, periodSeconds: 1 },
                securityContext: RESTRICTED,
              },
            ],
          }),
        ]);
        await pushes('wait', 'pod', 'gateway', '--for=condition=Ready', '--timeout=180s');
        const evaluated = (script: string) => pushes('exec', 'gateway', '--', 'node', '-p', script);
        assert.equal(await evaluated('process.getuid()'), '65532\n');
        await assert.rejects(evaluated('fs.writeFileSync("/app/x", "")'), /EROFS: read-only file system/);
        for (const program of ['sh', 'bash', 'apt-get', 'npm'])
          await assert.rejects(pushes('exec', 'gateway', '--', program), /executable file not found/);
        const address = await pushes('get', 'pod', 'gateway', '-o', 'jsonpath={.status.podIP}');
        const open = `new WebSocket('ws://${address}:7777/connect').onopen = () => { console.log('open'); process.exit(); }`;
        assert.equal(await cluster.outside.run(process.execPath, '-e', open), 'open\n');
        // Everything in it is the gateway's, so the processes that it leaves behind would be seen.
        await pushes('exec', 'gateway', '--', 'node', '-e', 'process.kill(1, "SIGTERM")');
        await pushes('wait', 'pod', 'gateway', '--for=jsonpath={.status.phase}=Succeeded', '--timeout=180s');
        const state = '{.status.containerStatuses[0].state.terminated.exitCode}';
        assert.equal(await pushes('get', 'pod', 'gateway', '-o', `jsonpath=${state}`), '0');
      });
    });

    it('goes on when its API server is killed and comes back', async () => {
      await cluster.controlPlane.apiServer.kill();
      await cluster.controlPlane.apiServer.start();
      let answer = '';
      // Kubelets connect to it again before they let anybody into a pod.
      await until('one reaches two', async () => {
        answer = await pushes('exec', 'one', '--', 'node', '-e', ask('two')).catch(String);
        return answer === 'two';
      }).catch((error: Error) => assert.fail(`${error.message}: ${answer}`));
    });

    it('leaves nothing when it is stopped', async () => {
      await cluster.stop();
      await assertGone(OWN);
    });
  });

  describe('a cluster whose test was killed', () => {
    it('ends by itself, and its files are gone with the next one', async () => {
      const text = `import { startCluster } from ${JSON.stringify(new URL('../harness/cluster/cluster.ts', import.meta.url).href)};
        await startCluster({ name: '${CRASH}', nodes: 1 }); console.log('up'); setInterval(() => {}, 1000);`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', text], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const up = new Promise<void>((resolve, reject) => {
        child.stdout.once('data', () => resolve());
        child.once('exit', () => reject(new Error('it ended before it was up')));
      });
      await up;
      assert.ok(hostPids(CRASH).size > 0);
      child.kill('SIGKILL');
      await until('its processes are gone', () => processesOf(CRASH).length === 0);
      await stopCluster(CRASH);
      await assertGone(CRASH);
    });
  });

  describe('make cluster', () => {
    it('leaves a cluster on which docs/tutorials/kubernetes.md works as pasted, and make cluster-down ends it', async (t) => {
      after(() => stopCluster(STAYS));
      const said = await run('make', ['cluster', `CLUSTER=${STAYS}`]);
      assert.match(said, /^default +live +True +Ready +2\/2 /m);
      // As shells that are pasted to: jobs and variables of one block are there in the next, and no job stays behind.
      const shell = "set -eo pipefail; set -m; trap 'jobs -p | xargs -r kill' EXIT";
      const printed = said.match(/^ {2,}\S.*$/gm) ?? [];
      const exports = printed.filter((line) => line.includes('export '));
      assert.equal(exports.length, 3, said);
      const first = await paste([shell, ...printed].join('\n'), MINUTES_MS);
      assert.equal(first.code, 0, first.output);
      assert.match(first.output, /^live +True +Ready +2\/2 /m);
      assert.match(first.output, /\{"accepted":1\}/);
      const text = await readFile(new URL('../../docs/tutorials/kubernetes.md', import.meta.url), 'utf8');
      const blocks = commandsIn(text);
      assert.ok(blocks.length >= 7, 'the page has its commands');
      const { code, output } = await paste([shell, ...exports, ...blocks].join('\n'), 2 * MINUTES_MS);
      t.diagnostic(output);
      assert.equal(code, 0, output);
      assert.match(output, /"type":"OK"/);
      assert.match(output, /\{"accepted":1\}/);
      assert.match(output, /"items":\["hello"\]/);
      assert.match(output, /live +True +Ready +2\/2/);
      const [, ends = ''] = /`(make cluster-down .*)`/.exec(said) ?? [];
      const last = await paste(ends, MINUTES_MS);
      assert.equal(last.code, 0, last.output);
      await assertGone(STAYS);
    });
  });
});

/** A pod that answers with its name, on a node, and its Service. */
function echo(name: string, node: string): object[] {
  const server = `http.createServer((_, response) => response.end(${JSON.stringify(name)})).listen(8080); process.on('SIGTERM', () => process.exit())`;
  return [
    pod(
      name,
      {
        nodeName: node,
        containers: [
          {
            name: 'echo',
            image: GATEWAY,
            command: ['node', '-e', server],
            readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 },
            securityContext: RESTRICTED,
          },
        ],
      },
      { role: 'echo' },
    ),
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace: 'pushes' },
      spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }] },
    },
  ];
}

function pod(name: string, spec: object, labels: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'pushes', labels: { app: name, ...labels } },
    spec: { restartPolicy: 'Never', automountServiceAccountToken: false, ...spec },
  };
}

function ask(host: string, timeout = 10_000): string {
  return `fetch('http://${host}', { signal: AbortSignal.timeout(${timeout}) }).then((answer) => answer.text()).then((text) => process.stdout.write(text))`;
}

async function assertGone(name: string): Promise<void> {
  // Programs that entered a host end a moment after its processes.
  await until('its processes are gone', () => processesOf(name).length === 0).catch((error: Error) =>
    assert.fail(`${error.message}: ${processesOf(name).join('\n')}`),
  );
  assert.equal(readFileSync('/proc/self/mounts', 'utf8').includes(folderOf(name)), false);
  assert.deepEqual(cgroupsOf(name), []);
  assert.equal(existsSync(folderOf(name)), false);
}

/** Command lines of processes that have to do with a cluster. */
function processesOf(name: string): string[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return '';
      }
    })
    .filter((line) => line.includes(`${folderOf(name)}/`) || line.includes(`pushcluster-host:${name}:`));
}

function run(program: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve(said) : reject(new Error(`${program} ended with code ${code}`)),
    );
  });
}
