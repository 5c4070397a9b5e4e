import { parseArgs } from 'node:util';
import type { LogLevel } from '@pushcluster/runtime/log.ts';
import { z } from 'zod';
import { optionProblems, required } from '../optionProblems.ts';
import { type NodeTuningSettings, parseNodeTuningSettings } from './nodeTuningSettings.ts';

/** `tune` tunes a node until SIGTERM. `remove` deletes the DaemonSet and waits for its pods. */
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
      /** Milliseconds until failed settings are retried. */
      retry: number;
    }
);

const USAGE = `usage: node-tuning [tune|remove] --daemon-set NAME [options]

tune changes kernel settings of its node, and restores them when its DaemonSet is deleted. remove deletes the DaemonSet
and waits until its pods have restored their nodes. Connects to the API server with the kubeconfig in KUBECONFIG if set,
otherwise with the service account of its pod.

Option                Description                                      Environment variable
  --daemon-set NAME   name of its DaemonSet, in its own namespace      DAEMON_SET
                      (required)
  --node NAME         name of its node (required for tune)             NODE_NAME
  --settings JSON     {"sysctls": {}, "interfaces": []}                SETTINGS
                      (required for tune)
  --root FOLDER       folder of the node's /proc and /sys; default /   HOST_ROOT
  --record FOLDER     folder on the node for original values;          RECORD_FOLDER
                      default /run/pushcluster-node-tuning
  --ready-file FILE   exists once all settings are applied;            READY_FILE
                      default /tmp/tuned
  --ethtool PROGRAM   default ethtool                                  ETHTOOL
  --net FOLDER        default /proc/self/net                           NET_FOLDER
  --retry SECONDS     interval of retrying failed settings; default 30 RETRY
  --log-level LEVEL   debug, info, warn or error; default info         LOG_LEVEL
  --help              show this help

An option takes precedence over its environment variable.
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

const Common = z.object({
  'daemon-set': required('the name of its DaemonSet'),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});
const Tune = Common.extend({
  node: required('the name of its node'),
  settings: required('the settings to apply'),
  root: z.string().default('/'),
  record: z.string().default('/run/pushcluster-node-tuning'),
  'ready-file': z.string().default('/tmp/tuned'),
  ethtool: z.string().default('ethtool'),
  net: z.string().default('/proc/self/net'),
  retry: z.coerce.number().min(0.1).max(3_600).default(30),
});

/** Options of the command line and the environment; undefined for --help. @throws Error if they are invalid */
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
    throw new Error(`"${positionals.join(' ')}" is not a command: use tune or remove`);
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
    settings: parseNodeTuningSettings(found.settings),
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
  const found = schema.safeParse(given, { reportInput: true });
  if (found.success) return found.data;
  throw new Error(optionProblems(found.error.issues, VARIABLES));
}
