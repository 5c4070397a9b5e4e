import { type Answer, Command, type Question, SessionWord } from '@pushcluster/protocol/control.ts';
import { decodePush, decodeUserPush, type Items, type Push, type PushHeader } from '@pushcluster/protocol/push.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { announce } from '../announce.ts';
import { ALL, type ChannelKey, isUser, userKey } from '../channelKey.ts';
import type { GatewayMetrics } from '../metrics.ts';
import { parseJson } from '../parseJson.ts';
import type { ShardAnswer, ShardMessage } from '../wire.ts';
import { HubChannel } from './channel.ts';
import type { Clock } from './clock.ts';
import { encodeFrames } from './frame.ts';
import type { ShardLink } from './link.ts';
import { Publishers } from './publishers.ts';
import { Questions } from './questions.ts';
import { Recent } from './recent.ts';
import type { Batch } from './window.ts';

/** An empty room's subscription is kept this long, milliseconds: people come back, and a flapping join costs nothing. */
const EMPTY_ROOM_MS = 5_000;
/** Pairs of (accepted at, items) that a frame carries for the latency histogram. */
const MAX_AGES = 64;

/** What the hub needs of a shard's link. */
export type HubLink = Pick<
  ShardLink,
  'index' | 'masks' | 'listening' | 'configure' | 'send' | 'sendFrames' | 'sendMissed'
>;

export type HubOptions = {
  gateway: string;
  bus: Bus;
  settings: Settings;
  clock: Clock;
  log: Logger;
  metrics: GatewayMetrics;
};

