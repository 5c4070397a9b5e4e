import assert from 'node:assert/strict';
import { it } from 'node:test';
import { pageFiles } from './pageFiles.ts';

it('all requests for a file of the page share its bytes: a client that reads nothing holds no copies', async () => {
  const files = [...pageFiles().values()];
  assert.equal(files.length, 5);
  for (const { read } of files) {
    const [one, two] = await Promise.all([read(), read()]);
    assert.ok(one.length > 100);
    assert.equal(one, two);
    assert.equal(await read(), one);
  }
});
