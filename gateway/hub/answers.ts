import type { Answer, Histories, Question } from '@pushcluster/protocol/control.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import type { ShardAnswer } from '../ipc/messages.ts';
import type { GatewayMetrics } from '../metrics/gatewayMetrics.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';
import { publishJson } from './publishJson.ts';
import { Questions } from './questions.ts';
import { RoomList } from './roomList.ts';
import type { ShardHandle } from './shardHandle.ts';

/** Bytes of an answer beside its list, at most. */
const ENVELOPE_BYTES = 1_024;

export type AnswersOptions = {
  gateway: string;
  bus: Bus;
  clock: Clock;
  guard: ExceptionGuard;
  metrics: Pick<GatewayMetrics, 'stats'>;
  shards: () => readonly ShardHandle[];
  /** Rooms with a listener on this gateway. */
  rooms: () => number;
  histories: () => Histories;
  /** Gateways that are there, this one included. */
  gateways: () => number;
};

/** Answers the questions that logic asks all gateways. Most need the shards' answers first. */
export class Answers {
  readonly #options: AnswersOptions;
  readonly #questions: Questions;
  readonly #roomList: RoomList;

  constructor(options: AnswersOptions) {
    const { clock, bus, rooms } = options;
    this.#options = options;
    this.#questions = new Questions(clock);
    this.#roomList = new RoomList({
      clock,
      questions: this.#questions,
      ask: (question) => this.#askShards(question),
      rooms,
      maxBytes: () => bus.maxPayload - ENVELOPE_BYTES,
    });
  }

  /** A shard's answer to a question of this gateway. */
  receive(answer: ShardAnswer): void {
    this.#questions.answered(answer);
  }

  /**
   * Publishes this gateway's answer, now or when the shards have answered. Not at all while the bus is unavailable:
   * the asker counts who answered.
   */
  answer(question: Question): void {
    const { bus, guard, gateway, metrics, shards, histories } = this.#options;
    const reply = (answer: object | string) => publishJson(bus, guard, question.reply, answer);
    const { ask } = question;
    const gateways = this.#options.gateways();
    switch (question.type) {
      case 'stats': {
        // A shard that has just begun to listen has not reported its counts yet.
        const missing = shards().filter(({ listening, counts }) => listening && !counts).length;
        const told = { stats: metrics.stats(), histories: histories() };
        reply({ type: 'stats', ask, gateway, gateways, missing, ...told } satisfies Answer);
        return;
      }
      case 'rooms':
        this.#roomList.ask(question.limit, ({ rooms, total, missing }) => {
          const head = JSON.stringify({ type: 'rooms', ask, gateway, gateways, total, missing } satisfies Omit<
            Extract<Answer, { type: 'rooms' }>,
            'rooms'
          >);
          reply(`${head.slice(0, -1)},"rooms":${rooms}}`);
        });
        return;
      default:
        this.#questions.ask(
          question,
          () => this.#askShards(question),
          (answers, missing) => {
            const connections = sumOf(answers);
            reply({ type: question.type, ask, gateway, gateways, connections, ...(missing > 0 ? { missing } : {}) });
          },
        );
    }
  }

  /** Asks the shards that listen, since others have no connections. Returns how many there are. */
  #askShards(question: Question): number {
    const asked = this.#options.shards().filter((shard) => shard.listening);
    for (const shard of asked) shard.send({ type: 'ask', question });
    return asked.length;
  }
}

function sumOf(answers: readonly ShardAnswer[]): number {
  let sum = 0;
  for (const answer of answers) if (answer.type !== 'rooms') sum += answer.connections;
  return sum;
}
