import { parseArgs } from 'node:util';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import type { LogLevel } from '@pushcluster/runtime/log.ts';
import { z } from 'zod';
import { optionProblems, required } from './optionProblems.ts';
import type { Images, PodDefaults } from './pushcluster/desired/context.ts';
import { POD_DEFAULTS } from './pushcluster/desired/pods.ts';

/** Default name of the Lease for leader election. */
export const LEASE = 'pushcluster-operator';

/**
 * Whether a holder of the default Lease has it because it is its own: the Deployment of that name is. In earlier versions,
 * Deployments of other names had it too.
 */
export function isOfDefaultLease(holder: string): boolean {
  return holder.startsWith(`${LEASE}-`);
}

export type OperatorOptions = {
  /** Namespaces whose PushClusters are managed; all if empty. */
  namespaces: readonly string[];
  leaseName: string;
  /** Default: the operator's own namespace. */
  leaseNamespace: string | undefined;
  admin: { host: string; port: number };
  /** Maximum number of PushClusters that roll out at a time; 0: no limit. */
  maxConcurrentRollouts: number;
  /** Port of GET /status of gateway and logic pods. */
  podPort: number;
  /** Address of the custom metrics API; undefined if it is not served. */
  metricsApi: { host: string; port: number } | undefined;
  logLevel: LogLevel;
  images: Images;
  podDefaults: PodDefaults;
  /** URL of the runbook for alerts of PushClusters that do not set one. */
  runbook: string | undefined;
};

const USAGE = `usage: operator --gateway-image IMAGE --logic-image IMAGE --nats-image IMAGE
                --nats-exporter-image IMAGE [options]

Kubernetes operator for PushCluster resources. Connects to the API server with the kubeconfig in KUBECONFIG if set,
otherwise with the service account of its pod.

Option                    Description                                    Environment variable
  --gateway-image IMAGE   default image of gateways (required)           GATEWAY_IMAGE
  --logic-image IMAGE     default image of logic pods (required)         LOGIC_IMAGE
  --nats-image IMAGE      default image of NATS servers (required)       NATS_IMAGE
  --nats-exporter-image IMAGE
                          default image of exporters of NATS (required)  NATS_EXPORTER_IMAGE
  --namespaces NAME,NAME  namespaces to watch; default: all              WATCH_NAMESPACES
  --lease-name NAME       name of the Lease for leader election;         LEASE_NAME
                          default: pushcluster-operator
  --lease-namespace NAME  namespace of the Lease for leader election;    LEASE_NAMESPACE
                          default: that of the operator
  --admin-host ADDRESS    address of metrics and probes; default ::      ADMIN_HOST
  --admin-port PORT       port of metrics and probes; default 9090       ADMIN_PORT
  --metrics-api-host ADDR address of the custom metrics API;             METRICS_API_HOST
                          default :: (all, IPv6 and IPv4)
  --metrics-api-port PORT port of the custom metrics API;                METRICS_API_PORT
                          default: the API is not served
  --max-rollouts NUMBER   PushClusters that replace their pods at a      MAX_ROLLOUTS
                          time; default 10, and 0 means no limit
  --pod-port PORT         port of GET /status of the pods; default 9090  POD_PORT
  --pod-pull-secrets NAME,NAME
                          pull secrets of the pods of all PushClusters   POD_PULL_SECRETS
  --pod-security-context JSON
                          security context of these pods, beyond what    POD_SECURITY_CONTEXT
                          the Pod Security Standard restricted demands;
                          default: user, group and fsGroup 65532
  --runbook URL           runbook that alerts of PushClusters link to    RUNBOOK_URL
                          if these do not set one
  --log-level LEVEL       debug, info, warn or error; default info       LOG_LEVEL
  --help                  show this help

An option takes precedence over its environment variable.
`;

const image = required('the image of PushClusters that do not set one');
const names = z
  .string()
  .default('')
  .transform((text) => text.split(',').map((name) => name.trim()))
  .transform((list) => [...new Set(list.filter((name) => name !== ''))]);
