import type { Question } from '@pushcluster/protocol/control.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { ShardAnswer } from '../ipc/messages.ts';

/**
 * Milliseconds. A shard answers in one turn of its loop. After this time a question is answered without the shards
 * that did not.
 */
const ANSWER_WITHIN = 300;
/** Questions under way, at most. Others are not answered: the asker sees how many gateways answered. */
const MAX_UNDER_WAY = 1_024;

type UnderWay = { missing: number; answers: ShardAnswer[]; end: () => void };

/** Questions that the shards are answering. */
export class Questions {
  readonly #clock: Clock;
  readonly #underWay = new Map<string, UnderWay>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Asks the shards and calls `then` once, with their answers and the number of those that did not answer in time.
   * @param askShards asks, and returns how many it asked; not called if too many questions are under way
   */
  ask(question: Question, askShards: () => number, then: (answers: ShardAnswer[], missing: number) => void): void {
    if (this.#underWay.size >= MAX_UNDER_WAY || this.#underWay.has(question.ask)) return;
    const answers: ShardAnswer[] = [];
    const end = () => {
      cancel();
      this.#underWay.delete(question.ask);
      then(answers, underWay.missing);
    };
    const underWay: UnderWay = { missing: 0, answers, end };
    this.#underWay.set(question.ask, underWay);
    const cancel = this.#clock.after(ANSWER_WITHIN, end);
    underWay.missing = askShards();
    if (underWay.missing === 0) end();
  }

  answered(answer: ShardAnswer): void {
    const question = this.#underWay.get(answer.ask);
    if (!question) return;
    question.answers.push(answer);
    if (--question.missing === 0) question.end();
  }
}
