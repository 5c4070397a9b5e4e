import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { valueAt } from '@pushcluster/runtime/valueAt.ts';
import { z } from 'zod';
import { clusterOf } from '../pushcluster/desired/fixture.ts';
import { settingsOf } from '../pushcluster/desired/settingsConfigMap.ts';
import { CHANGES } from './changesPage.ts';

/** Settings whose field has another name, or several. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  'gateway.tls': ['gateway.service.tls.secretName'],
  'gateway.proxyProtocol': ['gateway.service.proxyProtocol'],
  'gateway.forwardedHeaders': ['gateway.service.forwardedHeaders'],
  'logic.tls': ['logic.service.tls.secretName'],
  'logic.apiKeys': ['logic.apiKeys[].name'],
  rooms: ['rooms[].match'],
  'auth.jwt.secretFile': ['auth.jwt.secretRef.name'],
  'auth.jwt.jwksFile': ['auth.jwt.jwksFrom.secretRef.name', 'auth.jwt.jwksFrom.configMapRef.name'],
  'auth.jwt.jwksCaFile': ['auth.jwt.jwksCaFrom.secretRef.name', 'auth.jwt.jwksCaFrom.configMapRef.name'],
  'bus.prefix': ['nats.prefix'],
  'bus.nats.servers': ['nats.url'],
  'bus.nats.user': ['nats.credentials.gateway.user', 'nats.credentials.logic.user'],
  'bus.nats.passwordFile': ['nats.credentials.gateway.type', 'nats.credentials.logic.type'],
  'bus.nats.tokenFile': ['nats.credentials.gateway.type', 'nats.credentials.logic.type'],
  'bus.nats.nkeyFile': ['nats.credentials.gateway.type', 'nats.credentials.logic.type'],
  'bus.nats.credsFile': ['nats.credentials.gateway.type', 'nats.credentials.logic.type'],
  'bus.nats.tls': [
    'nats.managed.tls.enabled',
    'nats.caSecretRef.name',
    'nats.certificates.gateway.secretName',
    'nats.certificates.logic.secretName',
  ],
};

/** Settings without a field, and why. `docs/reference/settings.md` names them. */
const WITHOUT: Readonly<Record<string, string>> = {
  generation: 'it is that of the PushCluster',
  'gateway.host': 'pods listen on all addresses',
  'gateway.port': 'Services, probes and NetworkPolicies know the port',
  'gateway.drain.file': 'the operator drains by it',
  'gateway.shardWatch': 'its defaults fit every size of gateway',
  'logic.host': 'pods listen on all addresses',
  'logic.port': 'Services, probes and NetworkPolicies know the port',
  'logic.drain': 'its defaults fit the grace period of the pods',
  'bus.nats.pingInterval': 'its default fits every cluster',
  admin: 'probes and the operator know the port',
};

/** The changes of a credential's type are to others. */
const UNTRIED = 'bus.nats.nkeyFile';

/** The place of each key in the file; lists, and sections that are a value of their own, as a whole. */
function keysOf(schema: z.core.$ZodType, path: string): string[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)
    return keysOf(schema.unwrap(), path);
  if (!(schema instanceof z.ZodObject) || path in WITHOUT || path in ELSEWHERE) return [path];
  return Object.entries(schema.shape).flatMap(([key, each]) => keysOf(each, path === '' ? key : `${path}.${key}`));
}

const KEYS = keysOf(Settings, '');

/** The value of a setting in the files of gateways and logic. */
function written(spec: object, key: string): unknown[] {
  return (['gateway', 'logic'] as const).map((role) => valueAt(settingsOf(clusterOf(spec), role), key.split('.')));
}

describe('each setting', () => {
  it('is set by a field of the PushCluster, or has none for a reason', () => {
    for (const key of KEYS) {
      if (key in WITHOUT) continue;
      for (const field of ELSEWHERE[key] ?? [key]) {
        const change = CHANGES.find((each) => each.field === field);
        assert.ok(change, `${key}: there is no field ${field}`);
        // A reference sets only whether there is a file.
        const isChanged = [change.before ?? {}, change.after].some((spec) =>
          written(spec, key).some((value, role) => JSON.stringify(value) !== JSON.stringify(written({}, key)[role])),
        );
        assert.ok(isChanged || key === UNTRIED, `${key} does not follow ${field}`);
      }
    }
  });

  it('that has no field is named where users look for it', () => {
    const page = readFileSync(new URL('../../docs/reference/settings.md', import.meta.url), 'utf8');
    for (const key of Object.keys(WITHOUT)) {
      assert.ok(KEYS.includes(key), `${key} is no setting`);
      assert.ok(page.includes(`| \`${key}\` |`), `${key} is not in the table of docs/reference/settings.md`);
    }
  });
});
