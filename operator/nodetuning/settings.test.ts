import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseSettings } from './settings.ts';

describe('settings of node tuning', () => {
  it('take what can be set, and leave out what is not said', () => {
    assert.deepEqual(parseSettings('{"sysctls":{"fs.nr_open":2097152,"net.ipv4.tcp_mem":"5% 10% 15%"}}'), {
      sysctls: { 'fs.nr_open': 2_097_152, 'net.ipv4.tcp_mem': '5% 10% 15%' },
      interfaces: [],
    });
  });

  for (const [what, text, message] of [
    ['a sysctl that is none of ours', '{"sysctls":{"kernel.core_pattern":"|/x"}}', /sysctls.*kernel\.core_pattern/],
    ['a misspelt key', '{"sysctl":{}}', /"sysctl"/],
    ['a key of an interface that is unknown', '{"interfaces":[{"name":"eth0","rfs":1}]}', /interfaces 0.*rfs/],
    ['an interface that names a path', '{"interfaces":[{"name":"../x"}]}', /name of an interface/],
    ['a triple of two', '{"sysctls":{"net.ipv4.tcp_wmem":"1 2"}}', /three numbers of bytes/],
    ['a number that no kernel takes', '{"sysctls":{"fs.nr_open":4294967296}}', /fs\.nr_open/],
    ['CPUs that are no list', '{"interfaces":[{"name":"eth0","rps":"all"}]}', /list of CPUs/],
    ['what is not JSON', 'sysctls: {}', /not JSON/],
  ] as const)
    it(`refuse ${what}`, () => assert.throws(() => parseSettings(text), message));
});
