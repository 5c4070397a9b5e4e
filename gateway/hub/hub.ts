import { type Answer, Command, HeldSessions, type Question, SessionWord } from '@pushcluster/protocol/control.ts';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { decodePush, decodeUserPush, type Items, type Push, type PushHeader } from '@pushcluster/protocol/push.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus, Subscription } from '@pushcluster/runtime/bus/bus.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { ALL, type ChannelKey, isUser, userKey, userOf } from '../ipc/channelKey.ts';
import type { Frame } from '../ipc/frame.ts';
import type { ShardAnswer, ShardMessage } from '../ipc/messages.ts';
import { monotonicMs } from '../ipc/monotonicClock.ts';
import type { GatewayMetrics } from '../metrics.ts';
import { announce } from './announce.ts';
import { HubChannel } from './channel.ts';
import type { Clock } from './clock.ts';
import { encodeFrames } from './encodeFrames.ts';
import type { Guard } from './guard.ts';
import { Heartbeats } from './heartbeats.ts';
import type { ShardLink } from './link.ts';
import { Openings } from './openings.ts';
import { Outbox } from './outbox.ts';
import { Publishers } from './publishers.ts';
import { Questions } from './questions.ts';
import { Recent } from './recent.ts';
import { RoomList } from './roomList.ts';
import { UserSessions } from './userSessions.ts';
import type { Batch } from './window.ts';

/** An empty room's subscription is kept this long, milliseconds: people come back, and a flapping join costs nothing. */
const EMPTY_ROOM_MS = 5_000;
/** Empty rooms kept at most: beyond, the one that has been empty for longest ends at once. */
const MAX_EMPTY_ROOMS = 20_000;
/** What an answer has beside its list, at most. */
const ENVELOPE_BYTES = 1_024;
/** Pairs of (accepted at, items) that a frame carries for the latency histogram. */
const MAX_AGES = 64;

/** What the hub needs of a shard's link. */
export type HubLink = Pick<
  ShardLink,
  'index' | 'masks' | 'listening' | 'counts' | 'configure' | 'send' | 'sendFrames' | 'sendMissed'
>;

export type HubOptions = {
  gateway: string;
  bus: Bus;
  settings: Settings;
  clock: Clock;
  log: Logger;
  metrics: GatewayMetrics;
  guard: Guard;
  /** Milliseconds since the epoch. Default: Date.now. */
  wall?: () => number;
  /** Milliseconds of the clock that the shards tell times by. Default: monotonicMs. */
  monotonic?: () => number;
  /** Gateways that are there, this one included. */
  gateways: () => number;
  /** Empty rooms kept at most. */
  maxEmpty?: number;
};

/** The one that orders: takes pushes off the bus, finds gaps and repeats, merges, encodes once, and hands to the shards. */
export class Hub {
  readonly #options: HubOptions;
  readonly #subjects: Subjects;
  readonly #channels = new Map<ChannelKey, HubChannel>();
  readonly #recent = new Recent();
  readonly #heartbeats: Heartbeats;
  readonly #users: Publishers;
  readonly #questions: Questions;
  readonly #roomList: RoomList;
  readonly #outbox: Outbox;
  readonly #openings: Openings;
  /** Rooms and users that nobody is left of, by when. */
  readonly #empty = new Set<HubChannel>();
  #lastForUser: { publisher: string; first: number; items: Items; frames: Frame[] } | undefined;
  readonly #sessions: UserSessions;
  #links: readonly HubLink[] = [];
  #settings: Settings;
  #ready = false;
  #rooms = 0;

