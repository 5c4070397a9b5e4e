import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Baseline } from '../baseline.ts';
import { type Cluster, startCluster, stopCluster } from './cluster.ts';
import { helmWith } from './helm.ts';
import { Host } from './host.ts';
import { clusterPackages } from './images.ts';
import { BASELINE_TAG, IMAGES, installChart, OTHER_TAG, REGISTRY, RELEASE } from './product.ts';
import { kubeTools } from './tools.ts';

const USAGE = `usage: node main.ts up|down [NAME]
       node main.ts share NAME [baseline]
       node main.ts exec NAME COMMAND [ARGUMENT ...]

up     a cluster that stays, with the chart and an example; where KUBECONFIG is set there is nothing to do
down   its end
share  one for tests: with images, also the baseline's, and nothing installed
exec   runs a command on its clients' network, and ends with its code
`;
const EXAMPLE = new URL('../../../examples/minimal.yaml', import.meta.url).pathname;

/** The name of the cluster if the command names none. */
const LOCAL = 'local';

const [command, name = LOCAL, ...rest] = process.argv.slice(2);
const elsewhere = process.env.KUBECONFIG;
try {
  if (command === 'up' && elsewhere) process.stdout.write(`KUBECONFIG is set: ${elsewhere} is the cluster\n`);
  else if (command === 'up') await up(name);
  else if (command === 'share') {
    const cluster = await start(name);
    if (rest.includes('baseline')) await loadBaseline(cluster);
  } else if (command === 'down') await stopCluster(name);
  else if (command === 'exec' && rest.length > 0) process.exitCode = await exec(name, rest);
  else {
    process.stderr.write(USAGE);
    process.exitCode = 2;
  }
} catch (error) {
  process.stderr.write(`cluster: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
// Without this, open connections of the control plane's client would keep the process alive.
process.exit();

function say(text: string): void {
  process.stderr.write(`cluster: ${text}\n`);
}

/** Starts a cluster with the product's images, and with the images of pods under a second tag. */
async function start(name: string): Promise<Cluster> {
  await clusterPackages();
  const family = process.env.IP_FAMILY;
  const cluster = await startCluster({ name, detached: true, progress: say, ...(family ? { family } : {}) });
  say('images');
  await cluster.load(IMAGES);
  const version = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8')).version;
  for (const image of ['gateway', 'logic', 'operator'].map((each) => `${REGISTRY}/pushcluster/${each}`))
    for (const node of cluster.nodes) await node.ctr('images', 'tag', `${image}:${version}`, `${image}:${OTHER_TAG}`);
  return cluster;
}

async function loadBaseline(cluster: Cluster): Promise<void> {
  say('images of the baseline');
  const baseline = new Baseline();
  await cluster.load(['operator', 'gateway', 'logic'], BASELINE_TAG, baseline.app);
  baseline.remove();
}

async function up(name: string): Promise<void> {
  const cluster = await start(name);
  const { kubectl, kubeconfig } = cluster;
  const program = await kubeTools('cluster');
  say('chart and example');
  await installChart(kubectl, helmWith(program('helm'), kubeconfig));
  // Uses `kubectl apply`, as people do, so that their next `kubectl apply` causes no warning.
  await kubectl(['apply', '-f', EXAMPLE]);
  await kubectl(['wait', 'pushcluster/live', '--for=condition=Ready', '--timeout=300s']);
  process.stdout.write(
    [
      await kubectl(['get', 'nodes', '-o', 'wide']),
      await kubectl(['get', 'pushclusters', '-A']),
      `The cluster is up, with the operator (in ${RELEASE.namespace}) and a PushCluster. To use them:`,
      '',
      `  export KUBECONFIG=${kubeconfig}`,
      `  export PATH=${dirname(program('kubectl'))}:$PATH    # kubectl and helm`,
      `  export REGISTRY=${REGISTRY}    # of the images that the nodes have`,
      '',
      '  kubectl get push live && kubectl describe push live',
      '',
      'Nothing of it is public. Clients and backends reach it by ports that kubectl forwards:',
      '',
      '  kubectl port-forward service/live-gateway 7777 & kubectl port-forward service/live-logic 7799 &',
      "  KEY=$(kubectl get secret live-api-key -o jsonpath='{.data.key}' | base64 -d)",
      '  curl --retry 9 --retry-connrefused -H "Authorization: Bearer $KEY" -H \'content-type: application/json\' \\',
      '    -d \'{"to":{"all":true},"items":["hello"]}\' http://127.0.0.1:7799/v1/push',
      '',
      `docs/tutorials/kubernetes.md goes on from here. \`make cluster-down${name === LOCAL ? '' : ` CLUSTER=${name}`}\` ends it.`,
      '',
    ].join('\n'),
  );
}

async function exec(name: string, command: readonly string[]): Promise<number> {
  const [program, ...args] = Host.find(name, 'outside').network.command(command);
  const { KUBECONFIG: _, ...env } = process.env;
  const child = spawn(program!, args, { stdio: 'inherit', env: { ...env, E2E_CLUSTER: name } });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}
