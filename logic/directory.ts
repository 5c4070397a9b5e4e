import { randomBytes } from 'node:crypto';
import type { Asked } from '@pushcluster/protocol/api.ts';
import {
  Answer,
  type Command,
  type Question,
  type RoomCount,
  STAT_INTERVAL_MS,
  STAT_STALE_MS,
  Stat,
} from '@pushcluster/protocol/control.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus, Subscription } from '@pushcluster/runtime/bus/bus.ts';
import { Problem, retryAfter } from './problems.ts';

/** Gateways remembered; more are not asked by name, but their answers count while a question is open. */
const MAX_GATEWAYS = 10_000;
/** Questions under way; more are refused. */
const MAX_QUESTIONS = 256;
/** A gateway says how full its fullest rooms are: this many times the rooms asked for, so that rooms spread evenly add up. */
const ROOMS_FACTOR = 4;
const MAX_ROOMS_ASKED = 4_000;

type Kind = Question['type'];
type AnswerTo<K extends Kind> = Extract<Answer, { type: K }>;
/** What a question is about, without its number and the address for its answers. */
type Details<K extends Kind> = Omit<Extract<Question, { type: K }>, 'type' | 'ask' | 'reply'>;

export type Answers<K extends Kind> = { answers: AnswerTo<K>[]; gateways: Asked };

type Open = {
  type: Kind;
  /** Gateways still to answer. */
  waiting: Set<string>;
  asked: number;
  byGateway: Map<string, Answer>;
  /** Whether gateways that were not known may answer as well: then the whole time is waited. */
  openEnded: boolean;
  done: () => void;
};

export type DirectoryOptions = {
  /** Milliseconds that gateways may take to answer. */
  askTimeout: () => number;
  /** Called for what was not understood. */
  onIgnored: (kind: 'stat' | 'answer') => void;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
  maxQuestions?: number;
  maxGateways?: number;
};

/** Who is online: known by asking the gateways, which report themselves; nothing is stored. */
export class Directory {
  readonly #bus: Bus;
  readonly #subjects: Subjects;
  readonly #options: DirectoryOptions;
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #id = randomBytes(9).toString('base64url');
  readonly #heard = new Map<string, number>();
  readonly #open = new Map<string, Open>();
  readonly #subscriptions: Subscription[];
  #asks = 0;

  constructor(bus: Bus, subjects: Subjects, options: DirectoryOptions) {
    this.#bus = bus;
    this.#subjects = subjects;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#startedAt = this.#now();
    this.#subscriptions = [
      bus.subscribe(subjects.everyStat, (bytes) => this.#hear(bytes)),
      bus.subscribe(subjects.reply(this.#id), (bytes) => this.#answer(bytes)),
    ];
  }

  /** Gateways heard of lately. */
  get gateways(): string[] {
    const since = this.#now() - STAT_STALE_MS;
    for (const [gateway, at] of this.#heard) if (at < since) this.#heard.delete(gateway);
    return [...this.#heard.keys()];
  }

  get questions(): number {
    return this.#open.size;
  }

  /** The fullest rooms of the cluster, at most `limit`. A room that is among the fullest nowhere may be missed or count low. */
  async rooms(limit: number): Promise<{ rooms: RoomCount[]; gateways: Asked }> {
    const asked = Math.min(limit * ROOMS_FACTOR, MAX_ROOMS_ASKED);
    const { answers, gateways } = await this.ask('rooms', { limit: asked });
    const sums = new Map<string, number>();
    for (const answer of answers)
      for (const { room, connections } of answer.rooms.slice(0, asked))
        sums.set(room, (sums.get(room) ?? 0) + connections);
    const rooms = [...sums].map(([room, connections]) => ({ room, connections }));
    rooms.sort((a, b) => b.connections - a.connections || (a.room < b.room ? -1 : 1));
    return { rooms: rooms.slice(0, limit), gateways };
  }

  /**
   * Asks every gateway; resolves when all that are known have answered, or after askTimeout with what there is.
   * Rejects with BusUnavailable, or Problem overloaded.
   */
  async ask<K extends Kind>(type: K, details: Details<K>): Promise<Answers<K>> {
    if (this.#open.size >= (this.#options.maxQuestions ?? MAX_QUESTIONS))
      throw new Problem('overloaded', 'Too many questions to the gateways are under way. Try again.', {
        headers: retryAfter(1),
      });
    // Gateways tell questions apart by this alone, and there are other askers.
    const ask = `${this.#id}.${++this.#asks}`;
    const known = this.gateways;
    const { promise, resolve } = Promise.withResolvers<void>();
    const open: Open = {
      type,
      waiting: new Set(known),
      asked: known.length,
      byGateway: new Map(),
      openEnded: known.length === 0 || this.#now() - this.#startedAt < 2 * STAT_INTERVAL_MS,
      done: resolve,
    };
    this.#send({ type, ...details, ask, reply: this.#subjects.reply(this.#id) });
    this.#open.set(ask, open);
    const timer = setTimeout(resolve, this.#options.askTimeout());
    await promise;
    clearTimeout(timer);
    this.#open.delete(ask);
    const answers = [...open.byGateway.values()].filter((answer) => isTo(type, answer));
    return { answers, gateways: { asked: open.asked, answered: answers.length } };
  }

  /** Tells every gateway. Resolves, once the bus has it, with the number of gateways known. Rejects as Bus.publish and flush do. */
  async tell(command: Exclude<Command, Question>): Promise<number> {
    this.#send(command);
    await this.#bus.flush();
    return this.gateways.length;
  }

  close() {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    for (const open of this.#open.values()) open.done();
  }

  #send(command: object) {
    this.#bus.publish(this.#subjects.command, Buffer.from(JSON.stringify(command)));
  }

  #hear(bytes: Uint8Array) {
    const stat = Stat.safeParse(parse(bytes));
    if (!stat.success) return this.#options.onIgnored('stat');
    const { gateway, leaving } = stat.data;
    if (leaving) {
      this.#heard.delete(gateway);
      // It won't answer any more: those who wait for it need not.
      for (const open of this.#open.values()) this.#settle(open, gateway);
      return;
    }
    const full = this.#heard.size >= (this.#options.maxGateways ?? MAX_GATEWAYS) && !this.#heard.has(gateway);
    if (full && this.gateways.length >= (this.#options.maxGateways ?? MAX_GATEWAYS))
      return this.#options.onIgnored('stat');
    this.#heard.set(gateway, this.#now());
  }

  #answer(bytes: Uint8Array) {
    const result = Answer.safeParse(parse(bytes));
    if (!result.success) return this.#options.onIgnored('answer');
    const answer = result.data;
    const open = this.#open.get(answer.ask);
    // Too late is normal; the wrong kind, or twice, is not.
    if (!open) return;
    if (open.type !== answer.type || open.byGateway.has(answer.gateway)) return this.#options.onIgnored('answer');
    if (!open.waiting.has(answer.gateway)) open.asked++;
    open.byGateway.set(answer.gateway, answer);
    this.#settle(open, answer.gateway);
  }

  #settle(open: Open, gateway: string) {
    open.waiting.delete(gateway);
    if (open.waiting.size === 0 && !open.openEnded) open.done();
  }
}

function isTo<K extends Kind>(kind: K, answer: Answer): answer is AnswerTo<K> {
  return answer.type === kind;
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch {
    return undefined;
  }
}
