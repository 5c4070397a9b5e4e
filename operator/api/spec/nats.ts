import { z } from 'zod';
import { extended, ruled, size } from '../fields.ts';
import { resources } from './pods.ts';
import { secretRef } from './secretRef.ts';

export const NATS_CREDENTIALS = ['password', 'token', 'nkey', 'creds'] as const;

const credential = (role: string) =>
  ruled(
    z.object({
      type: z
        .enum(NATS_CREDENTIALS)
        .default('creds')
        .describe('What the Secret holds: a password, a token, an NKey seed, or a .creds file.'),
      user: z.string().min(1).max(253).exactOptional().describe('Whose password it is.'),
      secretRef: secretRef('creds').describe('Where it is.'),
    }),
    {
      rule: "(self.type == 'password') == has(self.user)",
      message: `nats.credentials.${role}.user must be set with type password, and only there`,
      fieldPath: '.user',
    },
  );

/** CEL for the volumes of managed servers, as one text: comparing objects costs more than the API server allows. */
function volumesOf(nats: string): string {
  const { storage, className } = {
    storage: `${nats}.managed.storage`,
    className: `${nats}.managed.storage.storageClassName`,
  };
  return `(has(${nats}.managed) && has(${storage}) ? ${storage}.size + ' ' + (has(${className}) ? ${className} : '') : '')`;
}

export const ManagedNats = z.object({
  replicas: extended(z.literal([1, 3, 5]), { type: 'integer' })
    .default(1)
    .describe('Servers: 1, 3 or 5. One that fails is replaced; with 3, nobody waits for that.'),
  storage: z
    .object({
      size: size('nats.managed.storage.size', { min: '64MiB', max: '16384GiB' })
        .default('1Gi')
        .describe('Of each server.'),
      storageClassName: z.string().min(1).max(253).exactOptional().describe("Absent: the cluster's default class."),
    })
    .exactOptional()
    .describe('Turns JetStream on, on volumes of their own. Pushes need none: without it nothing is stored.'),
  image: z
    .string()
    .min(1)
    .max(500)
    .exactOptional()
    .describe("Image of the servers. Absent: what this operator's version was tested with."),
  resources: resources('128Mi'),
});

export const Nats = ruled(
  z.object({
    prefix: z
      .string()
      .max(64)
      .regex(/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/)
      .exactOptional()
      .describe('First tokens of all subjects. Needed beside `url`; otherwise `pushcluster`.'),
    managed: ManagedNats.exactOptional().describe(
      "NATS servers of this cluster's own: the default, where there is no `url`.",
    ),
    url: z
      .string()
      .max(2_048)
      .regex(/^(nats|tls):\/\/[^\s,@/]+(,(nats|tls):\/\/[^\s,@/]+)*$/)
      .exactOptional()
      .describe('Servers that are there already: `nats://` or `tls://`, several with commas between.'),
    credentials: z
      .object({
        gateway: credential('gateway')
          .exactOptional()
          .describe('Of gateways: they must not be able to publish pushes.'),
        logic: credential('logic').exactOptional().describe('Of logic.'),
      })
      .exactOptional()
      .describe('How the pods show themselves to the servers of `url`.'),
    caSecretRef: secretRef('ca.crt')
      .exactOptional()
      .describe('Authority that signed the certificates of `url`. Absent: public ones.'),
  }),
  { rule: '!(has(self.url) && has(self.managed))', message: 'nats must have url or managed, not both' },
  {
    rule: '!has(self.url) || has(self.prefix)',
    message: 'nats.prefix is needed with nats.url: clusters that share a NATS differ in it',
    fieldPath: '.prefix',
  },
  {
    rule: 'has(self.url) || !has(self.credentials)',
    message: 'nats.credentials belong to nats.url: those of managed servers are generated',
    fieldPath: '.credentials',
  },
  {
    rule: 'has(self.url) || !has(self.caSecretRef)',
    message: 'nats.caSecretRef belongs to nats.url',
    fieldPath: '.caSecretRef',
  },
  {
    rule: `has(self.url) || has(oldSelf.url) || ${volumesOf('self')} == ${volumesOf('oldSelf')}`,
    message: "nats.managed.storage can't be changed: volumes of a StatefulSet stay as they were made",
    fieldPath: '.managed',
  },
);
