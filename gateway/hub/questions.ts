import type { Question } from '@pushcluster/protocol/control.ts';
import type { ShardAnswer } from '../wire.ts';
import type { Clock } from './clock.ts';

/** Shards answer in one turn of their loop; a question with a shard that does not is answered without it, milliseconds. */
const ANSWER_WITHIN = 300;
/** Questions under way at most: more are not answered, and the asker sees that. */
const MAX_UNDER_WAY = 1_024;

type UnderWay = { missing: number; answers: ShardAnswer[]; end: () => void };

/** Questions that the shards are answering. */
export class Questions {
  readonly #clock: Clock;
  readonly #underWay = new Map<string, UnderWay>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `then` once with what `shards` shards answered, all of them or those in time. */
  ask(question: Question, shards: number, then: (answers: ShardAnswer[]) => void): void {
    if (this.#underWay.size >= MAX_UNDER_WAY || this.#underWay.has(question.ask)) return;
    const answers: ShardAnswer[] = [];
    const end = () => {
      cancel();
      this.#underWay.delete(question.ask);
      then(answers);
    };
    const cancel = this.#clock.after(ANSWER_WITHIN, end);
    this.#underWay.set(question.ask, { missing: shards, answers, end });
    if (shards === 0) end();
  }

  answered(answer: ShardAnswer): void {
    const question = this.#underWay.get(answer.ask);
    if (!question) return;
    question.answers.push(answer);
    if (--question.missing === 0) question.end();
  }
}
