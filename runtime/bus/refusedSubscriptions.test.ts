import assert from 'node:assert/strict';
import { beforeEach, it, mock } from 'node:test';
import { RefusedSubscriptions } from './refusedSubscriptions.ts';

type Connection = { whenSubscribed(callback: () => void): void };

let connection: Connection | 'busy' | undefined;
let answers: (() => void)[];
let attempts: number[];
let refused: RefusedSubscriptions<Connection>;

const subscription = (number: number) => ({ attach: () => void attempts.push(number) });

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
  connection = { whenSubscribed: (callback) => answers.push(callback) };
  answers = [];
  attempts = [];
  refused = new RefusedSubscriptions(() => connection);
});

it('requests some again after a second, and twice as many each time while none is refused', () => {
  for (let number = 0; number < 30; number++) assert.equal(refused.add(subscription(number)), true);
  const rounds: number[] = [];
  for (let round = 0; round < 3; round++) {
    mock.timers.tick(999);
    assert.deepEqual(attempts, []);
    mock.timers.tick(1);
    rounds.push(attempts.splice(0).length);
    for (const answer of answers.splice(0)) answer();
  }
  assert.deepEqual(rounds, [8, 16, 30]);
});

it('tries one after the other, and begins with few again after a refusal', () => {
  const all = Array.from({ length: 20 }, (_, number) => subscription(number));
  for (const each of all) refused.add(each);
  mock.timers.tick(1_000);
  assert.deepEqual(attempts.splice(0), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.equal(refused.add(all[0]!), false, 'it was refused before');
  mock.timers.tick(1_000);
  assert.deepEqual(attempts, [8, 9, 10, 11, 12, 13, 14, 15]);
});

it('waits while another connection takes over, and ends without a connection or with the last refused one', () => {
  const one = subscription(1);
  refused.add(one);
  const present = connection;
  connection = 'busy';
  mock.timers.tick(1_000);
  assert.deepEqual(attempts, []);
  connection = present;
  mock.timers.tick(1_000);
  assert.deepEqual(attempts, [1]);
  assert.equal(refused.delete(one), true);
  assert.equal(refused.delete(one), false);
  for (const answer of answers.splice(0)) answer();
  mock.timers.tick(10_000);
  assert.deepEqual([attempts.length, refused.size], [1, 0]);
});
