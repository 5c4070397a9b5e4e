import { parseArgs } from 'node:util';
import type { LogLevel } from '@pushcluster/runtime/log.ts';
import { z } from 'zod';
import { type NodeTuningSettings, parseSettings } from './nodeTuningSettings.ts';

/** `tune` keeps a node tuned until it is told to end; `remove` deletes the DaemonSet and waits for its pods. */
export type Command = 'tune' | 'remove';

export type NodeTuningOptions = {
  daemonSet: string;
  logLevel: LogLevel;
} & (
  | { command: 'remove' }
  | {
      command: 'tune';
      node: string;
      settings: NodeTuningSettings;
      root: string;
      record: string;
      readyFile: string;
      ethtool: string;
      net: string;
      /** Milliseconds until what failed is tried again. */
      retry: number;
    }
);

const USAGE = `usage: node-tuning [tune|remove] --daemon-set NAME [options]

tune sets kernel settings of the node that it runs on, and puts them back when its DaemonSet is gone; remove deletes the
DaemonSet and waits until its pods have done so. Talks to the API server as a pod of its cluster, or as KUBECONFIG says.

  --daemon-set NAME   that it belongs to, in its own namespace      DAEMON_SET
  --node NAME         that it runs on                               NODE_NAME
  --settings JSON     what to set: {"sysctls": {}, "interfaces": []} SETTINGS
  --root FOLDER       where the node's /proc and /sys are; default / HOST_ROOT
  --record FOLDER     on the node, for what was there before         RECORD_FOLDER
  --ready-file FILE   is there while all is set                      READY_FILE
  --ethtool PROGRAM   default ethtool                                ETHTOOL
  --net FOLDER        default /proc/self/net                         NET_FOLDER
  --retry SECONDS     until what failed is tried again; default 30   RETRY
  --log-level LEVEL   debug, info, warn, error; default info         LOG_LEVEL
  --help              prints this

An option counts before the environment variable beside it.
`;

const VARIABLES = {
  'daemon-set': 'DAEMON_SET',
  node: 'NODE_NAME',
  settings: 'SETTINGS',
  root: 'HOST_ROOT',
  record: 'RECORD_FOLDER',
  'ready-file': 'READY_FILE',
  ethtool: 'ETHTOOL',
  net: 'NET_FOLDER',
  retry: 'RETRY',
  'log-level': 'LOG_LEVEL',
} as const;

const needed = (what: string) => z.string(`is needed: ${what}`).min(1);
const Common = z.object({
  'daemon-set': needed('the DaemonSet that it belongs to'),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});
const Tune = Common.extend({
  node: needed('the node that it runs on'),
  settings: needed('what to set'),
  root: z.string().default('/'),
  record: z.string().default('/run/pushcluster-node-tuning'),
  'ready-file': z.string().default('/tmp/tuned'),
  ethtool: z.string().default('ethtool'),
  net: z.string().default('/proc/self/net'),
  retry: z.coerce.number().min(0.1).max(3_600).default(30),
});

/** Options of the command line and the environment. Throws a sentence where they are wrong; undefined where help is wanted. */
export function nodeTuningOptions(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
): NodeTuningOptions | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      ...(Object.fromEntries(Object.keys(VARIABLES).map((name) => [name, { type: 'string' }])) as Record<
        string,
        { type: 'string' }
      >),
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return undefined;
  const [command = 'tune', ...more] = positionals;
  if ((command !== 'tune' && command !== 'remove') || more.length > 0)
    throw new Error(`"${positionals.join(' ')}" is no command: there are tune and remove`);
  const given = Object.fromEntries(
    Object.entries(VARIABLES).map(([name, variable]) => [
      name,
      Reflect.get(values, name) ?? (environment[variable] || undefined),
    ]),
  );
  if (command === 'remove') {
    const found = checked(Common, given);
    return { command, daemonSet: found['daemon-set'], logLevel: found['log-level'] };
  }
  const found = checked(Tune, given);
  return {
    command,
    daemonSet: found['daemon-set'],
    logLevel: found['log-level'],
    node: found.node,
    settings: parseSettings(found.settings),
    root: found.root,
    record: found.record,
    readyFile: found['ready-file'],
    ethtool: found.ethtool,
    net: found.net,
    retry: found.retry * 1_000,
  };
}

export function usage(): string {
  return USAGE;
}

function checked<T>(schema: z.ZodType<T>, given: object): T {
  const found = schema.safeParse(given);
  if (found.success) return found.data;
  const problems = found.error.issues.map(({ path, message }) => {
    const name = String(path[0]);
    return `--${name} (or ${Reflect.get(VARIABLES, name)}): ${message}`;
  });
  throw new Error(problems.join('; '));
}
