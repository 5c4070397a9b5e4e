import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import type { OpenCluster } from './openCluster.ts';
import { kubeTools } from './tools.ts';

const ROOT = new URL('../../../', import.meta.url).pathname;

/** The commands of a page, or of a part of it: its blocks of `sh`. */
export function commandsIn(markdown: string): string[] {
  return [...markdown.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!);
}

/** Runs a script as one shell that is pasted to, at the project's root. Kills it after `timeout` milliseconds. */
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

/** The same, with kubectl and helm for a cluster. */
export async function pasteFor(cluster: OpenCluster, script: string, timeout: number): ReturnType<typeof paste> {
  const program = await kubeTools('cluster');
  const PATH = `${dirname(program('kubectl'))}:${process.env.PATH}`;
  return paste(script, timeout, { ...process.env, KUBECONFIG: cluster.kubeconfig, PATH });
}