/** The one that orders: takes pushes off the bus, finds gaps and repeats, merges, encodes once, and hands to the shards. */
export class Hub {
  readonly #options: HubOptions;
  readonly #subjects: Subjects;
  readonly #channels = new Map<ChannelKey, HubChannel>();
  readonly #recent = new Recent();
  readonly #users = new Publishers();
  readonly #questions: Questions;
  #links: readonly HubLink[] = [];
  #settings: Settings;
  #ready = false;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.#subjects = new Subjects(options.settings.bus.prefix);
    this.#questions = new Questions(options.clock);
    const all = new HubChannel(ALL, options.settings);
    this.#channels.set(ALL, all);
    this.#follow(all, this.#subjects.all);
    const users = options.bus.subscribe(this.#subjects.user, (bytes) => this.#userPush(bytes));
    users.ready.then(() => {
      this.#users.since = Date.now();
    });
    options.bus.subscribe(this.#subjects.command, (bytes) => this.#command(bytes));
    options.bus.subscribe(this.#subjects.session, (bytes) => this.#session(bytes));
    all.subscription?.ready.then(() => {
      this.#ready = true;
    });
  }

  /** True from the first connection to the bus on. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Rooms that have a member on this gateway. */
  get rooms(): number {
    let rooms = 0;
    for (const channel of this.#channels.values()) if (channel.room !== undefined && channel.mask !== 0) rooms++;
    return rooms;
  }

  attach(links: readonly HubLink[]): void {
    this.#links = links;
  }

  configure(settings: Settings): void {
    this.#settings = settings;
    for (const channel of this.#channels.values()) {
      channel.configure(settings);
      if (!channel.window.idle) this.#arm(channel);
    }
    for (const link of this.#links) link.configure(settings);
  }

  // ── what shards say ──

  heard(link: HubLink, message: ShardMessage): void {
    switch (message.type) {
      case 'forms':
        this.#forms(link, message.key, message.mask, message.turn);
        return;
      case 'answer':
        this.#questions.answered(message.answer);
        return;
      case 'session':
        this.#opened(link, message.user, message.at);
        return;
    }
  }

  /** A shard's connections are gone. */
  lost(link: HubLink): void {
    for (const key of link.masks.keys()) {
      const channel = this.#channels.get(key);
      if (!channel) continue;
      channel.masks[link.index] = 0;
      this.#endIfEmpty(channel);
    }
    link.masks.clear();
  }

  #forms(link: HubLink, key: ChannelKey, mask: number, turn: number) {
    if (mask === 0) link.masks.delete(key);
    else link.masks.set(key, mask);
    let channel = this.#channels.get(key);
    if (!channel) {
      if (mask === 0) return;
      if (isUser(key)) {
        // There may be one for each connection: a channel is made with the user's first push.
        link.send({ type: 'opened', key, mask, turn });
        return;
      }
      channel = new HubChannel(key, this.#settings);
      this.#channels.set(key, channel);
      if (channel.room !== undefined) this.#follow(channel, this.#subjects.room(channel.room));
    }
    channel.masks[link.index] = mask;
    channel.turns[link.index] = turn;
    if (mask === 0) {
      this.#endIfEmpty(channel);
      return;
    }
    channel.cancelEnd?.();
    channel.cancelEnd = undefined;
    if (channel.subscribed) link.send({ type: 'opened', key, mask, turn });
  }

  #follow(channel: HubChannel, subject: string) {
    const subscription = this.#options.bus.subscribe(subject, (bytes) => this.#push(channel, bytes));
    channel.subscription = subscription;
    const publishers = new Publishers();
    channel.publishers = publishers;
    subscription.ready.then(() => {
      // The room may have ended while the bus was away, and begun anew with a subscription of its own.
      if (this.#channels.get(channel.key) !== channel) return;
      publishers.since = Date.now();
      channel.subscribed = true;
      for (const link of this.#links) {
        const mask = link.masks.get(channel.key);
        const turn = channel.turns[link.index] ?? 0;
        if (mask) link.send({ type: 'opened', key: channel.key, mask, turn });
      }
    });
  }

  #endIfEmpty(channel: HubChannel) {
    if (channel.key === ALL || channel.mask !== 0 || channel.cancelEnd) return;
    channel.cancelEnd = this.#options.clock.after(EMPTY_ROOM_MS, () => {
      channel.cancelEnd = undefined;
      channel.cancelTimer?.();
      channel.subscription?.unsubscribe();
      this.#channels.delete(channel.key);
    });
  }

  // ── what the bus brings ──

  #push(channel: HubChannel, bytes: Uint8Array) {
    let push: Push;
    try {
      push = decodePush(bytes);
    } catch (error) {
      this.#undecodable(error);
      return;
    }
    const count = push.items.lengths.length;
    const { gap, repeats } = channel.publishers?.accept(push, count) ?? { gap: 0, repeats: 0 };
    if (gap > 0) this.#gap(channel, gap);
    if (repeats === count || this.#repeated(channel.key, push.id)) return;
    this.#take(channel, push, push.items, repeats, push.urgent);
  }

  #userPush(bytes: Uint8Array) {
    let push: ReturnType<typeof decodeUserPush>;
    try {
      push = decodeUserPush(bytes);
    } catch (error) {
      this.#undecodable(error);
      return;
    }
    const counts = push.entries.map((entry) => entry.items.lengths.length);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const { gap, repeats } = this.#users.accept(push, total);
    // Whose they were, nobody here can know: counted, and told to nobody.
    if (gap > 0) this.#options.metrics.gaps.inc(gap);
    let before = 0;
    for (const [i, entry] of push.entries.entries()) {
      const count = counts[i] ?? 0;
      const skip = Math.min(count, Math.max(0, repeats - before));
      const header = { ...push, counter: push.counter + before };
      before += count;
      if (skip === count || this.#repeated(JSON.stringify(entry.users), entry.id)) continue;
      for (const user of entry.users) {
        const channel = this.#userChannel(userKey(user));
        if (channel && channel.mask !== 0) this.#take(channel, header, entry.items, skip, entry.urgent);
      }
    }
  }

  /** The channel of a user who is on this gateway. */
  #userChannel(key: ChannelKey): HubChannel | undefined {
    const existing = this.#channels.get(key);
    if (existing || !this.#links.some((link) => link.masks.has(key))) return existing;
    const channel = new HubChannel(key, this.#settings);
    channel.subscribed = true;
    for (const link of this.#links) channel.masks[link.index] = link.masks.get(key) ?? 0;
    this.#channels.set(key, channel);
    return channel;
  }

  #repeated(place: string, id: string): boolean {
    if (id === '') return false;
    const forgotten = this.#recent.forgotten;
    // Ids are others' choice until version 3, and names always: their lengths keep two pairs apart.
    const seen = this.#recent.seen(`${place.length}:${place}${id}`, this.#options.clock.now());
    if (this.#recent.forgotten > forgotten) this.#options.metrics.idempotencyForgotten.inc();
    if (seen) this.#options.metrics.repeats.inc();
    return seen;
  }

  #gap(channel: HubChannel, items: number) {
    this.#options.metrics.gaps.inc(items);
    this.#options.log.warn({ channel: channel.room ?? 'all', items }, 'items were lost on the bus');
    channel.window.lose(items);
    // What revealed the gap may itself be a repeat that goes no further.
    this.#arm(channel);
  }

  #undecodable(error: unknown) {
    this.#options.metrics.undecodable.inc();
    this.#options.log.warn({ reason: error instanceof Error ? error.message : String(error) }, 'bus message ignored');
  }

  // ── merging ──

  #take(channel: HubChannel, header: PushHeader, items: Items, repeats: number, urgent: boolean) {
    const { clock } = this.#options;
    const now = clock.now();
    const hurry = urgent && channel.mayHurry(this.#settings.gateway.batching.urgentRate, now);
    for (const batch of channel.offer(header, items, repeats, hurry, now)) this.#send(channel, batch);
    this.#arm(channel);
  }

  /** Sets the window's timer to when it is due, or off. */
  #arm(channel: HubChannel) {
    const due = channel.window.due();
    if (channel.cancelTimer && due === channel.timerAt) return;
    channel.cancelTimer?.();
    channel.cancelTimer = undefined;
    if (due === undefined) return;
    channel.timerAt = due;
    const { clock } = this.#options;
    channel.cancelTimer = clock.after(Math.max(0, due - clock.now()), () => {
      channel.cancelTimer = undefined;
      const batch = channel.window.flush(clock.now());
      if (batch) this.#send(channel, batch);
    });
  }

