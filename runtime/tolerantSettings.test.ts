import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SETTINGS_MARK } from '@pushcluster/protocol/settingsMark.ts';
import { checkSettings, SettingsError } from './parseSettings.ts';
import { readSettings } from './tolerantSettings.ts';

const DEFAULTS = checkSettings({});

/** What a process reads from the operator's file. */
const read = (settings: object) => readSettings(`${SETTINGS_MARK}\n${JSON.stringify(settings)}`, 'settings.yaml');

function problemsOf(settings: object): readonly string[] {
  try {
    read(settings);
  } catch (error) {
    assert.ok(error instanceof SettingsError, String(error));
    return error.problems;
  }
  return [];
}

describe('the settings file of an operator of another version', () => {
  it('is read whole where this version knows everything', () => {
    assert.deepEqual(read({ gateway: { drain: { rate: 7 } } }), {
      settings: checkSettings({ gateway: { drain: { rate: 7 } } }),
      ignored: [],
    });
  });

  it('may have unknown keys anywhere: they are ignored, and the rest counts', () => {
    const { settings, ignored } = read({
      archive: { size: '1GiB' },
      gateway: { drain: { rate: 7, order: 'newest' }, mirror: true },
      rooms: [
        { match: 'a', archive: { messages: 9 } },
        { match: '*', batching: { maxDelay: '0s', idleDelay: '0s' } },
      ],
    });
    assert.deepEqual(
      settings,
      checkSettings({
        gateway: { drain: { rate: 7 } },
        rooms: [{ match: 'a' }, { match: '*', batching: { maxDelay: '0s' } }],
      }),
    );
    assert.deepEqual(ignored.toSorted(), [
      'archive: unknown key',
      'gateway.drain.order: unknown key',
      'gateway.mirror: unknown key',
      'rooms.0.archive: unknown key',
      'rooms.1.batching.idleDelay: unknown key',
    ]);
  });

  it('may have values that this version does not accept: their defaults apply', () => {
    const { settings, ignored } = read({
      gateway: { drain: { rate: 7, timeout: '3h' }, slowConsumer: { policy: 'spill' }, shards: { perCore: 2 } },
      rooms: [
        { match: 'a', overload: { maxRate: 9, policy: 'thin' } },
        { match: 'b', overload: { maxRate: 'auto' } },
      ],
    });
    assert.deepEqual(
      settings,
      checkSettings({
        gateway: { drain: { rate: 7 } },
        rooms: [{ match: 'a', overload: { maxRate: 9 } }, { match: 'b' }],
      }),
    );
    assert.equal(ignored.length, 6);
    assert.ok(ignored.includes('gateway.slowConsumer.policy: must be "skip" or "close", is "spill"'), String(ignored));
  });

  it('is refused where a default would let in more, or leave the process on its own', () => {
    const refused: [object, string][] = [
      [{ auth: { jwt: { secretFile: 's', claims: {} } } }, 'auth.jwt.claims'],
      [{ auth: { allowedOrigins: ['regex:^https'] } }, 'auth.allowedOrigins.0'],
      [{ bus: { nats: { servers: ['n'], compression: true } } }, 'bus.nats.compression'],
      [{ gateway: { tls: { certFile: 'c', keyFile: 'k', clientCaFile: 'a' } } }, 'gateway.tls.clientCaFile'],
      [{ logic: { tls: { certFile: 'c', keyFile: 'k', clientCaFile: 'a' } } }, 'logic.tls.clientCaFile'],
      [{ gateway: { proxyProtocol: 'v2' } }, 'gateway.proxyProtocol'],
      [{ logic: { apiKeys: [{ name: 'k', file: 'f', scope: { except: ['a'] } }] } }, 'logic.apiKeys.0.scope.except'],
      [{ gateway: 'all' }, 'gateway'],
    ];
    for (const [settings, key] of refused) {
      const problems = problemsOf(settings);
      assert.ok(problems[0]?.startsWith(`${key}: `), `${key}: ${problems}`);
    }
  });

  it('is refused where an entry of a list could only be left out: the next one would match instead', () => {
    assert.match(problemsOf({ rooms: [{ match: { regex: 'a' } }] })[0] ?? '', /^rooms\.0\.match: /);
  });

  it('is refused where two values do not fit together', () => {
    const wide = { batching: { maxBytes: '1MiB' }, slowConsumer: { maxBuffer: '1MiB' } };
    assert.match(problemsOf({ gateway: wide })[0] ?? '', /slowConsumer\.maxBuffer: must hold two full frames/);
  });

  it('is not ours where a person wrote it: a misspelt key is refused with the nearest one', () => {
    assert.throws(
      () => readSettings('gateway: {batchng: {}}', 'settings.yaml'),
      (error) => error instanceof SettingsError && /did you mean "batching"/.test(error.message),
    );
    assert.deepEqual(readSettings('{}', 'settings.yaml'), { settings: DEFAULTS, ignored: [] });
  });

  it('is refused where it is not YAML', () => {
    assert.throws(() => readSettings(`${SETTINGS_MARK}\n{`, 'settings.yaml'), SettingsError);
  });
});
