import { stringify } from 'yaml';
import { z } from 'zod';
import { API_VERSION, GROUP, KIND, PLURAL, ROOT_RULES, Spec, Status, VERSION } from './pushCluster.ts';

/** A structural schema of Kubernetes, as far as this CRD has it. */
export type Schema = {
  type?: string;
  description?: string;
  default?: unknown;
  format?: string;
  pattern?: string;
  enum?: unknown[];
  minimum?: number;
  /** Kubernetes' older JSON Schema: a word about `minimum`, no bound of its own. */
  exclusiveMinimum?: boolean;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  maxProperties?: number;
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  required?: string[];
  'x-kubernetes-int-or-string'?: boolean;
  'x-kubernetes-list-type'?: string;
  'x-kubernetes-list-map-keys'?: string[];
  'x-kubernetes-validations'?: { rule: string; message: string; fieldPath?: string }[];
};

const KEYS = [
  'description',
  'type',
  'default',
  'format',
  'pattern',
  'enum',
  'minimum',
  'maximum',
  'minLength',
  'maxLength',
  'maxItems',
  'maxProperties',
  'required',
  'x-kubernetes-int-or-string',
  'x-kubernetes-list-type',
  'x-kubernetes-list-map-keys',
  'x-kubernetes-validations',
] as const satisfies (keyof Schema)[];

/** Where the CRD is kept, from the root of the project. */
export const CRD_FILE = `crds/${PLURAL}.${GROUP}.yaml`;
/** The same inside the chart, which can't reach outside of itself. */
export const CHART_CRD_FILE = 'charts/pushcluster/files/crd.yaml';

/** The CustomResourceDefinition. */
export function crd() {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${PLURAL}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: 'Namespaced',
      // kubectl takes `pc` for the built-in PriorityClass, whatever we say: hence a second one.
      names: {
        kind: KIND,
        listKind: `${KIND}List`,
        plural: PLURAL,
        singular: KIND.toLowerCase(),
        shortNames: ['pc', 'push'],
      },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          subresources: {
            status: {},
            scale: {
              specReplicasPath: '.spec.gateway.replicas',
              statusReplicasPath: '.status.gateway.replicas',
              labelSelectorPath: '.status.gateway.selector',
            },
          },
          additionalPrinterColumns: [
            { name: 'Ready', type: 'string', jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
            { name: 'Gateways', type: 'integer', jsonPath: '.status.gateway.readyReplicas' },
            { name: 'Connections', type: 'integer', jsonPath: '.status.gateway.connections' },
            { name: 'Version', type: 'string', jsonPath: '.status.version' },
            { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
          ],
          schema: { openAPIV3Schema: openApi() },
        },
      ],
    },
  };
}

/** The CRD as it is kept in CRD_FILE. */
export function crdText(): string {
  return `# Made by \`npm run crd -w @pushcluster/operator\` from operator/api/spec.ts.\n${stringify(crd(), { lineWidth: 120, aliasDuplicateObjects: false })}`;
}

/** The structural schema of a zod schema, as input: what has a default isn't required. */
export function structural(schema: z.ZodType): Schema {
  return cleaned(z.toJSONSchema(schema, { io: 'input' }) as JsonSchema);
}

function openApi(): Schema {
  return {
    type: 'object',
    description: 'A cluster of gateways that hold WebSocket connections, and of logic that takes pushes for them.',
    properties: {
      apiVersion: { type: 'string', description: `${API_VERSION}` },
      kind: { type: 'string', description: KIND },
      metadata: { type: 'object' },
      spec: {
        ...structural(Spec),
        default: {},
        description: 'What is wanted. Every key has a default: `{}` is a working cluster.',
      },
      status: { ...structural(Status), description: 'What is.' },
    },
    'x-kubernetes-validations': [...ROOT_RULES],
  };
}

type JsonSchema = z.core.JSONSchema.BaseSchema & Record<string, unknown>;

/** Only what a structural schema may have, in a steady order. */
function cleaned(json: JsonSchema): Schema {
  const schema: Schema = {};
  for (const key of KEYS) if (json[key] !== undefined) Object.assign(schema, { [key]: json[key] });
  if (typeof json.exclusiveMinimum === 'number') {
    schema.minimum = json.exclusiveMinimum;
    schema.exclusiveMinimum = true;
  }
  // zod bounds integers by what a double holds; the API server has its own bounds.
  if (json.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  if (json.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum;
  if (json['x-kubernetes-int-or-string'] === true) {
    delete schema.type;
    return schema;
  }
  if (typeof json.type !== 'string') throw new TypeError(`no structural schema can say this: ${JSON.stringify(json)}`);
  if (json.properties) {
    schema.properties = Object.fromEntries(
      Object.entries(json.properties).map(([name, property]) => [name, cleaned(property as JsonSchema)]),
    );
  }
  if (json.items) schema.items = cleaned(json.items as JsonSchema);
  if (json.additionalProperties) schema.additionalProperties = cleaned(json.additionalProperties as JsonSchema);
  return schema;
}
