import { randomBytes } from 'node:crypto';
import type { Asked } from '@pushcluster/protocol/api.ts';
import {
  Answer,
  type Command,
  type Histories,
  MAX_ROOMS_ANSWERED,
  type Question,
  type RoomCount,
  STAT_INTERVAL_MS,
  STAT_STALE_MS,
  Stat,
} from '@pushcluster/protocol/control.ts';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import type { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus, Subscription } from '@pushcluster/runtime/bus/bus.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { Problem, retryAfterHeader } from '../errors/problem.ts';

/** Gateways remembered. Further ones are not waited for, but their answers count while a question is open. */
const MAX_GATEWAYS = 10_000;
/** Open questions. Further ones are refused. */
const MAX_QUESTIONS = 256;
/** Each gateway names this many times the rooms requested, so that a room spread evenly over gateways is on each list. */
const ROOMS_FACTOR = 4;
/** Lengths of lists that gateways are asked for. Requests for fewer rooms share the list. */
const LIST_LENGTHS = [100, 1_000];
/** A list of rooms also answers requests of this long after its question, milliseconds. */
const LIST_SHARED_MS = 1_000;
/** A gateway that vanished without notice counts as not answering for this long after its last report, milliseconds. */
const VANISHED_MS = 60_000;

type Kind = Question['type'];
type AnswerTo<K extends Kind> = Extract<Answer, { type: K }>;
/** A question without its number and the subject for its answers. */
type Details<K extends Kind> = Omit<Extract<Question, { type: K }>, 'type' | 'ask' | 'reply'>;

/** `partial`: a gateway, or a shard of one, did not answer. Absent if the answers are complete. */
export type Answers<K extends Kind> = { answers: AnswerTo<K>[]; gateways: Asked; partial?: true };

/** `total`: rooms that there are at least, if the answer is partial. */
export type RoomsAnswer = { rooms: RoomCount[]; gateways: Asked; partial?: true; total?: number };

/** Answers that several requests share. `asked`: length of the list that gateways were asked for. */
type RoomList = Answers<'rooms'> & { asked: number };

type OpenQuestion = {
  type: Kind;
  /** Gateways still to answer. */
  waiting: Set<string>;
  /** Gateways that should answer. Those that have been silent for a while are not waited for. */
  asked: Set<string>;
  byGateway: Map<string, Answer>;
  /** Whether unknown gateways may answer too: then it stays open for the whole time. */
  mayBeMore: boolean;
  done: () => void;
};

export type DirectoryOptions = {
  /** Milliseconds that gateways may take to answer. */
  askTimeout: () => number;
  /** Called for each message that was ignored: it is invalid, or one too many. */
  onIgnored: (kind: 'stat' | 'answer') => void;
  /** Called when a gateway has connected to the bus; `again`: it was away. */
  onGateway?: (again: boolean) => void;
  /** Called for each report of a gateway, asked for or not, that says how far it has followed histories. */
  onReport?: (report: { gateway: string; histories: Histories }) => void;
  /** Milliseconds of a clock that never goes back. */
  now?: () => number;
  maxQuestions?: number;
  maxGateways?: number;
};

/** Answers who is online by asking the gateways. It knows them by their own reports; connections are not stored here. */
export class OnlineDirectory {
  readonly #bus: Bus;
  readonly #subjects: Subjects;
  readonly #options: DirectoryOptions;
  readonly #now: () => number;
  /** Every gateway that runs has reported itself by this time. */
  #completeAt: number;
  readonly #stopListening: () => void;
  readonly #id = randomBytes(9).toString('base64url');
  /** When each gateway last reported, and how often it had connected to the bus. */
  readonly #heard = new Map<string, { at: number; connections: number }>();
  readonly #questions = new Map<string, OpenQuestion>();
  readonly #roomLists = new Map<number, { at: number; list: Promise<RoomList> }>();
  readonly #subscriptions: Subscription[];
  #asks = 0;

