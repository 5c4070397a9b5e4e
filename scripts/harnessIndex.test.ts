import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const FOLDER = 'test/harness';

test('the index of the test harness lists each of its files, and nothing else', () => {
  const listed = Array.from(
    readFileSync(`${FOLDER}/README.md`, 'utf8').matchAll(/^\| \[(\S+)\]\((\S+)\) \| .+ \|$/gm),
    ([, name, target]) => {
      assert.equal(name, target);
      return name!;
    },
  );
  // The files in kube/ are the Go modules that tools.ts and goProgram.ts build.
  const files = globSync('{*,cluster/*}.*', { cwd: FOLDER }).filter((file) => file !== 'README.md');
  assert.deepEqual(listed.sort(), files.sort());
});
