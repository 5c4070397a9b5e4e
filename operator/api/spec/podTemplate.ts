import { z } from 'zod';
import { extended, mapOf, type Rule, ruled } from '../fields.ts';
import { Resources } from '../kubernetes.ts';
import { annotations, labelValue, QUALIFIED_NAME, RESERVED } from './metadata.ts';

/** What differs between the templates of the roles. */
export type TemplateOf = {
  /** The field as validation messages call it. */
  field: string;
  /** Name of the operator's own container. */
  container: 'gateway' | 'logic' | 'nats';
  /** The field that sets the image of this container. */
  image: string;
  /** What sets the grace period of the pods. */
  gracePeriod: string;
  /** Environment variables of the operator. */
  env: readonly string[];
  /** Volumes of the operator, also those that the pods have only if another field is set. */
  volumes: readonly string[];
  /** Folders in which the operator mounts volumes. */
  folders: readonly string[];
};

const FILES = { volumes: ['settings', 'pod', 'nats', 'tls', 'jwt', 'keys'], folders: ['/etc/pushcluster'] };

export const GATEWAY_TEMPLATE: TemplateOf = {
  field: 'gateway.podTemplate',
  container: 'gateway',
  image: 'image.gateway',
  gracePeriod: 'it follows from gateway.drain',
  env: ['POD_TEMPLATE'],
  ...FILES,
};
export const LOGIC_TEMPLATE: TemplateOf = {
  field: 'logic.podTemplate',
  container: 'logic',
  image: 'image.logic',
  gracePeriod: 'it is the time that logic takes to shut down',
  env: [],
  ...FILES,
};
export const NATS_TEMPLATE: TemplateOf = {
  field: 'nats.managed.podTemplate',
  container: 'nats',
  image: 'nats.managed.image',
  gracePeriod: 'it is the time that NATS takes to shut down',
  env: ['POD_NAME'],
  volumes: ['config', 'tls', 'jetstream'],
  folders: ['/etc/pushcluster', '/var/lib/pushcluster'],
};
export const TEMPLATES: readonly TemplateOf[] = [GATEWAY_TEMPLATE, LOGIC_TEMPLATE, NATS_TEMPLATE];

/** Fields of the pod that a template must not set, and what to do instead. */
function ownPodFields({ container, gracePeriod }: TemplateOf): [field: string, why: string][] {
  return [
    ['restartPolicy', 'the pods always restart'],
    ['terminationGracePeriodSeconds', gracePeriod],
    [
      'hostNetwork',
      container === 'gateway' ? 'set gateway.hostNetwork' : 'only gateways can use the network of their nodes',
    ],
  ];
}

/**
 * Fields of the pod that must not be true. The lame duck mode of a NATS server begins with a signal to process 1 of its
 * container.
 */
function pidFields({ container }: TemplateOf): string[] {
  return container === 'nats' ? ['shareProcessNamespace', 'hostPID'] : [];
}

/** Fields of the operator's own container that a template must not set, and what to do instead. */
function ownContainerFields({ image }: TemplateOf): [field: string, why: string][] {
  const process = 'the process is started by the operator';
  const probe = 'its probes belong to the process';
  return [
    ['image', `set ${image}`],
    ['command', process],
    ['args', process],
    ['workingDir', process],
    ['ports', 'its ports are fixed'],
    ['livenessProbe', probe],
    ['readinessProbe', probe],
    ['startupProbe', probe],
    ['lifecycle', 'the process drains by itself'],
    ['restartPolicy', 'it always restarts'],
  ];
}

/** Fields that are validated by the API server when the pods' owner is applied. */
const anything = z.looseObject({}).exactOptional();
const text = z.string().exactOptional();
const name = z.string().min(1).max(253);

/**
 * The part of a Kubernetes PodTemplateSpec that users may set. Each object has a default, since server-side apply makes a
 * null of an empty one. Only fields that rules look into are declared, and all others
 * are kept as they are: the API server validates them when it gets the whole template.
 */
export function podTemplateFields(of: TemplateOf) {
  const { field } = of;
  return {
    metadata: z
      .object({
        labels: podLabels(`${field}.metadata.labels`).default({}).describe('Labels added to the pods.'),
        annotations: podAnnotations(`${field}.metadata.annotations`)
          .default({})
          .describe('Annotations added to the pods.'),
      })
      .prefault({})
      .describe('Metadata added to the pods.'),
    spec: podSpec(of)
      .default({})
      .describe(
        `Any field of a PodSpec, such as volumes, sidecars or \`dnsConfig\`. Merged over the pods of the operator: entries of lists by name, as in a strategic merge patch, and tolerations are added. The container of the operator is \`${of.container}\`. Takes precedence over the other fields of the PushCluster. Kubernetes validates it when the operator applies it, and what it rejects is reported by the condition Degraded.`,
      ),
  };
}

/** The template of a role that has no other fields for it. @param consequence what a change does, as a sentence */
export function podTemplate(of: TemplateOf, consequence: string) {
  return z
    .object(podTemplateFields(of))
    .prefault({})
    .describe(`Template that is merged over the pods of the operator. ${consequence}`);
}

