import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { helmWith } from '../harness/cluster/helm.ts';
import { REGISTRY } from '../harness/cluster/product.ts';
import { kubeTools } from '../harness/cluster/tools.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const { version }: { version: string } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
const REPOSITORY = 'https://git.example.com/pushcluster';
const CLIENT = `pushcluster-client-${version}.tgz`;
const CHART = `pushcluster-${version}.tgz`;
const READER = `
import { CloseCode, type Lagged, PushClient } from '@pushcluster/client';
const push = new PushClient(process.argv[2]!);
const room = push.join('demo');
room.on('lagged', (lagged: Lagged) => console.log(lagged.dropped, CloseCode.tooBig));
`;

/** A release, made into a folder of its own. Tests use nothing else of the sources. */
describe('a release', () => {
  const work = mkdtempSync(join(tmpdir(), 'pushcluster-release-'));
  const dist = join(work, 'dist');
  const project = join(work, 'project');
  const judges = join(ROOT, 'scripts/release/node_modules/.bin');
  const made = (folder: string, env: Record<string, string> = {}, given = version) =>
    run(process.execPath, ['scripts/release.ts', given, folder, '--without-images'], {
      cwd: ROOT,
      env: { ...process.env, ...env },
    });
  let standalone: Standalone | undefined;

  before(async () => {
    await run(join(ROOT, 'scripts/install.sh'), ['scripts/release']);
    await made(dist, { REPOSITORY });
    mkdirSync(project);
    writeFileSync(join(project, 'package.json'), '{"name":"empty","private":true,"type":"module"}');
    const quiet = ['--offline', '--no-audit', '--no-fund', '--loglevel=error'];
    await run('npm', ['install', ...quiet, join(dist, CLIENT)], { cwd: project });
  });
  after(async () => {
    await standalone?.stop();
    rmSync(work, { recursive: true });
  });

  it('has the same bytes each time, whose sums it states', async () => {
    const again = join(work, 'again');
    await made(again, { REPOSITORY });
    const sums = readFileSync(join(dist, 'SHA256SUMS'), 'utf8');
    assert.equal(readFileSync(join(again, 'SHA256SUMS'), 'utf8'), sums);
    await run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: dist });
    for (const file of [CLIENT, CHART, 'RELEASE_NOTES.md', 'sbom/gateway.cdx.json'])
      assert.ok(sums.includes(`  ${file}\n`), file);
  });

  it('is made of the version of the sources only', async () => {
    await assert.rejects(made(join(work, 'other'), {}, '9.9.9'), /package\.json says .*, not 9\.9\.9/);
  });

  it('lists the packages in each product', () => {
    const names = (product: string) =>
      JSON.parse(readFileSync(join(dist, 'sbom', `${product}.cdx.json`), 'utf8')).components.map(
        ({ purl }: { purl: string }) => purl,
      );
    assert.ok(names('gateway').some((purl: string) => purl.startsWith('pkg:npm/%40btc-vision/uwebsockets.js@')));
    assert.ok(names('operator').some((purl: string) => purl.startsWith('pkg:npm/%40kubernetes/client-node@')));
    assert.ok(!names('logic').some((purl: string) => /typescript|biome|btc-vision/.test(purl)));
  });

  it('has an npm package with types that every resolution finds, but for require before Node 22.12', async () => {
    await run(join(judges, 'publint'), ['run', '--strict', join(dist, CLIENT)]);
    await run(join(judges, 'attw'), ['--profile=esm-only', '--no-emoji', '--no-color', join(dist, CLIENT)]);
  });

  it('has an npm package that can be published, with what provenance needs', async () => {
    // npm asks which versions are there.
    const registry = createServer((_, answer) => answer.writeHead(404).end('{}')).listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const { port } = registry.address() as AddressInfo;
    const { stdout, stderr } = await run(
      'npm',
      ['publish', '--dry-run', '--json', `--registry=http://127.0.0.1:${port}`, join(dist, CLIENT)],
      { cwd: project },
    ).finally(() => registry.close());
    assert.doesNotMatch(stderr, /auto-corrected|errors? corrected|npm error/);
    assert.match(stdout, /README\.md/);
    const manifest = JSON.parse(readFileSync(join(project, 'node_modules/@pushcluster/client/package.json'), 'utf8'));
    assert.equal(manifest.repository.url, `git+${REPOSITORY}.git`);
    assert.equal(manifest.publishConfig.provenance, true);
    assert.deepEqual(manifest.dependencies, undefined);
  });

  it('has an npm package that TypeScript checks, as Node and as a bundler resolve it', async () => {
    writeFileSync(join(project, 'reader.ts'), `declare const process: { argv: string[] };${READER}`);
    const strict = [
      '--ignoreConfig',
      '--strict',
      '--noEmit',
      '--target',
      'es2022',
      '--types',
      '',
      '--lib',
      'es2024,esnext,dom',
    ];
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    for (const module of [
      ['--module', 'nodenext'],
      ['--module', 'esnext', '--moduleResolution', 'bundler'],
    ])
      await run(process.execPath, [tsc, ...strict, ...module, 'reader.ts'], { cwd: project });
  });

  it('has an npm package that a bundler bundles, and nothing but it', async () => {
    const { build } = await import('esbuild');
    writeFileSync(
      join(project, 'page.js'),
      "import { PushClient } from '@pushcluster/client';\nnew PushClient('ws://a/');\n",
    );
    const { outputFiles, metafile } = await build({
      entryPoints: [join(project, 'page.js')],
      bundle: true,
      format: 'esm',
      platform: 'browser',
      metafile: true,
      write: false,
      absWorkingDir: project,
    });
    assert.deepEqual(Object.keys(metafile.inputs).sort(), [
      'node_modules/@pushcluster/client/dist/pushcluster.js',
      'page.js',
    ]);
    assert.ok(outputFiles[0]!.text.includes('pushcluster.v1'));
  });

  it('has an npm package with which Node receives a push, by import and by require', async () => {
    standalone = await startStandalone();
    const { socket } = standalone;
    const read = (load: string) => `${load}
      const push = new PushClient(process.argv[2]);
      const room = push.join('demo');
      (async () => { for await (const item of room) { console.log(item); process.exit(); } })();`;
    writeFileSync(join(project, 'reader.js'), read("import { PushClient } from '@pushcluster/client';"));
    writeFileSync(join(project, 'reader.cjs'), read("const { PushClient } = require('@pushcluster/client');"));
    for (const program of ['reader.js', 'reader.cjs']) {
      const reading = run(process.execPath, [program, `${socket}/connect`], { cwd: project });
      let told = false;
      const heard = reading.finally(() => {
        told = true;
      });
      // Until the client has joined, pushes pass it by.
      const push = async () => {
        assert.equal(await standalone?.push({ room: 'demo' }, ['hello']), 202);
        return told;
      };
      await until('the client has heard a push', push, PATIENCE_MS, 100);
      assert.equal((await heard).stdout, 'hello\n');
    }
  });

  it('has a chart that Helm installs, and that knows where it comes from', async () => {
    const helm = helmWith((await kubeTools('control-plane'))('helm'));
    const chart = join(dist, CHART);
    assert.match(await helm(['show', 'chart', chart]), new RegExp(`sources:\n- ${REPOSITORY}\n`));
    await assert.rejects(helm(['template', 'push', chart]), /images\.registry is not set/);
    const text = await helm(['template', 'push', chart, '--set', `images.registry=${REGISTRY}`]);
    assert.ok(text.includes(`image: "${REGISTRY}/pushcluster/operator:${version}"\n`));
    assert.ok(text.includes('kind: CustomResourceDefinition'));
  });

  it('has a chart that knows the registry and the runbook where the publisher has them', async () => {
    const published = join(work, 'published');
    await made(published, { REGISTRY: 'ghcr.example.com/team', RUNBOOK: 'https://docs.example.com/runbook.html' });
    const helm = helmWith((await kubeTools('control-plane'))('helm'));
    const rules = ['--set', 'monitoring.rules.configMap=true'];
    const text = await helm(['template', 'push', join(published, CHART), ...rules]);
    assert.ok(text.includes('runbook_url: https://docs.example.com/runbook.html#pushclusterunavailable\n'));
    assert.ok(text.includes(`image: "ghcr.example.com/team/pushcluster/operator:${version}"\n`));
  });
});
