import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runToEnd } from './program.ts';

/** Runs helm. Returns its standard output; throws with its standard error. `input` is for `-f -`. */
export type Helm = (args: readonly string[], input?: string) => Promise<string>;

/** helm as the user of a kubeconfig, without the configuration of this machine's user. By default it has no cluster. */
export function helmWith(program: string, kubeconfig = '/dev/null'): Helm {
  const home = mkdtempSync(join(tmpdir(), 'pushcluster-helm-'));
  process.once('exit', () => rmSync(home, { recursive: true, force: true }));
  const env = {
    PATH: process.env.PATH,
    KUBECONFIG: kubeconfig,
    // helm caches the discovered APIs below HOME.
    HOME: home,
    HELM_CACHE_HOME: join(home, 'cache'),
    HELM_CONFIG_HOME: join(home, 'config'),
    HELM_DATA_HOME: join(home, 'data'),
  };
  return (args, input) => runToEnd(program, args, env, input);
}