/** Labels of pods. @param field the field as validation messages call it */
export function podLabels(field: string) {
  return ruled(
    extended(z.record(z.string(), labelValue), { maxProperties: 64 }),
    {
      rule: `self.all(k, !(${RESERVED}))`,
      message: `${field} must leave app.kubernetes.io/, pushcluster.dev/ and pod-template-hash to the operator`,
    },
    {
      rule: `self.all(k, ${QUALIFIED_NAME})`,
      message: `${field} must have names of up to 63 letters, digits, "-", "_" and "."`,
    },
  );
}

/** Annotations of pods. @param field the field as validation messages call it */
export function podAnnotations(field: string) {
  return ruled(
    annotations,
    {
      rule: "self.all(k, !k.startsWith('pushcluster.dev/'))",
      message: `${field} must leave pushcluster.dev/ to the operator`,
    },
    {
      rule: `self.all(k, ${QUALIFIED_NAME})`,
      message: `${field} must have names of up to 63 letters, digits, "-", "_" and "."`,
    },
  );
}

function podSpec(of: TemplateOf) {
  const { field } = of;
  return ruled(
    z.looseObject({
      restartPolicy: text,
      terminationGracePeriodSeconds: z.number().int().exactOptional(),
      hostNetwork: z.boolean().exactOptional(),
      shareProcessNamespace: z.boolean().exactOptional(),
      hostPID: z.boolean().exactOptional(),
      serviceAccount: text,
      containers: mapOf(z.array(container(of)).max(16), 'name').exactOptional(),
      initContainers: mapOf(z.array(z.looseObject({ name, ports })).max(16), 'name').exactOptional(),
      volumes: mapOf(z.array(volume(of)).max(64), 'name').exactOptional(),
    }),
    ...ownPodFields(of).map(([own, why]) => ({
      rule: `!has(self.${own})`,
      message: `${field}.spec.${own} must be left to the operator: ${why}`,
      fieldPath: `.${own}`,
    })),
    {
      rule: '!has(self.serviceAccount)',
      message: `${field}.spec.serviceAccount is deprecated in Kubernetes: set serviceAccountName`,
      fieldPath: '.serviceAccount',
    },
    ...pidFields(of).map((own) => ({
      rule: `!has(self.${own}) || !self.${own}`,
      message: `${field}.spec.${own} must not be true: the NATS server must be the first process of its container, which gets the signal to stop`,
      fieldPath: `.${own}`,
    })),
  );
}

const ports = z
  .array(z.looseObject({ containerPort: z.number().int(), protocol: text }))
  .max(32)
  .exactOptional();

function container(of: TemplateOf) {
  const { field, container: own, env, folders } = of;
  const isOther = `self.name != '${own}'`;
  const place = `${field}.spec.containers`;
  const rules: Rule[] = ownContainerFields(of).map(([each, why]) => ({
    rule: `${isOther} || !has(self.${each})`,
    message: `${place}: ${each} of the container ${own} must be left to the operator: ${why}`,
    fieldPath: `.${each}`,
  }));
  if (env.length > 0)
    rules.push({
      rule: `${isOther} || !has(self.env) || self.env.all(e, !(e.name in [${quoted(env)}]))`,
      message: `${place}: env of the container ${own} must leave ${env.join(', ')} to the operator`,
      fieldPath: '.env',
    });
  const isOwn = folders.map((folder) => `m.mountPath == '${folder}' || m.mountPath.startsWith('${folder}/')`);
  rules.push({
    rule: `${isOther} || !has(self.volumeMounts) || self.volumeMounts.all(m, !(${isOwn.join(' || ')}))`,
    message: `${place}: volumeMounts of the container ${own} must leave ${folders.join(' and ')} to the operator`,
    fieldPath: '.volumeMounts',
  });
  return ruled(
    z.looseObject({
      name,
      image: text,
      command: z.array(z.string()).exactOptional(),
      args: z.array(z.string()).exactOptional(),
      workingDir: text,
      ports,
      livenessProbe: anything,
      readinessProbe: anything,
      startupProbe: anything,
      lifecycle: anything,
      restartPolicy: text,
      resources: Resources.loose().exactOptional(),
      env: mapOf(z.array(z.looseObject({ name: z.string().max(1_024) })).max(256), 'name').exactOptional(),
      volumeMounts: mapOf(
        z.array(z.looseObject({ mountPath: z.string().max(1_024) })).max(64),
        'mountPath',
      ).exactOptional(),
    }),
    ...rules,
  );
}

function volume({ field, volumes }: TemplateOf) {
  return ruled(z.looseObject({ name }), {
    rule: `!(self.name in [${quoted(volumes)}])`,
    message: `${field}.spec.volumes must leave the names ${volumes.join(', ')} to the operator`,
    fieldPath: '.name',
  });
}

function quoted(texts: readonly string[]): string {
  return texts.map((text) => `'${text}'`).join(', ');
}
