import { dirname } from 'node:path';
import { startCluster, stopCluster } from './cluster.ts';
import { clusterPackages } from './images.ts';
import { kubeTools } from './tools.ts';

/** `node main.ts up|down [NAME]`: a cluster that stays, and its end. Where KUBECONFIG is set there is nothing to do. */
const USAGE = 'usage: node main.ts up|down [NAME]\n';

const [command, name = 'local'] = process.argv.slice(2);
const elsewhere = process.env.KUBECONFIG;
try {
  if (command === 'up' && elsewhere) process.stdout.write(`KUBECONFIG is set: ${elsewhere} is the cluster\n`);
  else if (command === 'up') await up(name);
  else if (command === 'down') await stopCluster(name);
  else {
    process.stderr.write(USAGE);
    process.exitCode = 2;
  }
} catch (error) {
  process.stderr.write(`cluster: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
// The control plane's client would keep connections open.
process.exit();

async function up(name: string): Promise<void> {
  await clusterPackages();
  const progress = (text: string) => process.stderr.write(`cluster: ${text}\n`);
  const cluster = await startCluster({ name, detached: true, progress });
  const program = await kubeTools('cluster');
  process.stdout.write(
    [
      await cluster.kubectl(['get', 'nodes', '-o', 'wide']),
      'The cluster is up. To use it:',
      '',
      `  export KUBECONFIG=${cluster.kubeconfig}`,
      `  export PATH=${dirname(program('kubectl'))}:$PATH    # kubectl and helm`,
      '',
      '`make cluster-down` ends it.',
      '',
    ].join('\n'),
  );
}