  constructor(bus: Bus, subjects: Subjects, options: DirectoryOptions) {
    this.#bus = bus;
    this.#subjects = subjects;
    this.#options = options;
    this.#now = options.now ?? (() => systemClock.now());
    this.#completeAt = this.#now() + 2 * STAT_INTERVAL_MS;
    this.#stopListening = bus.onEvent(({ type }) => {
      if (type === 'connected') this.#connected();
    });
    this.#subscriptions = [
      bus.subscribe(subjects.everyStat, (bytes) => this.#hear(bytes)),
      bus.subscribe(subjects.reply(this.#id), (bytes) => this.#answer(bytes)),
    ];
  }

  /** Gateways that reported themselves lately. */
  get gateways(): string[] {
    this.#forgetVanished();
    const since = this.#now() - STAT_STALE_MS;
    return Array.from(this.#heard).flatMap(([gateway, { at }]) => (at >= since ? [gateway] : []));
  }

  /** Open questions. */
  get questions(): number {
    return this.#questions.size;
  }

  /**
   * The fullest rooms of the cluster, at most `limit`. A room that is among the fullest on no gateway may be missing, and one
   * that is on some only may count too low. Requests within a second share one list.
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
    // A gateway's list that was cut matters only if this list is short of rooms.
    const lacks = partial || (cut && rooms.length < Math.min(limit, total));
    return { rooms, gateways, ...(lacks ? { partial: true, total } : {}) };
  }

  #roomList(limit: number): Promise<RoomList> {
    const rooms = LIST_LENGTHS.find((asked) => asked >= limit) ?? limit;
    const shared = this.#roomLists.get(rooms);
    if (shared && this.#now() - shared.at < LIST_SHARED_MS) return shared.list;
    const asked = Math.min(rooms * ROOMS_FACTOR, MAX_ROOMS_ANSWERED);
    const list = this.ask('rooms', { limit: asked }).then((answers) => {
      // A partial or failed list answers the requests that waited for it, and no later ones.
      if (answers.partial) this.#roomLists.delete(rooms);
      return { ...answers, asked };
    });
    list.catch(() => this.#roomLists.delete(rooms));
    this.#roomLists.set(rooms, { at: this.#now(), list });
    return list;
  }

  /**
   * Asks every gateway. Resolves when all known gateways have answered, or after askTimeout with the answers so far.
   * Rejects with BusUnavailable, or Problem overloaded.
   */
  async ask<K extends Kind>(type: K, details: Details<K>): Promise<Answers<K>> {
    if (this.#questions.size >= (this.#options.maxQuestions ?? MAX_QUESTIONS))
      throw new Problem('overloaded', 'Too many requests are waiting for the gateways. Try again.', {
        headers: retryAfterHeader(1),
      });
    // Unique in the cluster: other logic processes ask too.
    const ask = `${this.#id}.${++this.#asks}`;
    const lately = this.gateways;
    const { promise, resolve } = Promise.withResolvers<void>();
    const open: OpenQuestion = {
      type,
      waiting: new Set(lately),
      asked: new Set(this.#heard.keys()),
      byGateway: new Map(),
      mayBeMore: lately.length === 0 || this.#now() < this.#completeAt,
      done: resolve,
    };
    this.#send({ type, ...details, ask, reply: this.#subjects.reply(this.#id) });
    this.#questions.set(ask, open);
    const timer = setTimeout(resolve, this.#options.askTimeout());
    await promise;
    clearTimeout(timer);
    this.#questions.delete(ask);
    const answers = [...open.byGateway.values()].filter((answer) => isAnswerTo(type, answer));
    // Gateways know of each other, also of those that this process has not heard of yet.
    const there = Math.max(open.asked.size, ...answers.map((answer) => answer.gateways ?? 0));
    const answered = answers.filter((answer) => !('missing' in answer) || !answer.missing).length;
    return { answers, gateways: { asked: there, answered }, ...(answered < there ? { partial: true } : {}) };
  }

  /**
   * Sends a command to every gateway. Resolves with the number of known gateways when the bus has confirmed it.
   * Rejects as Bus.publish and flush do.
   */
  async tell(command: Exclude<Command, Question>): Promise<number> {
    this.#send(command);
    await this.#bus.flush();
    return this.gateways.length;
  }

  close() {
    this.#stopListening();
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    for (const open of this.#questions.values()) open.done();
  }

  #send(command: object) {
    this.#bus.publish(this.#subjects.command, Buffer.from(JSON.stringify(command)));
  }

  #hear(bytes: Uint8Array) {
    const stat = parseJson(bytes, Stat);
    if (!stat) return this.#options.onIgnored('stat');
    this.#options.onReport?.(stat);
    const { gateway, leaving, busConnections: connections } = stat;
    if (leaving) {
      this.#heard.delete(gateway);
      // It will not answer any more, so no question waits for it.
      for (const open of this.#questions.values()) {
        // It has no connections left that an answer could lack.
        if (!open.byGateway.has(gateway)) open.asked.delete(gateway);
        this.#settle(open, gateway);
      }
      return;
    }
    const { maxGateways = MAX_GATEWAYS } = this.#options;
    if (this.#heard.size >= maxGateways && !this.#heard.has(gateway) && !this.#forgetSilent())
      return this.#options.onIgnored('stat');
    if (connections > (this.#heard.get(gateway)?.connections ?? 0)) this.#options.onGateway?.(connections > 1);
    this.#heard.set(gateway, { at: this.#now(), connections });
  }

  #answer(bytes: Uint8Array) {
    const answer = parseJson(bytes, Answer);
    if (!answer) return this.#options.onIgnored('answer');
    if (answer.type === 'stats' && answer.histories)
      this.#options.onReport?.({ gateway: answer.gateway, histories: answer.histories });
    const open = this.#questions.get(answer.ask);
    // A late answer is normal. The wrong type, or a second answer, is not.
    if (!open) return;
    if (open.type !== answer.type || open.byGateway.has(answer.gateway)) return this.#options.onIgnored('answer');
    open.asked.add(answer.gateway);
    open.byGateway.set(answer.gateway, answer);
    this.#settle(open, answer.gateway);
  }

  /** While the bus was unavailable no report could arrive: each gateway gets the full time again to report itself. */
  #connected() {
    this.#completeAt = this.#now() + 2 * STAT_INTERVAL_MS;
    for (const known of this.#heard.values()) known.at = this.#now();
  }

  #forgetVanished() {
    if (!this.#bus.connected) return;
    const since = this.#now() - VANISHED_MS;
    for (const [gateway, { at }] of this.#heard) if (at < since) this.#heard.delete(gateway);
  }

  /** Forgets one gateway that has been silent; false if there is none. */
  #forgetSilent(): boolean {
    const since = this.#now() - STAT_STALE_MS;
    for (const [gateway, { at }] of this.#heard) if (at < since) return this.#heard.delete(gateway);
    return false;
  }

  #settle(open: OpenQuestion, gateway: string) {
    open.waiting.delete(gateway);
    if (open.waiting.size === 0 && !open.mayBeMore) open.done();
  }
}

function isAnswerTo<K extends Kind>(kind: K, answer: Answer): answer is AnswerTo<K> {
  return answer.type === kind;
}
