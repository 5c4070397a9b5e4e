import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ERROR_CATALOGUE } from '@pushcluster/logic/errors/errorCatalogue.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { type Api, startApi, temporaryFolder } from '../harness/api.ts';
import { FakeGateway } from '../harness/fakeGateway.ts';

const PAGE = readFileSync(new URL('../../docs/reference/api.md', import.meta.url), 'utf8');

/** The commands of a part of docs/reference/api.md, each with the answer printed below it. */
function examples(part: string): { command: string; answer: string }[] {
  return Array.from(
    part.matchAll(/```sh\n([\s\S]*?)```\n\n```json\n([\s\S]*?)```/g),
    ([, command = '', answer = '']) => ({
      command,
      answer,
    }),
  );
}

/** @param before called before each command */
async function run(api: Api, part: string, before = () => {}): Promise<number> {
  const found = examples(part);
  for (const { command, answer } of found) {
    before();
    const { stdout } = await promisify(execFile)('bash', ['-c', command.replaceAll(':7799', `:${api.port}`)]);
    assert.deepEqual(JSON.parse(stdout), JSON.parse(answer), command);
  }
  return found.length;
}

const [withoutKeys = '', withKeys = ''] = PAGE.split('\n## API keys\n');

test('the examples of docs/reference/api.md answer as printed', async (t) => {
  const bus = new LocalBus();
  const api = await startApi(t, {}, bus);
  const gateways = [
    new FakeGateway(bus, 'gateway-a', { 'live-42': 700, lobby: 31 }, { alice: 2 }),
    new FakeGateway(bus, 'gateway-b', { 'live-42': 500, quiet: 1, '..': 1 }, {}),
  ];
  // Each time: a busy machine takes longer for all commands than gateways may be silent.
  const report = () => {
    for (const gateway of gateways) gateway.report();
  };
  assert.equal(await run(api, withoutKeys, report), 11);
});

test('the examples with API keys of docs/reference/api.md answer as printed', async (t) => {
  const file = join(temporaryFolder(t), 'key');
  writeFileSync(file, 'old-key\nnew-key\n');
  const api = await startApi(t, { logic: { apiKeys: [{ name: 'comments', file, scope: { rooms: ['live-*'] } }] } });
  assert.equal(await run(api, withKeys), 2);
});

test('docs/reference/api.md lists every error code with its status', () => {
  const listed = Object.fromEntries(
    Array.from(PAGE.matchAll(/^\| `(\w+)` \| (\d{3}) \|/gm), ([, code, status]) => [code, Number(status)]),
  );
  assert.deepEqual(
    listed,
    Object.fromEntries(Object.entries(ERROR_CATALOGUE).map(([code, { status }]) => [code, status])),
  );
});