const id = z.int().min(0).max(2_147_483_647);
/** Sysctls and the rest of `restricted` are not for all pods to change. */
const PodSecurityContext = z.strictObject({
  runAsUser: id.min(1).exactOptional(),
  runAsGroup: id.exactOptional(),
  fsGroup: id.exactOptional(),
  fsGroupChangePolicy: z.enum(['OnRootMismatch', 'Always']).exactOptional(),
  supplementalGroups: z.array(id).exactOptional(),
  supplementalGroupsPolicy: z.enum(['Merge', 'Strict']).exactOptional(),
  seccompProfile: z.looseObject({ type: z.string() }).exactOptional(),
  seLinuxOptions: z.record(z.string(), z.string()).exactOptional(),
  appArmorProfile: z.looseObject({ type: z.string() }).exactOptional(),
});
const Values = z.object({
  'gateway-image': image,
  'logic-image': image,
  'nats-image': image,
  'nats-exporter-image': image,
  namespaces: names,
  'lease-name': z.string().default(LEASE),
  'lease-namespace': z.string().optional(),
  'admin-host': z.string().default('::'),
  'admin-port': z.coerce.number().int().min(0).max(65_535).default(9_090),
  'metrics-api-port': z.coerce.number().int().min(0).max(65_535).optional(),
  'metrics-api-host': z.string().default('::'),
  'max-rollouts': z.coerce.number().int().min(0).default(10),
  'pod-port': z.coerce.number().int().min(1).max(65_535).default(9_090),
  'pod-pull-secrets': names,
  'pod-security-context': z
    .string()
    .transform((text, context) => {
      const value = parseJson(text);
      if (value !== undefined) return value;
      context.addIssue({ code: 'custom', message: 'must be JSON' });
      return z.NEVER;
    })
    .pipe(PodSecurityContext)
    .optional(),
  // Prometheus interprets braces in annotations as templates.
  runbook: z
    .url({ protocol: /^https?$/ })
    .regex(/^[^\s{}"\\]+$/)
    .optional(),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
});

const VARIABLES = {
  'gateway-image': 'GATEWAY_IMAGE',
  'logic-image': 'LOGIC_IMAGE',
  'nats-image': 'NATS_IMAGE',
  'nats-exporter-image': 'NATS_EXPORTER_IMAGE',
  namespaces: 'WATCH_NAMESPACES',
  'lease-name': 'LEASE_NAME',
  'lease-namespace': 'LEASE_NAMESPACE',
  'admin-host': 'ADMIN_HOST',
  'admin-port': 'ADMIN_PORT',
  'metrics-api-port': 'METRICS_API_PORT',
  'metrics-api-host': 'METRICS_API_HOST',
  'max-rollouts': 'MAX_ROLLOUTS',
  'pod-port': 'POD_PORT',
  'pod-pull-secrets': 'POD_PULL_SECRETS',
  'pod-security-context': 'POD_SECURITY_CONTEXT',
  runbook: 'RUNBOOK_URL',
  'log-level': 'LOG_LEVEL',
} as const;

/** Options of the command line and the environment. Exits with 0 after --help, with 2 if they are invalid. */
export function operatorOptions(argv: readonly string[], environment: NodeJS.ProcessEnv): OperatorOptions {
  try {
    const text = { type: 'string' } as const;
    const { values } = parseArgs({
      args: [...argv],
      options: {
        'gateway-image': text,
        'logic-image': text,
        'nats-image': text,
        'nats-exporter-image': text,
        namespaces: text,
        'lease-name': text,
        'lease-namespace': text,
        'admin-host': text,
        'admin-port': text,
        'metrics-api-port': text,
        'metrics-api-host': text,
        'max-rollouts': text,
        'pod-port': text,
        'pod-pull-secrets': text,
        'pod-security-context': text,
        runbook: text,
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
    const found = Values.safeParse(Object.fromEntries(given), { reportInput: true });
    if (!found.success) throw new Error(optionProblems(found.error.issues, VARIABLES));
    const { data } = found;
    return {
      namespaces: data.namespaces,
      leaseName: data['lease-name'],
      leaseNamespace: data['lease-namespace'],
      admin: { host: data['admin-host'], port: data['admin-port'] },
      metricsApi:
        data['metrics-api-port'] === undefined
          ? undefined
          : { host: data['metrics-api-host'], port: data['metrics-api-port'] },
      maxConcurrentRollouts: data['max-rollouts'],
      podPort: data['pod-port'],
      logLevel: data['log-level'],
      images: {
        gateway: data['gateway-image'],
        logic: data['logic-image'],
        nats: data['nats-image'],
        natsExporter: data['nats-exporter-image'],
      },
      runbook: data.runbook,
      podDefaults: {
        securityContext: data['pod-security-context'] ?? POD_DEFAULTS.securityContext,
        imagePullSecrets: data['pod-pull-secrets'].map((name) => ({ name })),
      },
    };
  } catch (error) {
    process.stderr.write(`operator: ${error instanceof Error ? error.message : String(error)}; see --help\n`);
    process.exit(2);
  }
}
