import assert from 'node:assert/strict';
import { test } from 'node:test';
import { importProblems, importsOf } from './check-imports.ts';

const workspaces = new Map([
  ['protocol', { dependencies: ['zod'] }],
  ['runtime', { dependencies: ['nats', 'pino'] }],
  ['gateway', { dependencies: ['uWebSockets.js'] }],
]);

function problems(path: string, specifier: string, ...others: string[]): string[] {
  const files = new Map([
    [path, `import { x } from '${specifier}';\n`],
    ...others.map((other) => [other, ''] as const),
  ]);
  return importProblems(files, workspaces);
}

test('imports that point down the layers pass', () => {
  assert.deepEqual(problems('gateway/hub/room.ts', '@pushcluster/runtime/log.ts'), []);
  assert.deepEqual(problems('standalone/main.ts', '@pushcluster/logic/main.ts'), []);
  assert.deepEqual(problems('runtime/log.ts', 'pino'), []);
  assert.deepEqual(problems('runtime/log.ts', 'node:fs'), []);
  assert.deepEqual(problems('gateway/hub/room.ts', '../ipc/messages.ts', 'gateway/ipc/messages.ts'), []);
});

test('an import that points up the layers is found, with its line', () => {
  const source = "import { a } from './a.ts';\n\nimport {\n  b,\n} from '@pushcluster/gateway/main.ts';\n";
  const files = new Map([
    ['runtime/log.ts', source],
    ['runtime/a.ts', ''],
  ]);
  assert.deepEqual(importProblems(files, workspaces), [
    'runtime/log.ts:3: @pushcluster/gateway/main.ts: runtime may import protocol, not gateway: layers only point down',
  ]);
});

test('gateway and logic do not import each other, types included', () => {
  const files = new Map([['logic/main.ts', "import type { Hub } from '@pushcluster/gateway/hub/hub.ts';\n"]]);
  assert.equal(importProblems(files, workspaces).length, 1);
  assert.equal(problems('gateway/main.ts', '@pushcluster/logic/main.ts').length, 1);
});

test('a relative import that leaves its workspace is found', () => {
  assert.match(
    problems('gateway/main.ts', '../runtime/log.ts', 'runtime/log.ts')[0]!,
    /as @pushcluster\/runtime\/log.ts/,
  );
});

test('the engine is imported by listener.ts alone, and by tests', () => {
  assert.deepEqual(problems('gateway/shard/listener.ts', 'uWebSockets.js'), []);
  assert.match(problems('gateway/shard/connection.ts', 'uWebSockets.js')[0]!, /only gateway\/shard\/listener.ts/);
  assert.match(problems('gateway/shard/connection.test.ts', 'uWebSockets.js')[0]!, /only gateway\/shard\/listener.ts/);
});

test('the NATS client is imported under runtime/bus alone', () => {
  assert.deepEqual(problems('runtime/bus/natsBus.ts', 'nats'), []);
  assert.match(problems('runtime/admin.ts', 'nats')[0]!, /only runtime\/bus\//);
});

test('the SDK takes from the protocol only what needs no package, and nothing of Node', () => {
  assert.deepEqual(problems('client/connection.ts', '@pushcluster/protocol/closeCodes.ts'), []);
  assert.equal(problems('client/connection.ts', '@pushcluster/protocol/settings.ts').length, 1);
  assert.equal(problems('client/connection.ts', 'node:crypto').length, 1);
  assert.equal(problems('client/connection.ts', 'zod').length, 1);
  assert.deepEqual(problems('client/connection.test.ts', 'node:test'), []);
  assert.equal(problems('client/connection.ts', './build.ts', 'client/build.ts').length, 1);
  assert.deepEqual(problems('client/build.ts', 'node:path'), []);
});

test('a package that the workspace does not declare is found', () => {
  assert.match(problems('protocol/units.ts', 'pino')[0]!, /is no dependency in protocol\/package.json/);
  assert.deepEqual(problems('protocol/units.test.ts', 'pino'), []);
  assert.equal(problems('protocol/units.test.ts', 'left-pad').length, 1);
});

test('a circle of imports is found, across workspaces and for types too', () => {
  const files = new Map([
    ['runtime/log.ts', "import type { Hub } from '@pushcluster/gateway/hub/x.ts';\n"],
    ['gateway/hub/x.ts', "import { log } from '@pushcluster/runtime/log.ts';\n"],
    ['gateway/a.ts', "import { b } from './b.ts';\n"],
    ['gateway/b.ts', "import type { A } from './a.ts';\n"],
    ['gateway/c.ts', "import type { A } from './a.ts';\n"],
  ]);
  const circles = importProblems(files, workspaces).filter((problem) => problem.includes('circle'));
  assert.equal(circles.length, 2);
  assert.match(circles[0]!, /^gateway\/a.ts → gateway\/b.ts → gateway\/a.ts: /);
  assert.match(circles[1]!, /^gateway\/hub\/x.ts → runtime\/log.ts → gateway\/hub\/x.ts: /);
});

test('hub and shard do not know each other, and neither their contract nor admission knows them', () => {
  const found = (path: string, target: string) => problems(path, `../${target}`, `gateway/${target}`).length;
  for (const [folder, target] of [
    ['hub', 'shard/channel.ts'],
    ['shard', 'hub/window.ts'],
    ['ipc', 'hub/window.ts'],
    ['ipc', 'shard/channel.ts'],
    ['ipc', 'moves/drain.ts'],
    ['ipc', 'admission/share.ts'],
    ['admission', 'hub/window.ts'],
    ['admission', 'shard/channel.ts'],
  ] as const) {
    assert.equal(found(`gateway/${folder}/x.ts`, target), 1, `${folder} → ${target}`);
    assert.equal(found(`gateway/${folder}/x.test.ts`, target), 0, `a test of ${folder} → ${target}`);
  }
  assert.equal(found('gateway/hub/x.ts', 'ipc/messages.ts'), 0);
  assert.equal(found('gateway/shard/x.ts', 'admission/share.ts'), 0);
});

test('the protocol imports zod and nothing else', () => {
  assert.deepEqual(problems('protocol/units.ts', 'zod'), []);
  assert.equal(problems('protocol/units.ts', 'node:fs').length, 1);
  assert.equal(problems('protocol/units.ts', 'yaml').length, 1);
  assert.deepEqual(problems('protocol/units.test.ts', 'node:test'), []);
});

test('every form of import is seen, and comments are not', () => {
  const source = [
    "import 'a';",
    "import type { B } from 'b';",
    "export * from 'c';",
    "export { d } from 'd';",
    "const e = await import('e');",
    "const f = require('f');",
    "/* import 'no'; */",
    "// import('no')",
    "/**\n * import 'no';\n */",
  ].join('\n');
  assert.deepEqual(
    importsOf(source).map(({ specifier }) => specifier),
    ['a', 'b', 'c', 'd', 'e', 'f'],
  );
});
