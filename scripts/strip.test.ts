import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { javaScriptOf, strip } from './strip.ts';

describe('sources as JavaScript', () => {
  it('have no types, and everything at its old place', () => {
    assert.equal(javaScriptOf('const a: number = 1; f<string>(a);'), 'const a         = 1; f        (a);');
  });

  it('name each other by their new names, in imports and in URLs', () => {
    assert.equal(
      javaScriptOf(
        "import { a } from './a.ts'; export * from '@pushcluster/protocol/frames.ts'; new URL('../shard/main.ts', u);",
      ),
      "import { a } from './a.js'; export * from '@pushcluster/protocol/frames.js'; new URL('../shard/main.js', u);",
    );
  });

  it('leave other strings and other packages alone', () => {
    const source = "import 'package/file.ts'; f('main.ts', 'see ./main.ts');";
    assert.equal(javaScriptOf(source), source);
  });

  it('come without tests, and with the files beside them', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pushcluster-strip-'));
    try {
      mkdirSync(join(folder, 'in', 'page'), { recursive: true });
      for (const file of ['a.ts', 'a.test.ts', 'page/index.html', 'page/x.d.ts'])
        writeFileSync(join(folder, 'in', file), '');
      strip(join(folder, 'in'), join(folder, 'out'));
      assert.deepEqual(readdirSync(join(folder, 'out'), { recursive: true }).sort(), [
        'a.js',
        'page',
        'page/index.html',
      ]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