  #send(channel: HubChannel, batch: Batch) {
    const { metrics } = this.#options;
    if (batch.items > 0) {
      metrics.batchItems.observe(batch.items);
      metrics.batchWindow.observe(batch.waited / 1_000);
    }
    const { mask } = channel;
    if (mask === 0) return;
    const frames = batch.items > 0 ? encodeFrames(channel.key, batch.chunks, mask) : [];
    const ages = agesOf(batch);
    for (const link of this.#links) {
      const wanted = channel.masks[link.index] ?? 0;
      if (wanted === 0) continue;
      if (batch.cut > 0) link.sendMissed(channel.key, batch.cut, 'overload');
      if (batch.lost.before > 0) link.sendMissed(channel.key, batch.lost.before, 'bus_gap');
      if (frames.length > 0) {
        const theirs = wanted === mask ? frames : frames.filter((frame) => frame.form & wanted);
        link.sendFrames(channel.key, batch.items, ages, theirs);
      }
      if (batch.lost.after > 0) link.sendMissed(channel.key, batch.lost.after, 'bus_gap');
    }
  }

  // ── commands and questions ──

  #command(bytes: Uint8Array) {
    const command = parseJson(bytes, Command);
    if (!command) {
      this.#undecodable(new Error('a command that this version does not know'));
      return;
    }
    switch (command.type) {
      case 'disconnect_user':
        for (const link of this.#links)
          link.send({ type: 'disconnectUser', user: command.user, reason: command.reason });
        return;
      case 'disconnect_room':
        for (const link of this.#links)
          link.send({ type: 'disconnectRoom', room: command.room, reason: command.reason });
        return;
      default:
        this.#answer(command);
    }
  }

  #answer(question: Question) {
    // Where the bus is away the asker goes on without: it says how many answered.
    const reply = (answer: Answer) => announce(this.#options.bus, question.reply, answer);
    const { gateway } = this.#options;
    if (question.type === 'stats') {
      const stats = this.#options.metrics.stats();
      reply({ type: 'stats', ask: question.ask, gateway, stats });
      return;
    }
    const asked = this.#links.filter((link) => link.listening);
    this.#questions.ask(question, asked.length, (answers) => reply({ ...sum(question, answers), gateway }));
    for (const link of asked) link.send({ type: 'ask', question });
  }

  // ── one session per user ──

  #opened(link: HubLink, user: string, at: number) {
    for (const other of this.#links) if (other !== link) other.send({ type: 'replaced', user, at });
    const word = { gateway: this.#options.gateway, user, at } satisfies SessionWord;
    if (!announce(this.#options.bus, this.#subjects.session, word))
      this.#options.log.warn({ user }, 'the bus is away: older sessions of the user on other gateways stay');
  }

  #session(bytes: Uint8Array) {
    const word = parseJson(bytes, SessionWord);
    if (!word || word.gateway === this.#options.gateway) return;
    for (const link of this.#links) link.send({ type: 'replaced', user: word.user, at: word.at });
  }
}

/** When logic accepted a batch's items: neighbours of the same moment together, at most MAX_AGES pairs. */
function agesOf(batch: Batch): [number, number][] {
  const ages: [number, number][] = [];
  const span = Math.max(1, Math.ceil(batch.chunks.length / MAX_AGES));
  for (const [i, chunk] of batch.chunks.entries()) {
    const last = ages.at(-1);
    if (last && (last[0] === chunk.at || i % span !== 0)) last[1] += chunk.items.lengths.length;
    else ages.push([chunk.at, chunk.items.lengths.length]);
  }
  return ages;
}

function sum(question: Exclude<Question, { type: 'stats' }>, answers: readonly ShardAnswer[]): ShardAnswer {
  const { ask } = question;
  if (question.type !== 'rooms') {
    const connections = answers.reduce(
      (total, answer) => total + (answer.type === 'rooms' ? 0 : answer.connections),
      0,
    );
    return { type: question.type, ask, connections };
  }
  const rooms = new Map<string, number>();
  for (const answer of answers)
    if (answer.type === 'rooms')
      for (const { room, connections } of answer.rooms) rooms.set(room, (rooms.get(room) ?? 0) + connections);
  const list = Array.from(rooms, ([room, connections]) => ({ room, connections }));
  list.sort((a, b) => b.connections - a.connections || (a.room < b.room ? -1 : 1));
  return { type: 'rooms', ask, rooms: list.slice(0, question.limit) };
}
