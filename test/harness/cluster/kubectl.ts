import { spawn } from 'node:child_process';

/** Runs kubectl. Returns its standard output; throws with its standard error. The second argument is for `-f -`. */
export type Kubectl = (args: readonly string[], input?: string) => Promise<string>;

/** kubectl as the user of a kubeconfig. */
export function kubectlWith(program: string, kubeconfig: string): Kubectl {
  return (args, input) =>
    new Promise((resolve, reject) => {
      const child = spawn(program, args, { env: { ...process.env, KUBECONFIG: kubeconfig } });
      let [said, complained] = ['', ''];
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        complained += text;
      });
      child.once('error', reject);
      child.once('close', (code) => {
        if (code === 0) resolve(said);
        else reject(new Error(`kubectl ${args.join(' ')} ended with code ${code}: ${complained.trim()}`));
      });
      // It may end without having read all of it.
      child.stdin.on('error', () => {}).end(input);
    });
}

/** Applies objects, as YAML or as values. */
export async function apply(kubectl: Kubectl, objects: string | readonly object[]): Promise<void> {
  const text =
    typeof objects === 'string' ? objects : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects });
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], text);
}
