import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import type { OpenCluster } from './openCluster.ts';
import { kubeTools } from './tools.ts';

const ROOT = new URL('../../../', import.meta.url).pathname;

/** The commands in the `sh` blocks of a page, or of a part of a page. */
export function commandsIn(markdown: string): string[] {
  return [...markdown.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!);
}

/**
 * Runs a script in the project's root, as a shell into which it is pasted. Kills the shell after `timeout`
 * milliseconds.
 */
export async function paste(
  script: string,
  timeout: number,
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number | null; output: string }> {
  const child = spawn('bash', ['-c', script], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'], timeout });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

/** Runs a script like `paste`, with kubectl and helm for a cluster. */
export async function pasteFor(cluster: OpenCluster, script: string, timeout: number): ReturnType<typeof paste> {
  const program = await kubeTools('cluster');
  const PATH = `${dirname(program('kubectl'))}:${process.env.PATH}`;
  return paste(script, timeout, { ...process.env, KUBECONFIG: cluster.kubeconfig, PATH });
}
