import { parseArgs } from 'node:util';
import type { LogLevel } from '@pushcluster/runtime/log.ts';
import { z } from 'zod';
import type { Images } from './pushcluster/desired/context.ts';

/** Name of the Lease that the leader holds. */
export const LEASE = 'pushcluster-operator';

export type OperatorOptions = {
  /** Whose PushClusters it deals with; all where empty. */
  namespaces: readonly string[];
  /** Its own where absent. */
  leaseNamespace: string | undefined;
  admin: { host: string; port: number };
  /** Where pods are asked how they are. */
  podPort: number;
  /** Where the custom metrics API is served; undefined: it is not. */
  metricsApi: { host: string; port: number } | undefined;
  logLevel: LogLevel;
  images: Images;
};

const USAGE = `usage: operator --gateway-image IMAGE --logic-image IMAGE --nats-image IMAGE [options]

Makes the Kubernetes objects of PushClusters and keeps them so. Talks to the API server as a pod of its cluster, or as
KUBECONFIG says.

  --gateway-image IMAGE   of PushClusters that name none                GATEWAY_IMAGE
  --logic-image IMAGE     of PushClusters that name none                LOGIC_IMAGE
  --nats-image IMAGE      of PushClusters that name none                NATS_IMAGE
  --namespaces NAME,NAME  PushClusters of these only; default: all      WATCH_NAMESPACES
  --lease-namespace NAME  where the leader's Lease is; default: its own LEASE_NAMESPACE
  --admin-host ADDRESS    metrics and probes; default 0.0.0.0           ADMIN_HOST
  --admin-port PORT       metrics and probes; default 9090              ADMIN_PORT
  --metrics-api-host ADDR custom metrics API; default 0.0.0.0           METRICS_API_HOST
  --metrics-api-port PORT custom metrics API; default: it is not served METRICS_API_PORT
  --pod-port PORT         where pods answer /status; default 9090       POD_PORT
  --log-level LEVEL       debug, info, warn, error; default info        LOG_LEVEL
  --help                  prints this

An option counts before the environment variable beside it.
`;

const image = z.string('is needed: which image PushClusters run that name none').min(1);
const Values = z.object({
  'gateway-image': image,
  'logic-image': image,
  'nats-image': image,
  namespaces: z
    .string()
    .default('')
    .transform((names) => names.split(',').map((name) => name.trim()))
    .transform((names) => [...new Set(names.filter((name) => name !== ''))]),
  'lease-namespace': z.string().optional(),
  'admin-host': z.string().default('0.0.0.0'),
  'admin-port': z.coerce.number().int().min(0).max(65_535).default(9_090),
  'metrics-api-port': z.coerce.number().int().min(0).max(65_535).optional(),
  'metrics-api-host': z.string().default('0.0.0.0'),
  'pod-port': z.coerce.number().int().min(1).max(65_535).default(9_090),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

const VARIABLES = {
  'gateway-image': 'GATEWAY_IMAGE',
  'logic-image': 'LOGIC_IMAGE',
  'nats-image': 'NATS_IMAGE',
  namespaces: 'WATCH_NAMESPACES',
  'lease-namespace': 'LEASE_NAMESPACE',
  'admin-host': 'ADMIN_HOST',
  'admin-port': 'ADMIN_PORT',
  'metrics-api-port': 'METRICS_API_PORT',
  'metrics-api-host': 'METRICS_API_HOST',
  'pod-port': 'POD_PORT',
  'log-level': 'LOG_LEVEL',
} as const;

/** Options of the command line and the environment. Ends the process after --help (0), and where they are wrong (2). */
export function operatorOptions(argv: readonly string[], environment: NodeJS.ProcessEnv): OperatorOptions {
  try {
    const text = { type: 'string' } as const;
    const { values } = parseArgs({
      args: [...argv],
      options: {
        'gateway-image': text,
        'logic-image': text,
        'nats-image': text,
        namespaces: text,
        'lease-namespace': text,
        'admin-host': text,
        'admin-port': text,
        'metrics-api-port': text,
        'metrics-api-host': text,
        'pod-port': text,
        'log-level': text,
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    const given = Object.entries(VARIABLES).map(([name, variable]) => [
      name,
      Reflect.get(values, name) ?? (environment[variable] || undefined),
    ]);
    const found = Values.safeParse(Object.fromEntries(given));
    if (!found.success)
      throw new Error(
        found.error.issues
          .map(
            ({ path, message }) =>
              `--${path.join('.')} (or ${VARIABLES[path[0] as keyof typeof VARIABLES]}): ${message}`,
          )
          .join('; '),
      );
    const { data } = found;
    return {
      namespaces: data.namespaces,
      leaseNamespace: data['lease-namespace'],
      admin: { host: data['admin-host'], port: data['admin-port'] },
      metricsApi:
        data['metrics-api-port'] === undefined
          ? undefined
          : { host: data['metrics-api-host'], port: data['metrics-api-port'] },
      podPort: data['pod-port'],
      logLevel: data['log-level'],
      images: { gateway: data['gateway-image'], logic: data['logic-image'], nats: data['nats-image'] },
    };
  } catch (error) {
    process.stderr.write(
      `operator: ${error instanceof Error ? error.message : String(error)}; --help shows what there is\n`,
    );
    process.exit(2);
  }
}
