import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logLines } from '@pushcluster/test/harness/logLines.ts';
import { openBus } from './openBus.ts';

test('without bus.nats, a process says that it is alone with its pushes', async () => {
  const { log, lines } = logLines();
  const bus = openBus({ prefix: 'pushcluster' }, { log, name: 'gateway' });
  await bus.close();
  assert.deepEqual(
    lines.map(({ level, msg }) => [level, msg]),
    [[40, 'bus.nats is not set: this process sends no push to others and receives none']],
  );
});

test('and says nothing where all are in it', async () => {
  const { log, lines } = logLines();
  await openBus({ prefix: 'pushcluster' }, { log, name: 'pushcluster', together: true }).close();
  assert.deepEqual(lines, []);
});
