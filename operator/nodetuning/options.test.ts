import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { nodeTuningOptions } from './options.ts';

const ENVIRONMENT = { DAEMON_SET: 'tuning', NODE_NAME: 'node1', SETTINGS: '{"sysctls":{"fs.nr_open":1}}' };

describe('options of node tuning', () => {
  it('come from the environment, and from the command line before it', () => {
    const options = nodeTuningOptions(['tune', '--node', 'node2'], { ...ENVIRONMENT, RETRY: '5' });
    assert.ok(options?.command === 'tune');
    assert.equal(options.node, 'node2');
    assert.equal(options.daemonSet, 'tuning');
    assert.equal(options.retry, 5_000);
    assert.deepEqual(options.settings, { sysctls: { 'fs.nr_open': 1 }, interfaces: [] });
  });

  it('are few where the DaemonSet is to be removed', () => {
    const options = nodeTuningOptions(['remove'], { DAEMON_SET: 'tuning' });
    assert.deepEqual(options, { command: 'remove', daemonSet: 'tuning', logLevel: 'info' });
  });

  it('are none where help is asked for', () => {
    assert.equal(nodeTuningOptions(['--help'], {}), undefined);
  });

  for (const [what, args, environment, message] of [
    ['a command that is none', ['restore'], ENVIRONMENT, /"restore" is not a command: use tune or remove/],
    ['an option that is none', ['--nodes', 'x'], ENVIRONMENT, /--nodes/],
    ['no DaemonSet', ['tune'], { NODE_NAME: 'n', SETTINGS: '{}' }, /--daemon-set \(or DAEMON_SET\): is required/],
    ['no node', ['tune'], { DAEMON_SET: 'd', SETTINGS: '{}' }, /--node \(or NODE_NAME\): is required/],
    ['settings that are wrong', ['tune'], { ...ENVIRONMENT, SETTINGS: '{"sysctl":{}}' }, /"sysctl"/],
  ] as const)
    it(`are refused with ${what}`, () => assert.throws(() => nodeTuningOptions(args, environment), message));
});
