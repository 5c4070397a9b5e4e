import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { RULES_FILES } from './rbac.ts';

describe("the operator's rights", () => {
  it('are in the chart as they are here: npm run crd -w @pushcluster/operator', () => {
    for (const [file, text] of RULES_FILES)
      assert.equal(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8'), text, file);
  });
});
