import { MAX_ROOMS_ANSWERED, type Question } from '@pushcluster/protocol/control.ts';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import { FullestRooms, jsonWithin, MAX_LIST_BYTES } from '../ipc/fullestRooms.ts';
import type { ShardAnswer } from '../ipc/messages.ts';
import type { Questions } from './questions.ts';

/** One list serves all questions within this time, milliseconds. */
const SHARED_MS = 1_000;
/** Questions that wait for a list, at most. Others are not answered: the asker sees how many gateways answered. */
const MAX_WAITING = 1_024;

export type RoomListOptions = {
  clock: Clock;
  questions: Questions;
  /** Asks the shards, and returns how many it asked. */
  ask: (question: Question) => number;
  /** Rooms with a member on this gateway. */
  rooms: () => number;
  /** Bytes that a list may take at most in an answer. */
  maxBytes: () => number;
};

/** The part of an answer that is about rooms. `rooms` is the JSON of an array. */
export type RoomsPart = { rooms: string; total: number; missing: number };

type List = { askedAt: number; texts: string[]; total: number; missing: number };

/** The fullest rooms of the gateway. Its shards are asked once a second at most, however many questions come. */
export class RoomList {
  readonly #options: RoomListOptions;
  #asks = 0;
  #list: List | undefined;
  #underWay = false;
  #waiting: { limit: number; then: (part: RoomsPart) => void }[] = [];
  /** The last list that was joined to JSON: questions that share a list mostly have the same limit. */
  #joined: { texts: string[]; limit: number; rooms: string } | undefined;

  constructor(options: RoomListOptions) {
    this.#options = options;
  }

  /** Calls `then` once with at most `limit` rooms, or not at all if too many questions wait. */
  ask(limit: number, then: (part: RoomsPart) => void): void {
    if (this.#list && this.#options.clock.now() - this.#list.askedAt < SHARED_MS) {
      then(this.#part(this.#list, limit));
      return;
    }
    if (this.#waiting.length >= MAX_WAITING) return;
    this.#waiting.push({ limit, then });
    if (!this.#underWay) this.#askShards();
  }

  #askShards() {
    const { clock, questions, ask } = this.#options;
    const askedAt = clock.now();
    this.#underWay = true;
    // Ids of questions on the bus have no `#`.
    const question: Question = { type: 'rooms', reply: '', ask: `#${++this.#asks}`, limit: MAX_ROOMS_ANSWERED };
    questions.ask(
      question,
      () => ask(question),
      (answers, missing) => this.#answered(askedAt, answers, missing),
    );
  }

  #answered(askedAt: number, answers: readonly ShardAnswer[], missing: number) {
    const list = { askedAt, texts: this.#textsOf(answers), total: this.#options.rooms(), missing };
    // An incomplete list serves those who waited for it, and nobody later.
    this.#list = missing === 0 ? list : undefined;
    this.#underWay = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { limit, then } of waiting) then(this.#part(list, limit));
    this.#joined = undefined;
  }

  #textsOf(answers: readonly ShardAnswer[]): string[] {
    const sums = new Map<string, number>();
    for (const answer of answers) {
      if (answer.type !== 'rooms') continue;
      for (const { room, connections } of answer.rooms) sums.set(room, (sums.get(room) ?? 0) + connections);
    }
    const fullest = new FullestRooms(MAX_ROOMS_ANSWERED);
    for (const [room, connections] of sums) fullest.add(room, connections);
    return jsonWithin(fullest.list, Math.min(MAX_LIST_BYTES, this.#options.maxBytes()));
  }

  #part({ texts, total, missing }: List, limit: number): RoomsPart {
    const last = this.#joined;
    const rooms =
      last?.texts === texts && last.limit === limit ? last.rooms : `[${texts.slice(0, Math.max(0, limit)).join(',')}]`;
    this.#joined = { texts, limit, rooms };
    return { rooms, total, missing };
  }
}
