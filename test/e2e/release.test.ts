import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Cluster, startCluster } from '../harness/cluster/cluster.ts';
import { clusterName } from '../harness/cluster/clusterName.ts';
import { helmWith } from '../harness/cluster/helm.ts';
import { clusterPackages } from '../harness/cluster/images.ts';
import { apply } from '../harness/cluster/kubectl.ts';
import { RELEASE, restrictedNamespace } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { UnpackedImage } from '../harness/unpackedImage.ts';
import { until } from '../harness/until.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const NAMES = ['operator', 'gateway', 'logic', 'node-tuning'];
/** The registry that no image is pulled from, and whose name images have in a release that knows none. */
const REGISTRY = 'localhost';
/** e_machine in elf.h: EM_X86_64 and EM_AARCH64. */
const MACHINES: Record<string, number> = { amd64: 62, arm64: 183 };
/** What an attacker would look for, and a policy that scans images. */
const UNWANTED = /\/(sh|bash|dash|busybox|apt|apt-get|dpkg|npm|npx|corepack|yarn|npm-cli\.js)$/;

const READER = `
import { PushClient } from '@pushcluster/client';
const [gateway, logic, key] = process.argv.slice(2);
const room = new PushClient('ws://' + gateway + ':7777/connect').join('demo');
const pushing = setInterval(() => {
  const headers = { authorization: 'Bearer ' + key, 'content-type': 'application/json' };
  const body = JSON.stringify({ to: { room: 'demo' }, items: ['hello'] });
  fetch('http://' + logic + ':7799/v1/push', { method: 'POST', headers, body }).catch(() => {});
}, 200);
for await (const item of room) { console.log(item); process.exit(); }
`;

const options = {
  skip: process.env.KUBECONFIG ? 'KUBECONFIG names a cluster that images cannot be loaded onto' : false,
};

