import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { clusterOf, contextOf } from './fixture.ts';
import { generated, secrets } from './secrets.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const text = (data: string | undefined) => Buffer.from(data ?? '', 'base64').toString('utf8');

function made(cluster = clusterOf(), context = contextOf()) {
  return new Map(
    secrets(cluster, generated(cluster, context)).map(({ metadata, data }) => [metadata.name, data ?? {}]),
  );
}

describe('Secrets', () => {
  it('hold random values, each another', () => {
    const { rotation, ...texts } = generated(clusterOf(), contextOf());
    assert.equal(rotation, undefined);
    const values = Object.values(texts);
    assert.equal(new Set(values).size, values.length);
    for (const value of values) assert.match(value, /^[A-Za-z0-9_-]{32}$/);
  });

  it('keep what they hold: a second look makes the same Secrets', () => {
    const first = made();
    const never = () => assert.fail('a random value was asked for');
    assert.deepEqual(made(clusterOf(), contextOf({ secrets: first, random: never })), first);
  });

  it('keep a value that somebody else has put there, and the servers follow it', () => {
    const existing = new Map([['live-nats-gateway', { password: base64('s3"cret') }]]);
    const after = made(clusterOf(), contextOf({ secrets: existing }));
    assert.equal(text(after.get('live-nats-gateway')?.password), 's3"cret');
    assert.match(text(after.get('live-nats-server')?.['nats.conf']), /"user":"gateway","password":"s3\\"cret"/);
  });

  it('get a value in place of one that was emptied', () => {
    const existing = new Map([['live-api-key', { key: base64('\n') }]]);
    assert.match(text(made(clusterOf(), contextOf({ secrets: existing })).get('live-api-key')?.key), /^\S{32}$/);
  });

  it('are for one role each: no gateway sees the password of logic', () => {
    const logic = text(made().get('live-nats-logic')?.password);
    assert.ok(logic.length > 0);
    for (const [name, data] of made())
      if (!['live-nats-logic', 'live-nats-server'].includes(name))
        assert.ok(
          Object.values(data).every((value) => !text(value).includes(logic)),
          name,
        );
  });

  it('have no generated API key where keys are given', () => {
    const apiKeys = [{ name: 'k', secretRef: { name: 's' } }];
    assert.deepEqual(
      [...made(clusterOf({ logic: { apiKeys } })).keys()],
      ['live-nats-gateway', 'live-nats-logic', 'live-nats-server'],
    );
  });

  it('have no passwords of NATS where it is given by URL', () => {
    const cluster = clusterOf({ nats: { url: 'nats://n:4222', prefix: 'p' } });
    assert.deepEqual([...made(cluster).keys()], ['live-api-key']);
  });
});
