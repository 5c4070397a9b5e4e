import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Question } from '@pushcluster/protocol/control.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import type { ShardAnswer } from '../ipc/messages.ts';
import { Questions } from './questions.ts';

const question = (ask: string): Question => ({ type: 'room', reply: 'r', ask, room: 'x' });
const answer = (ask: string, connections: number): ShardAnswer => ({ type: 'room', ask, connections });

describe('a question to the shards', () => {
  it('is over when all have answered, and once only', () => {
    const clock = new FakeClock();
    const questions = new Questions(clock);
    const ends: [ShardAnswer[], number][] = [];
    questions.ask(
      question('1'),
      () => 2,
      (answers, missing) => ends.push([answers, missing]),
    );
    questions.answered(answer('1', 3));
    assert.equal(ends.length, 0);
    questions.answered(answer('1', 4));
    questions.answered(answer('1', 5));
    clock.advance(10_000);
    assert.deepEqual(ends, [[[answer('1', 3), answer('1', 4)], 0]]);
    assert.equal(clock.timers, 0);
  });

  it('is answered without a shard that keeps silent, which is said', () => {
    const clock = new FakeClock();
    const questions = new Questions(clock);
    const ends: [ShardAnswer[], number][] = [];
    questions.ask(
      question('1'),
      () => 2,
      (answers, missing) => ends.push([answers, missing]),
    );
    questions.answered(answer('1', 3));
    clock.advance(299);
    assert.equal(ends.length, 0);
    clock.advance(1);
    assert.deepEqual(ends, [[[answer('1', 3)], 1]]);
  });

  it('is answered at once where there is no shard', () => {
    const clock = new FakeClock();
    let ends = 0;
    new Questions(clock).ask(
      question('1'),
      () => 0,
      () => ends++,
    );
    assert.equal(ends, 1);
    assert.equal(clock.timers, 0);
  });

  it('is dropped where 1,024 are under way, and where it is asked twice', () => {
    const clock = new FakeClock();
    const questions = new Questions(clock);
    let ends = 0;
    let asked = 0;
    for (let i = 0; i < 1_100; i++)
      questions.ask(
        question(`${i}`),
        () => {
          asked++;
          return 1;
        },
        () => ends++,
      );
    questions.ask(
      question('5'),
      () => assert.fail('asked twice'),
      () => assert.fail('asked twice'),
    );
    assert.equal(asked, 1_024, 'no shard is asked what nobody will answer');
    clock.advance(300);
    assert.equal(ends, 1_024);
    questions.ask(
      question('again'),
      () => 1,
      () => ends++,
    );
    questions.answered(answer('again', 1));
    assert.equal(ends, 1_025);
  });
});
