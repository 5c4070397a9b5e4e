import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import fc from 'fast-check';
import { parseSettings, SettingsError } from './parseSettings.ts';
import { SettingsFile, type SettingsFileOptions } from './settingsFile.ts';

function problemsOf(text: string): string[] {
  try {
    parseSettings(text, 'test.yaml');
  } catch (error) {
    assert.ok(error instanceof SettingsError, String(error));
    assert.equal(error.message, error.problems.join('\n'));
    return [...error.problems];
  }
  return [];
}

describe('reading settings', () => {
  test('YAML and JSON read alike, and nothing is all defaults', () => {
    const yaml = parseSettings('gateway:\n  batching:\n    maxDelay: 250ms # often\n', 'a.yaml');
    const json = parseSettings('{"gateway":{"batching":{"maxDelay":"250ms"}}}', 'a.json');
    assert.equal(yaml.gateway.batching.maxDelay, 250);
    assert.deepEqual(json, yaml);
    assert.deepEqual(parseSettings('', 'a'), parseSettings('{}', 'a'));
    assert.deepEqual(parseSettings('# nothing yet\n', 'a'), parseSettings('{}', 'a'));
  });

  test('an unknown key is refused with the nearest right name at its place', () => {
    assert.deepEqual(problemsOf('gateway: {batchng: {}}'), ['gateway.batchng: unknown key, did you mean "batching"?']);
    assert.deepEqual(problemsOf('gatway: {}'), ['gatway: unknown key, did you mean "gateway"?']);
    assert.deepEqual(problemsOf('gateway: {batching: {maxdelay: 1}}'), [
      'gateway.batching.maxdelay: unknown key, did you mean "maxDelay"?',
    ]);
    assert.deepEqual(problemsOf('rooms: [{match: a}, {macth: b, match: b}]'), [
      'rooms.1.macth: unknown key, did you mean "match"?',
    ]);
    assert.deepEqual(
      problemsOf('bus: {nats: {servers: [a], urls: b}}')[0]?.startsWith('bus.nats.urls: unknown key'),
      true,
    );
    assert.deepEqual(problemsOf('log: {format: json}'), ['log.format: unknown key; known keys: level']);
  });

  test('every problem is told at once, a line each, with its place and what is wanted', () => {
    const text = `
gateway:
  host: 5
  port: 70000
  shards: none
  batching: {maxDelay: soon, maxItems: 0}
  slowConsumer: {policy: skp}
  drain: 5
logic: {apiKeys: [{name: '', file: x}]}
rooms: {}
log: {level: loud}
`;
    assert.deepEqual(problemsOf(text), [
      'gateway.host: must be a string, is 5',
      'gateway.port: must be at most 65535',
      'gateway.shards: must be "auto" or a number, is "none"',
      'gateway.batching.maxDelay: must be a time such as "500ms", "1s" or "2m"',
      'gateway.batching.maxItems: must be at least 1',
      'gateway.slowConsumer.policy: must be "skip" or "close", is "skp"',
      'gateway.drain: must be an object, is 5',
      'logic.apiKeys.0.name: must not be empty',
      'rooms: must be an array, is an object',
      'log.level: must be "debug" or "info" or "warn" or "error", is "loud"',
    ]);
  });

  test('text that is no YAML is refused with its line', () => {
    assert.match(problemsOf('gateway:\n  port: 1\n  port: 2\n')[0]!, /^test\.yaml: .*unique.* line 3, column 3$/);
    assert.match(problemsOf('gateway: [')[0]!, /^test\.yaml: .* line 1/);
    assert.match(problemsOf('a: 1\n---\nb: 2\n')[0]!, /^test\.yaml: /);
    assert.match(problemsOf('gateway: !secret x')[0]!, /^test\.yaml: Unresolved tag/);
    assert.deepEqual(problemsOf('5'), ['the file: must be an object, is 5']);
    assert.deepEqual(problemsOf('[]'), ['the file: must be an object, is an array']);
  });

  test('aliases that would grow without end are refused', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
    for (const [from, to] of ['ab', 'bc', 'cd', 'de', 'ef', 'fg'])
      bomb.push(`${to}: &${to} [*${from},*${from},*${from},*${from},*${from},*${from},*${from},*${from},*${from}]`);
    assert.match(problemsOf(bomb.join('\n'))[0]!, /alias/i);
  });

  test('no text makes it throw anything but a SettingsError, one problem a line', () => {
    const words = fc.constantFrom(
      'gateway',
      'port',
      ':',
      ': ',
      '\n',
      '\n  ',
      '- ',
      '{',
      '}',
      '[',
      ']',
      '&a',
      '*a',
      '|',
      '"',
      "'",
      '5',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(words).map((parts) => parts.join('')),
      fc.json(),
    );
    fc.assert(
      fc.property(text, (each) => {
        for (const problem of problemsOf(each)) assert.ok(!problem.includes('\n'), problem);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a settings file', () => {
  let folder: string;
  let path: string;
  let file: SettingsFile | undefined;
  let changes: { current: Settings; previous: Settings }[];
  let refusals: string[];
  let pendings: string[][];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'settings-'));
    path = join(folder, 'config.yaml');
    changes = [];
    refusals = [];
    pendings = [];
  });
  afterEach(() => {
    file?.close();
    rmSync(folder, { recursive: true });
  });

  function open(content: string, options: SettingsFileOptions = {}): SettingsFile {
    writeFileSync(path, content);
    file = SettingsFile.open(path, { pollInterval: 5, ...options });
    file.onChange((current, previous) => changes.push({ current, previous }));
    file.onRefused((error) => refusals.push(error.message));
    file.onPending((keys) => pendings.push(keys));
    return file;
  }

  test('that changes counts at once, with one generation more', async () => {
    const settings = open('gateway: {batching: {maxDelay: 1s}}');
    assert.equal(settings.generation, 1);
    const before = settings.current;
    writeFileSync(path, 'gateway: {batching: {maxDelay: 2s}}');
    await until('the change counts', () => changes.length > 0);
    assert.equal(settings.current.gateway.batching.maxDelay, 2_000);
    assert.equal(changes[0]?.current, settings.current);
    assert.equal(changes[0]?.previous, before);
    assert.equal(before.gateway.batching.maxDelay, 1_000);
    assert.equal(settings.generation, 2);
    assert.deepEqual([refusals, pendings], [[], []]);
  });

  test('tells its own generation where it has one', async () => {
    const settings = open('generation: 41');
    assert.equal(settings.generation, 41);
    writeFileSync(path, 'generation: 42');
    await until('the change counts', () => changes.length > 0);
    assert.equal(settings.generation, 42);
  });

  test('that becomes wrong is refused whole: nothing of it counts', async () => {
    const settings = open('gateway: {batching: {maxDelay: 1s, maxItems: 10}}');
    const before = settings.current;
    writeFileSync(path, 'gateway: {batching: {maxDelay: 2s, maxItms: 20}}');
    await until('it is refused', () => refusals.length > 0);
    assert.deepEqual(refusals, ['gateway.batching.maxItms: unknown key, did you mean "maxItems"?']);
    assert.equal(settings.current, before);
    assert.equal(settings.generation, 1);
    writeFileSync(path, 'gateway: {batching: {maxDelay: 2s, maxItems: 20}}');
    await until('the repaired file counts', () => changes.length > 0);
    assert.equal(settings.current.gateway.batching.maxItems, 20);
    assert.equal(settings.generation, 2);
    assert.equal(refusals.length, 1);
  });

  test('that vanishes leaves the settings as they are', async () => {
    const settings = open('gateway: {batching: {maxDelay: 2s}}');
    rmSync(path);
    await until('it is told', () => refusals.length > 0);
    assert.deepEqual(refusals, [`${path} does not exist: the previous settings stay in effect`]);
    assert.equal(settings.current.gateway.batching.maxDelay, 2_000);
  });

  test('tells which text counts, and why the present one does not, until it does', async () => {
    const text = 'gateway: {batching: {maxDelay: 2s}}';
    const digest = createHash('sha256').update(text).digest('hex');
    const settings = open(text);
    assert.deepEqual([settings.digest, settings.refused], [digest, undefined]);
    rmSync(path);
    await until('it is told', () => settings.refused !== undefined);
    writeFileSync(path, text);
    await until('the same text is back', () => settings.refused === undefined);
    writeFileSync(path, 'wrong: 1');
    await until('it is refused', () => settings.refused !== undefined);
    assert.equal(settings.digest, digest);
    const refusal = settings.refused;
    rmSync(path);
    await until('the loss is told', () => settings.refused !== refusal);
    writeFileSync(path, 'wrong: 1');
    await until('it is refused again', () => /unknown key/.test(settings.refused?.message ?? ''));
    writeFileSync(path, text);
    await until('it counts again', () => settings.refused === undefined);
    assert.equal(settings.digest, digest);
  });

  test('changes what can change live, and tells what waits for the next start', async () => {
    const settings = open('gateway: {port: 7000}');
    writeFileSync(
      path,
      'gateway: {port: 7001, tls: {certFile: c, keyFile: k}, batching: {maxDelay: 2s}}\nbus: {prefix: x}',
    );
    await until('the change counts', () => changes.length > 0);
    assert.equal(settings.current.gateway.port, 7_000);
    assert.equal('tls' in settings.current.gateway, false);
    assert.equal(settings.current.bus.prefix, 'pushcluster');
    assert.equal(settings.current.gateway.batching.maxDelay, 2_000);
    assert.deepEqual(pendings, [['gateway.port', 'gateway.tls', 'bus']]);
    assert.deepEqual(settings.pending, ['gateway.port', 'gateway.tls', 'bus']);
    writeFileSync(path, 'gateway: {port: 7000}');
    await until('the way back counts', () => changes.length > 1);
    assert.deepEqual(settings.pending, []);
    assert.deepEqual(pendings.at(-1), []);
  });

  test('is refused where a live key does not fit a key that stays', async () => {
    const settings = open('{}');
    writeFileSync(path, 'gateway: {slowConsumer: {maxBuffer: 4MiB}, batching: {maxBytes: 1MiB}}');
    await until('it is refused', () => refusals.length > 0);
    assert.match(
      refusals[0]!,
      /^gateway\.slowConsumer\.maxBuffer: must hold two full frames: .*these settings keep their values until the next start: gateway\.slowConsumer\.maxBuffer$/,
    );
    assert.equal(settings.current.gateway.batching.maxBytes, 262_144);
  });

  test('is overridden before it counts, at every reload', async () => {
    const override = (settings: Settings): Settings => ({
      ...settings,
      gateway: { ...settings.gateway, host: '127.0.0.1' },
    });
    const settings = open('gateway: {host: 10.0.0.1}', { override });
    assert.equal(settings.current.gateway.host, '127.0.0.1');
    writeFileSync(path, 'gateway: {host: 10.0.0.2, batching: {maxDelay: 2s}}');
    await until('the change counts', () => changes.length > 0);
    assert.equal(settings.current.gateway.host, '127.0.0.1');
    assert.deepEqual(settings.pending, []);
  });

  test('an override that refuses is a SettingsError like any other', () => {
    const override = (): Settings => {
      throw new Error('PORT must be a port, is "x"');
    };
    assert.throws(() => open('{}', { override }), { name: 'SettingsError', message: 'PORT must be a port, is "x"' });
    assert.throws(() => SettingsFile.open(undefined, { override }), SettingsError);
  });

  test('can not be changed by who reads it', () => {
    const { current } = open('rooms: [{match: a}]');
    assert.throws(() => {
      current.rooms[0]!.match = 'b';
    }, TypeError);
  });

  test('that is wrong or missing at the start is a SettingsError', () => {
    assert.throws(() => open('nonsense: 1'), SettingsError);
    assert.throws(() => SettingsFile.open(join(folder, 'none')), {
      name: 'SettingsError',
      message: `${join(folder, 'none')} does not exist`,
    });
  });

  test('without a path all is default', () => {
    const settings = SettingsFile.open(undefined);
    assert.deepEqual(settings.current, parseSettings('', 'x'));
    assert.equal(settings.generation, 1);
    settings.close();
  });
});
