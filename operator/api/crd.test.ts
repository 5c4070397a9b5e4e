import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { z } from 'zod';
import { REFERENCE_FILE, referenceText } from '../reference/pushClusterPage.ts';
import { CHART_CRD_FILE, CRD_FILE, crd, crdText, type Schema, structural } from './crd.ts';
import { PushCluster, Spec } from './pushCluster.ts';

const version = crd().spec.versions[0]!;
const root = version.schema.openAPIV3Schema;

/** All schemas in `schema`, with their paths. */
function* walk(schema: Schema, path = ''): Generator<[path: string, schema: Schema]> {
  yield [path, schema];
  for (const [name, property] of Object.entries(schema.properties ?? {})) yield* walk(property, `${path}.${name}`);
  if (schema.items) yield* walk(schema.items, `${path}[]`);
  if (schema.additionalProperties) yield* walk(schema.additionalProperties, `${path}{}`);
}

/** What the API server makes of `value`: defaults at each level that is there. */
function defaulted(schema: Schema, value: unknown): unknown {
  if (schema.properties === undefined || typeof value !== 'object' || value === null) return value;
  const out: Record<string, unknown> = { ...value };
  for (const [name, property] of Object.entries(schema.properties)) {
    if (out[name] === undefined && property.default !== undefined) out[name] = structuredClone(property.default);
    if (out[name] !== undefined) out[name] = defaulted(property, out[name]);
  }
  return out;
}

describe('the CRD', () => {
  const file = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');

  it('is checked in as the schema makes it: npm run crd -w @pushcluster/operator', () => {
    assert.equal(file(CRD_FILE), crdText());
    assert.equal(file(CHART_CRD_FILE), crdText());
  });

  it('has a reference page as the schema makes it: npm run crd -w @pushcluster/operator', () => {
    assert.equal(file(REFERENCE_FILE), referenceText());
  });

  it('says of every part what type it is, as structural schemas must', () => {
    for (const [path, schema] of walk(root))
      assert.ok(schema.type !== undefined || schema['x-kubernetes-int-or-string'] === true, path);
  });

  it('has a list or map bounded wherever a rule looks into one, or the API server finds it too costly', () => {
    for (const [path, schema] of walk(root.properties!.spec!)) {
      if (schema['x-kubernetes-validations'] === undefined) continue;
      if (schema.additionalProperties) assert.ok(schema.maxProperties !== undefined, path);
      if (schema.type === 'string') assert.ok(schema.maxLength !== undefined, path);
    }
  });

  it('names the field in the message of every rule', () => {
    for (const [path, schema] of walk(root)) {
      const leaf = path
        .split('.')
        .at(-1)!
        .replace(/[[\]{}]/g, '');
      for (const { message } of schema['x-kubernetes-validations'] ?? [])
        assert.ok(message.includes(leaf === '' ? 'metadata.name' : leaf), `${path}: ${message}`);
    }
  });

  it('describes every field of ours', () => {
    const theirs = /\.(affinity|tolerations|topologySpreadConstraints|behavior|conditions|podTemplate\.spec)\b./;
    for (const [path, schema] of walk(root)) {
      if (path === '' || path === '.metadata' || /[\]}]$/.test(path) || theirs.test(path)) continue;
      assert.ok(schema.description, path);
    }
  });

  it('has a default for every object on the way to one, so that {} gets them all', () => {
    const { spec } = defaulted(root, {}) as { spec: unknown };
    assert.deepEqual(spec, Spec.parse({}));
    assert.deepEqual(defaulted(root.properties!.spec!, { gateway: { drain: { rate: 3 } } }), {
      ...Spec.parse({ gateway: { drain: { rate: 3 } } }),
    });
  });

  it('is found by kubectl under short names, and scaled by its gateways', () => {
    assert.deepEqual(crd().spec.names.shortNames, ['pc', 'push']);
    for (const path of Object.values(version.subresources.scale)) {
      let schema: Schema | undefined = root;
      for (const key of path.slice(1).split('.')) schema = schema?.properties?.[key];
      assert.ok(schema, path);
    }
    for (const { jsonPath } of version.additionalPrinterColumns.filter((each) => each.jsonPath.startsWith('.status'))) {
      let schema: Schema | undefined = root;
      for (const key of jsonPath.replace(/\[.*/, '').slice(1).split('.')) schema = schema?.properties?.[key];
      assert.ok(schema, jsonPath);
    }
    assert.deepEqual(
      version.additionalPrinterColumns.filter(({ priority }) => priority === undefined).map(({ name }) => name),
      ['Ready', 'Reason', 'Gateways', 'Connections', 'Endpoint', 'Version', 'Age'],
    );
  });
});

describe('a structural schema', () => {
  it('refuses to say what it can not', () => {
    assert.throws(
      () => structural(z.object({ either: z.union([z.string(), z.boolean()]) })),
      /a structural schema cannot express this/,
    );
  });
});

describe('a PushCluster as the API server gives it', () => {
  const metadata = {
    name: 'live',
    namespace: 'shop',
    uid: 'u',
    generation: 3,
    managedFields: [],
    creationTimestamp: 'x',
  };

  it('is parsed with defaults', () => {
    const { spec } = PushCluster.parse({ metadata, spec: {} });
    assert.equal(spec.gateway.replicas, undefined, 'what was left out can be told from what was set');
    assert.equal(spec.gateway.rebalance.rate, 100);
    assert.equal(spec.gateway.drain.timeout, '5m');
    assert.equal(spec.nats.managed, undefined);
  });

  it('may have fields of a newer version', () => {
    assert.doesNotThrow(() => PushCluster.parse({ metadata, spec: { gateway: { antigravity: true } } }));
  });

  it('is refused where a time or size is out of its range', () => {
    const problem = (spec: object) => Spec.safeParse(spec).error?.issues[0]?.message;
    assert.equal(problem({ gateway: { drain: { timeout: '2h' } } }), 'must be from 1s to 1h');
    assert.equal(problem({ gateway: { batching: { maxBytes: '2MiB' } } }), 'must be from 1KiB to 1MiB');
    assert.equal(problem({ gateway: { batching: { maxBytes: '256Ki', maxDelay: '1.5s' } } }), undefined);
  });
});