/** A release, made as its publisher makes it, and used by somebody who has nothing else. */
describe('a release with its images', options, () => {
  let work: string;
  let dist: string;
  let version: string;
  let cluster: Cluster | undefined;
  const image = (name: string) => `${REGISTRY}/pushcluster/${name}:${version}`;
  const make = (folder: string) =>
    run(process.execPath, ['scripts/release.ts', version, folder], {
      cwd: ROOT,
      env: { ...process.env, REGISTRY: '' },
    });

  before(async () => {
    await clusterPackages();
    work = await mkdtemp(join(tmpdir(), 'pushcluster-release-'));
    dist = join(work, 'dist');
    ({ version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')));
    await make(dist);
  });
  after(async () => {
    await cluster?.stop();
    await rm(work, { recursive: true, force: true });
  });

  it('has the same images each time, which its sums include', async () => {
    const again = join(work, 'again');
    const names = ['gateway', 'node-tuning'];
    await run(join(ROOT, 'scripts/images.sh'), ['--layout', again, ...names], { cwd: ROOT });
    const digests = async (layout: string) => {
      const { manifests }: { manifests: { digest: string; annotations: Record<string, string> }[] } = JSON.parse(
        await readFile(join(layout, 'index.json'), 'utf8'),
      );
      const named = manifests.map(({ digest, annotations }) => [
        annotations['org.opencontainers.image.ref.name'],
        digest,
      ]);
      return Object.fromEntries(named.filter(([name]) => names.map(image).includes(name!)));
    };
    const first = await digests(join(dist, 'images'));
    assert.equal(Object.keys(first).length, names.length);
    assert.deepEqual(await digests(again), first);
    assert.match(await readFile(join(dist, 'SHA256SUMS'), 'utf8'), / {2}images\/index\.json\n/);
    await run('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: dist });
    await rm(again, { recursive: true });
  });

  for (const architecture of Object.keys(MACHINES))
    it(`has images for ${architecture} with all that they need, and neither a shell nor a package manager`, async (t) => {
      for (const name of NAMES) {
        const unpacked = await UnpackedImage.ofLayout(join(dist, 'images'), image(name), architecture);
        try {
          assert.equal(unpacked.config.architecture, architecture);
          assert.equal(unpacked.config.config.Labels['org.opencontainers.image.version'], version);
          const files = await unpacked.files();
          assert.ok(files.includes('/usr/local/bin/node'), name);
          assert.deepEqual(
            files.filter((file) => UNWANTED.test(file)),
            [],
          );
          assert.deepEqual(await unpacked.missingLibraries(), []);
          const machines = new Set((await unpacked.machines()).values());
          assert.deepEqual([...machines], [MACHINES[architecture]]);
          const { stdout } = await run('du', ['-sm', '--apparent-size', unpacked.root]);
          const compressed = Math.round(unpacked.compressedBytes / 1e6);
          t.diagnostic(`${name}: ${Number.parseInt(stdout, 10)} MB, compressed ${compressed} MB`);
        } finally {
          await unpacked.remove();
        }
      }
    });

  it('installs on a cluster, and a client of its npm package receives a push', async () => {
    cluster = await startCluster({ name: clusterName('release') });
    const { kubectl, nodes, outside } = cluster;
    const archive = join(work, 'images.tar');
    await run('tar', ['-C', join(dist, 'images'), '-cf', archive, '.']);
    // NATS is not ours: its image comes from elsewhere, under the name that it has in the same registry.
    await cluster.load(['nats']);
    for (const node of nodes) {
      await node.load([archive]);
      const names = (await node.ctr('images', 'list', '-q')).split('\n');
      const nats = names.find((name) => name.startsWith('docker.io/library/nats:')) ?? '';
      await node.ctr('images', 'tag', nats, nats.replace('docker.io', REGISTRY));
    }
    const helm = helmWith((await kubeTools('cluster'))('helm'), cluster.kubeconfig);
    const chart = join(dist, `pushcluster-${version}.tgz`);
    await apply(kubectl, [restrictedNamespace(RELEASE.namespace), restrictedNamespace('demo')]);
    const target = ['-n', RELEASE.namespace, '--set', `images.registry=${REGISTRY}`, '--wait', '--timeout=5m'];
    await helm(['install', RELEASE.name, chart, ...target]);
    const demo = (...args: string[]) => kubectl(['-n', 'demo', ...args]);
    await apply(kubectl, [
      { apiVersion: 'pushcluster.dev/v1alpha1', kind: 'PushCluster', metadata: { name: 'live', namespace: 'demo' } },
    ]);
    await demo('wait', 'push/live', '--for=condition=Ready', '--timeout=300s');
    const pods = await demo('get', 'pods', '-o', 'jsonpath={.items[*].spec.containers[*].image}');
    assert.deepEqual(
      new Set(pods.split(' ').filter((name) => !name.includes('/nats:'))),
      new Set([image('gateway'), image('logic')]),
    );

    const project = join(work, 'project');
    await mkdir(project);
    await writeFile(join(project, 'package.json'), '{"name":"empty","private":true,"type":"module"}');
    await run(
      'npm',
      ['install', '--offline', '--no-audit', '--no-fund', join(dist, `pushcluster-client-${version}.tgz`)],
      {
        cwd: project,
      },
    );
    await writeFile(join(project, 'reader.js'), READER);
    const address = (role: string) => demo('get', 'service', `live-${role}`, '-o', 'jsonpath={.spec.clusterIP}');
    const key = Buffer.from(await demo('get', 'secret', 'live-api-key', '-o', 'jsonpath={.data.key}'), 'base64');
    const addresses = [await address('gateway'), await address('logic')];
    const heard = await outside.run(process.execPath, join(project, 'reader.js'), ...addresses, key.toString());
    assert.equal(heard, 'hello\n');
    await until('nothing has restarted', async () => {
      const restarts = await demo('get', 'pods', '-o', 'jsonpath={.items[*].status.containerStatuses[*].restartCount}');
      return restarts.split(' ').every((count) => count === '0');
    });
  });
});
