import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { STATIC_KEYS } from '@pushcluster/protocol/staticSettings.ts';
import { structural } from '../api/crd.ts';
import { Spec } from '../api/pushCluster.ts';
import { CHANGES, CHANGES_FILE, changesText, effectsOf } from './changesPage.ts';
import { fields } from './pushClusterPage.ts';

const effect = (field: string) => effectsOf(CHANGES.find((change) => change.field === field)!);

describe('the table of what changes do', () => {
  it('is checked in as the operator does it: npm run crd -w @pushcluster/operator', () => {
    assert.equal(readFileSync(new URL(`../../${CHANGES_FILE}`, import.meta.url), 'utf8'), changesText());
  });

  it('has every field of the spec', () => {
    const all = Object.entries(structural(Spec).properties ?? {}).flatMap(([name, schema]) => fields(schema, name));
    assert.deepEqual(CHANGES.map(({ field }) => field).sort(), all.map(({ path }) => path).sort());
  });

  it('has no field whose change does nothing', () => {
    for (const change of CHANGES) assert.notDeepEqual(effectsOf(change), [], change.field);
  });

  it('rolls out pods for the fields whose description, or that of their group, says so, and for no other', () => {
    for (const change of CHANGES) {
      let schema = structural(Spec);
      const descriptions = change.field.split('.').map((part) => {
        const property = schema.properties?.[part.replace('[]', '')];
        assert.ok(property, change.field);
        schema = part.endsWith('[]') ? property.items! : property;
        return property.description ?? '';
      });
      const rollsOut = effectsOf(change).some((each) => each === 'gateways' || each === 'logic' || each === 'nats');
      assert.equal(/rolls out|restarts the servers/.test(descriptions.join(' ')), rollsOut, change.field);
    }
  });

  it('says what becomes of stored pushes for each field of histories and of where they are', () => {
    const [, section = ''] = changesText().split('\n## Stored pushes\n');
    const fields = CHANGES.map(({ field }) => field).filter((field) =>
      /^(rooms\[\]\.(match|history)|history\.storage|nats\.(prefix|url)$|nats\.managed\.(replicas|jetstream))/.test(
        field,
      ),
    );
    assert.ok(fields.length > 10);
    for (const field of fields) assert.ok(section.includes(`\`${field}\``), field);
  });

  it('changes windows, limits, policies of rooms and origins without moving anybody', () => {
    const live = CHANGES.filter(({ field }) =>
      /^(gateway\.(connections|rooms)|rooms\[|auth\.(anonymous|allowedOrigins)|gateway\.batching\.max|gateway\.drain\.rate)/.test(
        field,
      ),
    );
    assert.ok(live.length > 15);
    for (const change of live) assert.deepEqual(effectsOf(change), ['live'], change.field);
  });

  it('replaces the pods of a role for settings that they read only at their start, and nothing else', () => {
    for (const { field } of CHANGES)
      if (STATIC_KEYS.some((key) => key === field))
        assert.deepEqual(effect(field), [field.startsWith('logic.') ? 'logic' : 'gateways'], field);
  });

  it('moves nobody for anything about logic', () => {
    for (const change of CHANGES)
      if (/^(logic\.|image\.logic)/.test(change.field))
        assert.ok(!effectsOf(change).includes('gateways'), change.field);
  });

  it('moves nobody when managed NATS gets more servers', () => {
    assert.deepEqual(effect('nats.managed.replicas'), ['natsScale', 'nats']);
  });
});