  constructor(options: HubOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.#subjects = new Subjects(options.settings.bus.prefix);
    this.#questions = new Questions(options.clock);
    const { clock, guard, metrics } = options;
    this.#openings = new Openings(clock, (channel) => {
      if (channel.room !== undefined) this.#follow(channel, this.#subjects.room(channel.room));
    });
    this.#roomList = new RoomList({
      clock,
      questions: this.#questions,
      ask: (question) => this.#askShards(question),
      rooms: () => this.rooms,
      maxBytes: () => options.bus.maxPayload - ENVELOPE_BYTES,
    });
    this.#outbox = new Outbox({
      clock,
      send: (channel, batch) => this.#send(channel, batch),
      overrun: (items) => metrics.hubOverrun.inc(items),
      failed: (error) => guard.caught('bus', error),
    });
    this.#sessions = new UserSessions({
      gateway: options.gateway,
      clock: options.clock,
      wall: options.wall ?? Date.now,
      monotonic: options.monotonic ?? monotonicMs,
      links: () => this.#links,
      announce: (word) => announce(options.bus, guard, this.#subjects.session, word),
    });
    this.#heartbeats = new Heartbeats(() => options.clock.now());
    this.#users = new Publishers(this.#heartbeats);
    const beats = this.#subscribe(this.#subjects.beat, (bytes) => this.#heard(bytes));
    beats.ready.then(() => this.#heartbeats.listening(true));
    options.bus.onEvent(({ type }) => {
      this.#heartbeats.listening(type === 'connected');
      for (const link of this.#links) link.send({ type: 'bus', connected: type === 'connected' });
    });
    const all = new HubChannel(ALL, options.settings);
    this.#channels.set(ALL, all);
    this.#follow(all, this.#subjects.all);
    const users = this.#subscribe(this.#subjects.user, (bytes) => this.#userPush(bytes));
    users.ready.then(() => this.#users.inForce());
    this.#subscribe(this.#subjects.command, (bytes) => this.#command(bytes));
    this.#subscribe(this.#subjects.session, (bytes) => this.#session(bytes));
    options.bus.onEvent(({ type }) => {
      if (type === 'connected') this.#sessions.repeat();
    });
    all.subscription?.ready.then(() => {
      this.#ready = true;
    });
  }

  #subscribe(
    subject: string,
    handler: (bytes: Uint8Array) => void,
    onChange?: (inForce: boolean) => void,
  ): Subscription {
    const { bus, guard } = this.#options;
    const guarded = (bytes: Uint8Array) => {
      try {
        handler(bytes);
      } catch (error) {
        guard.caught('bus', error);
      }
    };
    return bus.subscribe(subject, guarded, onChange);
  }

  /** True from the first connection to the bus on. */
  get ready(): boolean {
    return this.#ready;
  }

  /** Rooms that have a member on this gateway. */
  get rooms(): number {
    return this.#rooms;
  }

  /** Rooms and users that are kept: those with a member, those that were left a moment ago, and those that wait for their subscription. */
  get channels(): { kept: number; empty: number; waiting: number } {
    return { kept: this.#channels.size, empty: this.#empty.size, waiting: this.#openings.waiting };
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
        this.#forms(link, message.key, message.mask, message.generation);
        return;
      case 'verify':
        this.#verify(link, message.receipt);
        return;
      case 'answer':
        this.#questions.answered(message.answer);
        return;
      case 'session':
        if (!this.#sessions.opened(link, message))
          this.#options.log.warn(
            { user: message.user },
            'the bus is away: older sessions elsewhere stay until it is back',
          );
        return;
    }
  }

  /** A shard's connections are gone. */
  lost(link: HubLink): void {
    const keys = [...link.masks.keys()];
    link.masks.clear();
    this.#sessions.lost(link);
    for (const key of keys) {
      this.#endSession(key);
      const channel = this.#channels.get(key);
      if (!channel) continue;
      this.#setMask(channel, link, 0);
      this.#endIfEmpty(channel);
    }
  }

  #endSession(key: ChannelKey) {
    if (isUser(key) && !this.#links.some((link) => link.masks.has(key))) this.#sessions.gone(userOf(key));
  }

  #forms(link: HubLink, key: ChannelKey, mask: number, generation: number) {
    if (mask === 0) {
      link.masks.delete(key);
      this.#endSession(key);
    } else link.masks.set(key, mask);
    let channel = this.#channels.get(key);
    if (!channel) {
      if (mask === 0) return;
      if (isUser(key)) {
        // There may be one for each connection: a channel is made with the user's first push.
        link.send({ type: 'subscribed', key, mask, generation });
        return;
      }
      channel = new HubChannel(key, this.#settings);
      this.#channels.set(key, channel);
      if (channel.room !== undefined) this.#openings.enter(channel);
    }
    this.#setMask(channel, link, mask);
    channel.generations[link.index] = generation;
    if (mask === 0) {
      this.#endIfEmpty(channel);
      return;
    }
    channel.cancelEnd?.();
    channel.cancelEnd = undefined;
    this.#empty.delete(channel);
    if (channel.subscribed) link.send({ type: 'subscribed', key, mask, generation });
  }

  #setMask(channel: HubChannel, link: HubLink, mask: number) {
    const before = channel.mask;
    channel.masks[link.index] = mask;
    if (channel.room === undefined || (before === 0) === (channel.mask === 0)) return;
    this.#rooms += before === 0 ? 1 : -1;
  }

  #follow(channel: HubChannel, subject: string) {
    if (channel.room !== undefined) this.#options.metrics.roomSubscriptions.inc();
    const publishers = new Publishers(this.#heartbeats);
    channel.publishers = publishers;
    const changed = (inForce: boolean) => {
      // The room may have ended while the bus was away, and begun anew with a subscription of its own.
      if (this.#channels.get(channel.key) !== channel) return;
      if (inForce) publishers.inForce();
      channel.subscribed = inForce;
      for (const link of this.#links) {
        const mask = link.masks.get(channel.key);
        const generation = channel.generations[link.index] ?? 0;
        if (!mask) continue;
        link.send(
          inForce
            ? { type: 'subscribed', key: channel.key, mask, generation }
            : { type: 'subscriptionRefused', key: channel.key },
        );
      }
    };
    const subscription = this.#subscribe(subject, (bytes) => this.#push(channel, bytes), changed);
    channel.subscription = subscription;
    subscription.ready.then(() => changed(true));
  }

  /** A JOIN may only be answered OK where the bus was there after it: a cut network is noticed by nothing else for seconds. */
  #verify(link: HubLink, receipt: number) {
    const { bus, clock } = this.#options;
    const verified = () => link.send({ type: 'verified', receipt });
    bus.flush().then(verified, () => {
      // A publish of ours that is refused fails the receipt too, and the bus is there. A lost connection is told by then.
      clock.after(0, () => {
        if (bus.connected) verified();
      });
    });
  }

  #endIfEmpty(channel: HubChannel) {
    if (channel.key === ALL || channel.mask !== 0 || channel.cancelEnd) return;
    if (this.#openings.leave(channel)) {
      this.#end(channel);
      return;
    }
    channel.cancelEnd = this.#options.clock.after(EMPTY_ROOM_MS, () => this.#end(channel));
    this.#empty.add(channel);
    if (this.#empty.size <= (this.#options.maxEmpty ?? MAX_EMPTY_ROOMS)) return;
    const [first] = this.#empty;
    if (!first) return;
    this.#options.metrics.roomsEndedEarly.inc();
    this.#end(first);
  }

  #end(channel: HubChannel) {
    channel.cancelEnd?.();
    channel.cancelEnd = undefined;
    channel.cancelTimer?.();
    channel.subscription?.unsubscribe();
    channel.publishers?.close();
    this.#empty.delete(channel);
    this.#channels.delete(channel.key);
  }

  // ── what the bus brings ──

  #heard(bytes: Uint8Array) {
    try {
      const { publisher, counter } = decodePush(bytes);
      this.#heartbeats.heard(publisher, counter);
    } catch (error) {
      this.#undecodable(error);
    }
  }

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
    if (repeats === count) return;
    if (this.#repeated(channel.key, push.id)) {
      channel.publishers?.skip(push.publisher, push.counter + repeats, count - repeats);
      return;
    }
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
      const header = { ...push, counter: push.counter + before, id: entry.id };
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
    for (const batch of channel.offer(header, items, repeats, hurry, now)) this.#outbox.put(channel, batch);
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
      if (batch) this.#outbox.put(channel, batch);
      // It may have told of losses alone, and a timer may be a little early by this clock.
      this.#arm(channel);
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
    const frames = batch.items > 0 ? this.#encode(channel, batch, mask) : [];
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

  /** Users of one push get the same bytes, which name none of them: encoded once for all that follow each other. */
  #encode(channel: HubChannel, { chunks }: Batch, mask: number): Frame[] {
    const [chunk] = chunks;
    if (!isUser(channel.key) || chunks.length > 1 || !chunk) return encodeFrames(channel.key, chunks, mask);
    const last = this.#lastForUser;
    const same = last?.items === chunk.items && last.first === chunk.first && last.publisher === chunk.publisher;
    const known = same ? last.frames : [];
    const missing = known.reduce((left, { form }) => left & ~form, mask);
    const frames = missing === 0 ? known : [...known, ...encodeFrames(channel.key, chunks, missing)];
    this.#lastForUser = { publisher: chunk.publisher, first: chunk.first, items: chunk.items, frames };
    return frames.filter(({ form }) => form & mask);
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
    const { bus, guard, gateway, metrics } = this.#options;
    // Where the bus is away the asker goes on without: it says how many answered.
    const reply = (answer: object | string) => announce(bus, guard, question.reply, answer);
    const { ask } = question;
    const gateways = this.#options.gateways();
    switch (question.type) {
      case 'stats': {
        // A shard that has just begun to listen has yet to say what it has.
        const missing = this.#links.filter(({ listening, counts }) => listening && !counts).length;
        reply({ type: 'stats', ask, gateway, gateways, missing, stats: metrics.stats() } satisfies Answer);
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

  /** Asks those that listen: others have no connections. Answers how many there are. */
  #askShards(question: Question): number {
    const asked = this.#links.filter((link) => link.listening);
    for (const link of asked) link.send({ type: 'ask', question });
    return asked.length;
  }

  // ── one session per user ──

  #session(bytes: Uint8Array) {
    const word = parseJson(bytes, SessionWord) ?? parseJson(bytes, HeldSessions);
    if (!word || word.gateway === this.#options.gateway) return;
    if ('user' in word) this.#sessions.heard(word.gateway, word.user, word.order);
    else for (const [user, order] of word.held) this.#sessions.heard(word.gateway, user, order);
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

function sumOf(answers: readonly ShardAnswer[]): number {
  let sum = 0;
  for (const answer of answers) if (answer.type !== 'rooms') sum += answer.connections;
  return sum;
}
