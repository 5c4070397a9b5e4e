import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { NodeTuningSettings, parseNodeTuningSettings } from './nodeTuningSettings.ts';

const CHART = new URL('../../charts/pushcluster/', import.meta.url);
const Values = z.object({ nodeTuning: z.object({ sysctls: z.unknown(), interfaces: z.unknown() }) });
/** What a JSON schema takes, as far as keys go. */
const Keys: z.ZodType<unknown> = z.lazy(() =>
  z
    .object({
      properties: z.record(z.string(), Keys).optional(),
      items: Keys.optional(),
      additionalProperties: z.literal(false).optional(),
    })
    .transform((schema) => ((schema.items ?? schema.properties) ? { ...schema } : {})),
);

describe('settings of node tuning', () => {
  it('take what can be set, and leave out what is not said', () => {
    assert.deepEqual(parseNodeTuningSettings('{"sysctls":{"fs.nr_open":2097152,"net.ipv4.tcp_mem":"5% 10% 15%"}}'), {
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
    ['what is not JSON', 'sysctls: {}', /not valid JSON/],
  ] as const)
    it(`refuse ${what}`, () => assert.throws(() => parseNodeTuningSettings(text), message));

  it("are what the chart's values have, and their schema takes the same keys", () => {
    const text = (file: string) => readFileSync(new URL(file, CHART), 'utf8');
    const { sysctls, interfaces } = Values.parse(parse(text('values.yaml'))).nodeTuning;
    assert.doesNotThrow(() => parseNodeTuningSettings(JSON.stringify({ sysctls, interfaces })));
    const schema = z
      .object({ properties: z.object({ nodeTuning: z.object({ properties: z.record(z.string(), Keys) }) }) })
      .parse(JSON.parse(text('values.schema.json')));
    const own = z
      .object({ properties: z.record(z.string(), Keys) })
      .parse(z.toJSONSchema(NodeTuningSettings, { io: 'input' }));
    for (const key of ['sysctls', 'interfaces'])
      assert.deepEqual(schema.properties.nodeTuning.properties[key], own.properties[key]);
  });
});
