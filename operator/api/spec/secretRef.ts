import { z } from 'zod';
import { ruled } from '../fields.ts';

const dataKey = z
  .string()
  .min(1)
  .max(253)
  .regex(/^[-._a-zA-Z0-9]+$/);

/** A reference to one key of a Secret in the namespace of the PushCluster. @param key the default key */
export function secretRef(key: string) {
  return z.object({
    name: z.string().min(1).max(253).describe('Name of the Secret, in the namespace of the PushCluster.'),
    key: dataKey.default(key).describe('Key of the value in the Secret.'),
  });
}

/**
 * A reference to one key of a Secret or a ConfigMap: for what is not secret, but may be in either.
 * @param field the field as validation messages call it
 * @param key the default key
 */
export function fileRef(field: string, key: string) {
  return ruled(
    z.object({
      secretRef: secretRef(key).exactOptional().describe('Secret that holds the file.'),
      configMapRef: z
        .object({
          name: z.string().min(1).max(253).describe('Name of the ConfigMap, in the namespace of the PushCluster.'),
          key: dataKey.default(key).describe('Key of the value in the ConfigMap.'),
        })
        .exactOptional()
        .describe('ConfigMap that holds the file.'),
    }),
    {
      rule: 'has(self.secretRef) != has(self.configMapRef)',
      message: `${field} needs exactly one of secretRef and configMapRef`,
    },
  );
}

/** The certificate that a Service serves. @param effect what a change of the name does, as a sentence */
export function servedCertificate(effect: string) {
  return z.object({
    secretName: z
      .string()
      .min(1)
      .max(253)
      .describe(`Name of a Secret of type kubernetes.io/tls, in the namespace of the PushCluster. ${effect}`),
  });
}

/** A reference to a Secret of the type kubernetes.io/tls. @param what what the certificate is for, as the description says */
export function tlsSecret(what: string) {
  return z.object({
    secretName: z
      .string()
      .min(1)
      .max(253)
      .describe(
        `Name of a Secret with ${what} in \`tls.crt\` and \`tls.key\`. A renewed certificate is loaded without a restart, but changing the name rolls out the pods.`,
      ),
  });
}
