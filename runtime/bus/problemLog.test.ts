import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../fakeClock.ts';
import { ProblemLog } from './problemLog.ts';

test('a problem is logged at once, then again after 30 s, or at once after it was over', () => {
  const clock = new FakeClock();
  const problems = new ProblemLog(clock);
  const logged: string[] = [];
  const report = (problem: string) => problems.report(problem, () => logged.push(`${problem} at ${clock.now()}`));
  report('a');
  report('b');
  clock.freeze(29_999);
  report('a');
  clock.freeze(1);
  report('a');
  problems.reset();
  report('a');
  assert.deepEqual(logged, ['a at 0', 'b at 0', 'a at 30000', 'a at 30000']);
});
