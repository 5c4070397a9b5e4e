import { randomBytes } from 'node:crypto';
import type { Asked } from '@pushcluster/protocol/api.ts';
import {
  Answer,
  type Command,
  MAX_ROOMS_ANSWERED,
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
/** Rooms are asked for by so many: whoever wants fewer shares the answer. */
const ROOMS_ASKED = [100, 1_000];
/** A list of rooms is shared by all who ask within this long of its question, milliseconds. */
const ROOMS_SHARED_MS = 1_000;
/** A gateway that fell silent without a word counts as asked, and as not answering, for this long, milliseconds. */
const MISSED_MS = 60_000;

type Kind = Question['type'];
type AnswerTo<K extends Kind> = Extract<Answer, { type: K }>;
/** What a question is about, without its number and the address for its answers. */
type Details<K extends Kind> = Omit<Extract<Question, { type: K }>, 'type' | 'ask' | 'reply'>;

/** `partial`: they lack what a gateway, or a shard of one, has. Absent where they lack nothing. */
export type Answers<K extends Kind> = { answers: AnswerTo<K>[]; gateways: Asked; partial?: true };

/** Where it is partial: how many rooms there are at least. */
export type RoomsAnswer = { rooms: RoomCount[]; gateways: Asked; partial?: true; total?: number };

/** What a list of rooms was made of, for all who share it. */
type RoomList = Answers<'rooms'> & { asked: number };

type Open = {
  type: Kind;
  /** Gateways still to answer. */
  waiting: Set<string>;
  /** Those that should answer: some may have fallen silent, and are not waited for. */
  asked: Set<string>;
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
  /** Called where a gateway has connected to the bus: `again` where it was away. */
  onGateway?: (again: boolean) => void;
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
  /** Until when gateways may be there that have not been heard yet. */
  #completeAt: number;
  readonly #stopListening: () => void;
  readonly #id = randomBytes(9).toString('base64url');
  /** When each gateway was last heard, and its connections to the bus until then. */
  readonly #heard = new Map<string, { at: number; connections: number }>();
  readonly #open = new Map<string, Open>();
  readonly #roomLists = new Map<number, { at: number; list: Promise<RoomList> }>();
  readonly #subscriptions: Subscription[];
  #asks = 0;

  constructor(bus: Bus, subjects: Subjects, options: DirectoryOptions) {
    this.#bus = bus;
    this.#subjects = subjects;
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#completeAt = this.#now() + 2 * STAT_INTERVAL_MS;
    this.#stopListening = bus.onEvent(({ type }) => {
      if (type === 'connected') this.#connected();
    });
    this.#subscriptions = [
      bus.subscribe(subjects.everyStat, (bytes) => this.#hear(bytes)),
      bus.subscribe(subjects.reply(this.#id), (bytes) => this.#answer(bytes)),
    ];
  }

  /** Gateways heard of lately. */
  get gateways(): string[] {
    this.#forget();
    const since = this.#now() - STAT_STALE_MS;
    return Array.from(this.#heard).flatMap(([gateway, { at }]) => (at >= since ? [gateway] : []));
  }

  get questions(): number {
    return this.#open.size;
  }

  /**
   * The fullest rooms of the cluster, at most `limit`. A room that is among the fullest
   * nowhere may be missed or count low. Those who ask within a second share an answer.
   */
  async rooms(limit: number): Promise<RoomsAnswer> {
    const { answers, gateways, partial, asked } = await this.#roomList(limit);
    const sums = new Map<string, number>();
    let total = 0;
    let cut = false;
    for (const answer of answers) {
      for (const { room, connections } of answer.rooms.slice(0, asked))
        sums.set(room, (sums.get(room) ?? 0) + connections);
      total = Math.max(total, answer.total ?? 0);
      cut ||= answer.rooms.length < Math.min(asked, answer.total ?? 0);
    }
    total = Math.max(total, sums.size);
    const fullest = Array.from(sums, ([room, connections]) => ({ room, connections }));
    fullest.sort((a, b) => b.connections - a.connections || (a.room < b.room ? -1 : 1));
    const rooms = fullest.slice(0, limit);
    // What was cut off a gateway's list is missed where it could have been in this one.
    const lacks = partial || (cut && rooms.length < Math.min(limit, total));
    return { rooms, gateways, ...(lacks ? { partial: true, total } : {}) };
  }

  #roomList(limit: number): Promise<RoomList> {
    const rooms = ROOMS_ASKED.find((asked) => asked >= limit) ?? limit;
    const shared = this.#roomLists.get(rooms);
    if (shared && this.#now() - shared.at < ROOMS_SHARED_MS) return shared.list;
    const asked = Math.min(rooms * ROOMS_FACTOR, MAX_ROOMS_ANSWERED);
    const list = this.ask('rooms', { limit: asked }).then((answers) => {
      // What lacks something, or could not be asked, serves those who waited for it and nobody after.
      if (answers.partial) this.#roomLists.delete(rooms);
      return { ...answers, asked };
    });
    list.catch(() => this.#roomLists.delete(rooms));
    this.#roomLists.set(rooms, { at: this.#now(), list });
    return list;
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
    const lately = this.gateways;
    const { promise, resolve } = Promise.withResolvers<void>();
    const open: Open = {
      type,
      waiting: new Set(lately),
      asked: new Set(this.#heard.keys()),
      byGateway: new Map(),
      openEnded: lately.length === 0 || this.#now() < this.#completeAt,
      done: resolve,
    };
    this.#send({ type, ...details, ask, reply: this.#subjects.reply(this.#id) });
    this.#open.set(ask, open);
    const timer = setTimeout(resolve, this.#options.askTimeout());
    await promise;
    clearTimeout(timer);
    this.#open.delete(ask);
    const answers = [...open.byGateway.values()].filter((answer) => isTo(type, answer));
    // Gateways know each other: of those that a young logic has not heard of, too.
    const there = Math.max(open.asked.size, ...answers.map((answer) => answer.gateways ?? 0));
    const answered = answers.filter((answer) => !('missing' in answer) || !answer.missing).length;
    return { answers, gateways: { asked: there, answered }, ...(answered < there ? { partial: true } : {}) };
  }

  /** Tells every gateway. Resolves, once the bus has it, with the number of gateways known. Rejects as Bus.publish and flush do. */
  async tell(command: Exclude<Command, Question>): Promise<number> {
    this.#send(command);
    await this.#bus.flush();
    return this.gateways.length;
  }

  close() {
    this.#stopListening();
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    for (const open of this.#open.values()) open.done();
  }

  #send(command: object) {
    this.#bus.publish(this.#subjects.command, Buffer.from(JSON.stringify(command)));
  }

  #hear(bytes: Uint8Array) {
    const stat = Stat.safeParse(parse(bytes));
    if (!stat.success) return this.#options.onIgnored('stat');
    const { gateway, leaving, busConnections: connections } = stat.data;
    if (leaving) {
      this.#heard.delete(gateway);
      // It won't answer any more: those who wait for it need not.
      for (const open of this.#open.values()) {
        // It has nobody any more.
        if (!open.byGateway.has(gateway)) open.asked.delete(gateway);
        this.#settle(open, gateway);
      }
      return;
    }
    const { maxGateways = MAX_GATEWAYS } = this.#options;
    if (this.#heard.size >= maxGateways && !this.#heard.has(gateway) && !this.#makeRoom())
      return this.#options.onIgnored('stat');
    if (connections > (this.#heard.get(gateway)?.connections ?? 0)) this.#options.onGateway?.(connections > 1);
    this.#heard.set(gateway, { at: this.#now(), connections });
  }

  #answer(bytes: Uint8Array) {
    const result = Answer.safeParse(parse(bytes));
    if (!result.success) return this.#options.onIgnored('answer');
    const answer = result.data;
    const open = this.#open.get(answer.ask);
    // Too late is normal; the wrong kind, or twice, is not.
    if (!open) return;
    if (open.type !== answer.type || open.byGateway.has(answer.gateway)) return this.#options.onIgnored('answer');
    open.asked.add(answer.gateway);
    open.byGateway.set(answer.gateway, answer);
    this.#settle(open, answer.gateway);
  }

  /** While the bus is away nobody is heard, and nobody is gone: all have as long as ever to be heard again. */
  #connected() {
    this.#completeAt = this.#now() + 2 * STAT_INTERVAL_MS;
    for (const known of this.#heard.values()) known.at = this.#now();
  }

  #forget() {
    if (!this.#bus.connected) return;
    const since = this.#now() - MISSED_MS;
    for (const [gateway, { at }] of this.#heard) if (at < since) this.#heard.delete(gateway);
  }

  /** Forgets one that fell silent; false where none did. */
  #makeRoom(): boolean {
    const since = this.#now() - STAT_STALE_MS;
    for (const [gateway, { at }] of this.#heard) if (at < since) return this.#heard.delete(gateway);
    return false;
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
