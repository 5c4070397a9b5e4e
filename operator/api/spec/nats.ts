import { z } from 'zod';
import { extended, ruled } from '../fields.ts';
import { Resources } from '../kubernetes.ts';
import { disruptionBudget } from './disruptionBudget.ts';
import { JETSTREAM_RULES, JetStream } from './jetstream.ts';
import { placement, resources } from './pods.ts';
import { NATS_TEMPLATE, podTemplate } from './podTemplate.ts';
import { secretRef, tlsSecret } from './secretRef.ts';
import { serviceAccount } from './serviceAccount.ts';

export const NATS_CREDENTIALS = ['password', 'token', 'nkey', 'creds'] as const;

const credential = (role: string) =>
  ruled(
    z.object({
      type: z
        .enum(NATS_CREDENTIALS)
        .default('creds')
        .describe('What the Secret holds: a password, a token, an NKey seed or a .creds file.'),
      user: z
        .string()
        .min(1)
        .max(253)
        .exactOptional()
        .describe('User name. Required for type `password`, and allowed only there.'),
      secretRef: secretRef('creds').describe('Secret that holds the credential.'),
    }),
    {
      rule: "(self.type == 'password') == has(self.user)",
      message: `nats.credentials.${role}.user is required with type password, and not allowed otherwise`,
      fieldPath: '.user',
    },
  );

const Managed = z.object({
  replicas: extended(z.literal([1, 3, 5]), { type: 'integer' })
    .default(1)
    .describe(
      'Number of NATS servers: 1, 3 or 5. A failed server is replaced; with 3 or 5, messages are delivered meanwhile. Changing it restarts the servers one by one.',
    ),
  image: z
    .string()
    .min(1)
    .max(500)
    .exactOptional()
    .describe(
      'Image of the NATS servers. Defaults to the version that this operator was tested with. Changing it restarts the servers one by one.',
    ),
  tls: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          'Whether gateways, logic and NATS servers encrypt their connections to NATS. Changing it restarts the servers one by one, rolls out the gateways and logic pods, and restarts the servers again.',
        ),
      routes: z
        .boolean()
        .default(true)
        .describe(
          'With `enabled`, whether servers encrypt the routes to each other too. Changing it restarts the servers one by one, and meanwhile those that have been restarted are not connected to the others.',
        ),
      secretName: z
        .string()
        .min(1)
        .max(253)
        .exactOptional()
        .describe(
          'Name of a Secret with the certificate of the servers in `tls.crt` and `tls.key`, and its CA in `ca.crt`, as cert-manager makes it. By default, the operator makes and renews a certificate. Changing it rolls out the gateways and logic pods, and restarts the servers one by one.',
        ),
    })
    .exactOptional()
    .describe('TLS of the connections to the servers, and between them.'),
  exporter: z
    .object({
      enabled: z
        .boolean()
        .default(false)
        .describe(
          "Whether the pod of each server also runs NATS's exporter of metrics for Prometheus (github.com/nats-io/prometheus-nats-exporter), as the container `exporter`. A pod whose exporter cannot start is not ready, and its server gets no clients. Changing it restarts the servers one by one.",
        ),
      image: z
        .string()
        .min(1)
        .max(500)
        .exactOptional()
        .describe(
          'Image of the exporter. Defaults to the one of the operator. Changing it restarts the servers one by one.',
        ),
      resources: Resources.default({ requests: { cpu: '10m', memory: '32Mi' } }).describe(
        'CPU and memory of the exporter. If set, replaces the default entirely. Changing it restarts the servers one by one.',
      ),
    })
    .exactOptional()
    .describe('Metrics of the servers themselves. Gateways and logic export metrics of their connections anyway.'),
  jetstream: JetStream.exactOptional().describe(
    'JetStream, in which the servers store the pushes of rooms with a history. Setting or removing it replaces all servers at once: nothing is delivered meanwhile. Removing it ends the histories.',
  ),
  disruptionBudget: disruptionBudget('nats.managed.disruptionBudget', 'NATS servers'),
  resources: resources('128Mi'),
  placement: placement.describe(
    'Constraints on the nodes that the servers run on. Changing it restarts the servers one by one.',
  ),
  podTemplate: podTemplate(NATS_TEMPLATE, 'Changing it restarts the servers one by one.'),
  serviceAccount: serviceAccount('nats.managed.serviceAccount'),
});
export const ManagedNats = ruled(Managed, ...JETSTREAM_RULES);

export const Nats = ruled(
  z.object({
    prefix: z
      .string()
      .max(64)
      .regex(/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/)
      .exactOptional()
      .describe(
        'First tokens of all subjects. Required with `url`: PushClusters that share a NATS need different prefixes. Defaults to `pushcluster` with managed servers. Changing it rolls out all pods.',
      ),
    managed: ManagedNats.exactOptional().describe(
      'NATS servers that the operator runs for this PushCluster. Used by default if `url` is not set.',
    ),
    url: z
      .string()
      .max(2_048)
      .regex(/^(nats|tls):\/\/[^\s,@/]+(,(nats|tls):\/\/[^\s,@/]+)*$/)
      .exactOptional()
      .describe(
        'URLs of existing NATS servers, separated by commas, each `nats://` or `tls://`. If set, the operator runs no NATS servers. Changing it rolls out the gateways and logic pods.',
      ),
    credentials: z
      .object({
        gateway: credential('gateway')
          .exactOptional()
          .describe('Credential of the gateways. Its permissions should not allow publishing pushes.'),
        logic: credential('logic').exactOptional().describe('Credential of the logic pods.'),
      })
      .exactOptional()
      .describe(
        'Credentials of the pods for the servers of `url`. The content of a Secret is reloaded without a restart, but changing a field rolls out the pods of its role.',
      ),
    certificates: z
      .object({
        gateway: tlsSecret('the client certificate of the gateways')
          .exactOptional()
          .describe('Client certificate of the gateways.'),
        logic: tlsSecret('the client certificate of the logic pods')
          .exactOptional()
          .describe('Client certificate of the logic pods.'),
      })
      .exactOptional()
      .describe('Client certificates for the servers of `url`, in addition to `credentials` or in place of them.'),
    caSecretRef: secretRef('ca.crt')
      .exactOptional()
      .describe(
        'CA certificates for the servers of `url`. Defaults to the public CAs. Changing the reference rolls out the gateways and logic pods.',
      ),
  }),
  { rule: '!(has(self.url) && has(self.managed))', message: 'nats must not have both url and managed' },
  {
    rule: '!has(self.url) || has(self.prefix)',
    message: 'nats.prefix is required with nats.url: PushClusters that share a NATS need different prefixes',
    fieldPath: '.prefix',
  },
  {
    rule: 'has(self.url) || !has(self.credentials)',
    message: 'nats.credentials requires nats.url: credentials of managed servers are generated',
    fieldPath: '.credentials',
  },
  {
    rule: 'has(self.url) || !has(self.certificates)',
    message: 'nats.certificates requires nats.url',
    fieldPath: '.certificates',
  },
  {
    rule: 'has(self.url) || !has(self.caSecretRef)',
    message: 'nats.caSecretRef requires nats.url',
    fieldPath: '.caSecretRef',
  },
);
