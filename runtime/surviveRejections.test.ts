import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

test('a rejected promise that nobody waits for is logged, and the process goes on', () => {
  const source = `
    import { createLog } from '${import.meta.dirname}/log.ts';
    import { surviveRejections } from '${import.meta.dirname}/surviveRejections.ts';
    surviveRejections(createLog('test', 'info'));
    void Promise.reject(new Error('nobody waits'));
    setTimeout(() => console.log('still here'), 1);`;
  const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' });
  assert.equal(status, 0);
  assert.match(stdout, /nobody waits.*goes on/);
  assert.match(stdout, /still here/);
});
