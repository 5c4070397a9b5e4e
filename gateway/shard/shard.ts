import { CloseCode, closeReason } from '@pushcluster/protocol/closeCodes.ts';
import type { Question } from '@pushcluster/protocol/control.ts';
import {
  type ClientFrame,
  type ErrorCode,
  errorFrame,
  type IdText,
  laggedFrame,
  leaveFrame,
  okFrame,
  PONG,
  parseClientFrame,
  pongFrame,
} from '@pushcluster/protocol/frames.ts';
import { matches } from '@pushcluster/protocol/pattern.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { type Form, formIndex, WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { Identity } from '../admission/identity.ts';
import { InvalidToken, type TokenVerifier } from '../admission/tokenVerifier.ts';
import { ALL, type ChannelKey, roomKey, roomOf, userKey } from '../ipc/channelKey.ts';
import { increment, newCounts } from '../ipc/counts.ts';
import type { FrameMessage } from '../ipc/frame.ts';
import { Fullest, jsonWithin, MAX_LIST_BYTES } from '../ipc/fullest.ts';
import { missedSize, type ShardAnswer, type ShardMessage } from '../ipc/messages.ts';
import { Backlog } from './backlog.ts';
import { Broadcaster, type BroadcasterHooks, type Loop, systemLoop } from './broadcaster.ts';
import { Channel, Member } from './channel.ts';
import { Expiries } from './expiries.ts';
import type { Sending, Wave } from './job.ts';
import { closeLabel } from './labels.ts';
import { LEAVING, Leavers, REPLACED } from './leavers.ts';
import { Session } from './session.ts';

/**
 * Rooms that nobody else is in, that one connection may begin: each costs a subscription. So many at once (or
 * `maxPerConnection`, if that is more), and so many a second after that.
 */
const NEW_ROOMS_AT_ONCE = 100;
const NEW_ROOMS_A_SECOND = 10;
/** How long a connection without a token may take to send its first AUTH, milliseconds (contract, section 2). */
const AUTH_WITHIN = 5_000;
/** A connection that is being closed and has yet to read what waits for it is given this long, milliseconds: then it is cut. */
const LINGER_MS = 5_000;
/** A JOIN that can't be in force for so long is refused, milliseconds: the client tries again, here or elsewhere. */
const JOIN_WITHIN = 3_000;
/** Fewer bytes that are done with wait for the next report: a quiet room's frame needs no word of its own. A sixteenth of the least `maxInFlight`. */
const TELL_DONE_BYTES = 65_536;

const FORBIDDEN_NOW = 'the new token does not allow this room';

/**
 * The connections of one shard and what they joined. It knows the engine only as `Socket`: listen.ts brings the
 * events, the hub's messages come from main.ts, and `tell` goes back to the hub.
 */
export class Shard {
  readonly counts = newCounts();
  readonly leavers = new Leavers({
    counts: this.counts,
    now: () => this.#loop.now(),
    all: () => this.#all.sessions,
    unauthorized: () => [...this.#unauthorized.keys()],
    end: (session, code, reason) => this.end(session, code, reason),
    after: (ms, run) => this.#loop.after(ms, run),
  });
  settings: Settings;
  verifier: Pick<TokenVerifier, 'verify' | 'verifyNow' | 'close'> | undefined;
  readonly #log: Logger;
  readonly #tell: (message: ShardMessage) => void;
  readonly #loop: Loop;
  readonly #all = new Channel(ALL);
  readonly #channels = new Map<ChannelKey, Channel>([[ALL, this.#all]]);
  readonly #broadcaster: Broadcaster;
  readonly #expiries = new Expiries();
  /** Opened, and still to send their first AUTH, with the timer that ends their wait: nothing goes to them. */
  readonly #unauthorized = new Map<Session, () => void>();
  /** Being closed, with the timer that cuts them: what waits for them must not be kept by peers that don't read. */
  readonly #lingering = new Map<Session, () => void>();
  /** What waits for all connections, and how many bytes may. */
  readonly backlog: Backlog<Session>;
  backlogBudget = Number.MAX_SAFE_INTEGER;
  /** Those whose AUTH waits for its check. */
  readonly #authenticating = new Set<Session>();
  #connections = 0;
  #rooms = 0;
  #lastId = 0;
  #lastTurn = 0;
  /** Channels with a JOIN to be answered. */
  readonly #joining = new Set<Channel>();
  #bus = true;
  /** Receipts of the bus that were asked for, and the last that came. */
  #receiptsAsked = 0;
  #receipt = 0;
  #askingReceipt = false;
  #lastSession = 0;
  /** Bytes of frames that the hub has yet to be told of. */
  #doneWith = 0;

  constructor(settings: Settings, log: Logger, tell: (message: ShardMessage) => void, loop: Loop = systemLoop) {
    this.settings = settings;
    this.#log = log;
    this.#tell = tell;
    this.#loop = loop;
    this.backlog = new Backlog({
      loop,
      budget: () => this.backlogBudget,
      cut: (session) => this.#cut(session),
    });
    const hooks: BroadcasterHooks = {
      queued: (session) => this.backlog.note(session),
      done: (size) => this.#done(size),
      dropped: (session) => this.#dropped(session),
      idle: (channel) => this.#forgetIfEmpty(channel),
    };
    this.#broadcaster = new Broadcaster(this.counts, hooks, loop);
  }

  get connections(): number {
    return this.#connections;
  }

  /** Connections that were not asked to leave. */
  get unasked(): number {
    return this.#connections - this.leavers.count;
  }

  /** Connections that may be moved to even out the load, at most. */
  get movable(): number {
    return this.leavers.movable(this.unasked);
  }

  get rooms(): number {
    return this.#rooms;
  }

  // ── connections ──

  /** A connection was opened. Without an identity it must send AUTH within 5 s. */
  open(ws: Session['ws'], form: Form, identity: Identity | undefined, address: string | undefined): Session {
    const session = new Session(++this.#lastId, ws, form, this.#all, address, this.backlog);
    this.counts.opened++;
    this.#connections++;
    if (identity) {
      this.#identify(session, identity);
    } else {
      const late = () => {
        // One that is being checked is answered in any case: what nobody can tell yet is no refusal.
        if (!this.#authenticating.has(session))
          this.end(session, CloseCode.unauthorized, `no token within ${AUTH_WITHIN / 1_000} s`);
      };
      this.#unauthorized.set(session, this.#loop.after(AUTH_WITHIN, late));
    }
    return session;
  }

  /** The engine says that a connection is gone. */
  closed(session: Session, code: number): void {
    session.closed = true;
    increment(this.counts.closed, closeLabel(session.ending?.code ?? code));
    this.#withdraw(session);
    this.backlog.forget(session);
    this.#lingering.get(session)?.();
    this.#lingering.delete(session);
    this.#connections--;
    this.leavers.remove(session);
    if (session.address !== undefined) this.release(session.address);
  }

  /** Takes it out of everything that is sent to, if it is in it still. */
  #withdraw(session: Session) {
    if (session.withdrawn) return;
    session.withdrawn = true;
    if (session.expires > 0) this.#expiries.delete(session.expires, session);
    for (const member of session.members) this.#remove(member);
    session.members = [];
    this.#unauthorized.get(session)?.();
    if (!this.#unauthorized.delete(session)) this.#remove(session);
  }

  /** A connection that the hub admitted for this address is gone, or never came to be. */
  release(address: string): void {
    this.#tell({ type: 'left', ip: address });
  }

  /**
   * Ends a connection with a code that says why. Where bytes wait for it, the code follows them: at the engine's own end
   * they would be out of reach, uncounted, and a peer that doesn't read would keep them.
   */
  end(session: Session, code: CloseCode, reason: string): void {
    if (session.gone) return;
    this.leavers.add(session);
    const level = code === CloseCode.goingAway ? 'debug' : 'info';
    this.#log[level]({ session: session.id, user: session.user, address: session.address, code, reason }, 'closing');
    session.ending = { code, reason: closeReason(reason) };
    this.#withdraw(session);
    this.backlog.note(session);
    if (session.waiting === 0) session.ws.end(code, session.ending.reason);
    else
      this.#lingering.set(
        session,
        this.#loop.after(LINGER_MS, () => session.ws.close()),
      );
  }

  /** Over the budget of what may wait for all: its bytes are let go of at once. A close code would wait behind them. */
  #cut(session: Session) {
    this.counts.backlogCut++;
    if (!session.ending) {
      const reason = 'reads too slowly: too much waits for all slow readers';
      session.ending = { code: CloseCode.slowConsumer, reason };
      const { id, user, address, waiting } = session;
      this.#log.info({ session: id, user, address, code: CloseCode.slowConsumer, reason, waiting }, 'closing');
    }
    session.ws.close();
  }

  /** The socket's buffer went down. */
  drained(session: Session): void {
    this.backlog.note(session);
    if (session.waiting > 0) return;
    if (session.ending) {
      session.ws.end(session.ending.code, session.ending.reason);
      return;
    }
    this.leavers.drained(session);
    if (session.lagging) session.recover();
  }

  /** A ping of the WebSocket protocol, which the engine has answered: no frame of ours, and not counted as one. */
  pinged(session: Session): void {
    // The answer may have found no room in the kernel, and the engine tells nobody.
    if (!session.gone) this.backlog.note(session);
  }

  // ── what a client says ──

  /** A message arrived: `text` is undefined for a binary one. */
  received(session: Session, text: string | undefined, bytes: number, nowSecond: number): void {
    if (session.gone) return;
    this.counts.inboundFrames++;
    // What was answered within the engine's last turn, and found no room in the kernel, was told to nobody.
    this.backlog.note(session);
    const { maxFrame } = this.settings.gateway.inbound;
    if (bytes > maxFrame) {
      this.end(session, CloseCode.tooBig, `frame of ${bytes} bytes, at most ${maxFrame}`);
      return;
    }
    if (this.#limitRate(session, nowSecond)) return;
    if (text === undefined) {
      increment(this.counts.ignored, 'binary');
      return;
    }
    this.#obey(session, parseClientFrame(text));
  }

  /** Counts a frame; true where that is one too many, and the connection is being closed for it. */
  #limitRate(session: Session, second: number): boolean {
    const rate = this.settings.gateway.inbound.frameRate;
    if (second !== session.second) {
      session.frames = Math.max(0, session.frames - rate * (second - session.second));
      session.second = second;
    }
    if (++session.frames <= 2 * rate) return false;
    this.end(session, CloseCode.policy, `more than ${rate} frames a second`);
    return true;
  }

  #obey(session: Session, frame: ClientFrame) {
    switch (frame.type) {
      case 'PING':
        // Who asks for it has a limit of its own for how long it waits.
        if (!session.say(frame.id === undefined ? PONG : pongFrame(frame.id))) this.counts.answersDropped++;
        return;
      case 'AUTH':
        void this.#authenticate(session, frame.token, frame.id);
        return;
      case 'JOIN':
        this.#join(session, frame.room, frame.id);
        return;
      case 'LEAVE': {
        const channel = this.#channels.get(roomKey(frame.room));
        const member = channel && session.memberOf(channel);
        if (member) this.#leave(session, member, 'left', 'the room was left');
        if (frame.id !== undefined) this.#say(session, okFrame(frame.id, frame.room));
        return;
      }
      case 'malformed':
        this.end(session, CloseCode.policy, 'frame is not JSON');
        return;
      case 'bad':
        this.#refuse(session, frame.id, frame.code, frame.message);
        return;
      case 'unknown':
        increment(this.counts.ignored, 'unknown');
        if (frame.id !== undefined)
          this.#say(session, errorFrame(frame.id, 'bad_frame', 'type is none of PING, JOIN, LEAVE and AUTH'));
        return;
    }
  }

  #refuse(session: Session, id: IdText | undefined, code: ErrorCode, message: string) {
    increment(this.counts.ignored, code);
    this.#log.debug({ session: session.id, user: session.user, code, message }, 'frame refused');
    if (id !== undefined) this.#say(session, errorFrame(id, code, message));
  }

  async #authenticate(session: Session, token: string, id: IdText | undefined): Promise<void> {
    if (this.#authenticating.has(session)) {
      this.#refuse(session, id, 'unavailable', 'an AUTH is still to be answered');
      return;
    }
    this.#authenticating.add(session);
    try {
      if (!this.verifier) throw new InvalidToken('this gateway takes no tokens');
      const identity = this.verifier.verifyNow(token) ?? (await this.verifier.verify(token));
      if (session.gone) return;
      if (session.authorized && !session.anonymous && identity.user !== session.user)
        throw new InvalidToken('the token is for another user');
      this.#identify(session, identity);
      if (id !== undefined) this.#say(session, okFrame(id));
    } catch (error) {
      if (session.gone) return;
      const invalid = error instanceof InvalidToken;
      const message = invalid ? error.message : 'the token can not be checked now';
      this.#log.info({ session: session.id, user: session.user, reason: message }, 'AUTH refused');
      if (id !== undefined) this.#say(session, errorFrame(id, invalid ? 'unauthorized' : 'unavailable', message));
      if (session.authorized) return;
      // Where the keys can't be had the token may well be good: the client is to come back, and not to stay away.
      this.end(session, invalid ? CloseCode.unauthorized : CloseCode.overloaded, message);
    } finally {
      this.#authenticating.delete(session);
    }
  }

  /** Takes on who it is: at the open, and again at each AUTH. Rooms that the new token lacks are left. */
  #identify(session: Session, identity: Identity) {
    if (session.expires > 0) this.#expiries.delete(session.expires, session);
    session.expires = identity.expires;
    if (session.expires > 0) this.#expiries.add(session.expires, session);
    session.patterns = identity.rooms;
    for (const member of [...session.members]) {
      const room = roomOf(member.channel.key);
      if (room === undefined || mayJoin(session, room)) continue;
      this.#takeOut(session, member, 'room_forbidden', FORBIDDEN_NOW);
    }
    session.anonymous = identity.anonymous === true;
    if (!session.authorized) {
      session.authorized = true;
      this.#unauthorized.get(session)?.();
      this.#unauthorized.delete(session);
      this.#add(session);
    }
    if (identity.user === undefined || session.user !== undefined) return;
    session.user = identity.user;
    this.#add(this.#enter(session, this.#channel(userKey(session.user))));
    if (this.settings.gateway.connections.onePerUser) {
      session.number = ++this.#lastSession;
      this.replace(session.user, session.number - 1);
      this.#tell({ type: 'session', user: session.user, session: session.number, at: this.#loop.now() });
    }
  }

  #join(session: Session, room: string, id: IdText | undefined) {
    if (!session.authorized) {
      this.#refuse(session, id, 'unauthorized', 'AUTH comes first');
      return;
    }
    if (!mayJoin(session, room)) {
      this.#refuse(session, id, 'room_forbidden', `the token does not allow the room ${JSON.stringify(room)}`);
      return;
    }
    const existing = this.#channels.get(roomKey(room));
    let added = false;
    if (!existing || !session.memberOf(existing)) {
      const { maxPerConnection, max } = this.settings.gateway.rooms;
      const joined = session.members.length - (session.user === undefined ? 0 : 1);
      if (joined >= maxPerConnection) {
        this.#refuse(session, id, 'room_limit', `at most ${maxPerConnection} rooms on a connection`);
        return;
      }
      if (!existing && this.#rooms >= max) {
        this.#refuse(session, id, 'unavailable', `this gateway has ${max} rooms already`);
        return;
      }
      if (!existing && session.opensTooMany(NEW_ROOMS_A_SECOND, Math.max(NEW_ROOMS_AT_ONCE, maxPerConnection))) {
        this.#refuse(session, id, 'unavailable', `more than ${NEW_ROOMS_A_SECOND} new rooms a second`);
        return;
      }
      added = true;
      this.#add(this.#enter(session, existing ?? this.#channel(roomKey(room))));
    }
    if (id === undefined) return;
    const channel = this.#channel(roomKey(room));
    const member = session.memberOf(channel);
    if (!member || channel.waiting?.has(member)) {
      this.#refuse(session, id, 'unavailable', 'a JOIN of this room is still to be answered');
      return;
    }
    channel.waiting ??= new Map();
    channel.waiting.set(member, { id, added, receipt: this.#askReceipt(), since: this.#loop.now() });
    this.#joining.add(channel);
  }

  /** The number of the receipt that will say that the bus was there after this moment. */
  #askReceipt(): number {
    if (!this.#askingReceipt) {
      this.#askingReceipt = true;
      this.#loop.soon(() => {
        this.#askingReceipt = false;
        this.#tell({ type: 'verify', receipt: ++this.#receiptsAsked });
      });
    }
    return this.#receiptsAsked + 1;
  }

  /** Answers the JOINs of a channel that are in force. */
  #answerJoins(channel: Channel) {
    for (const [member, join] of channel.waiting ?? []) {
      if (!this.#bus || join.receipt > this.#receipt || (member.session.form & channel.opened) === 0) continue;
      channel.waiting?.delete(member);
      this.#say(member.session, okFrame(join.id, roomOf(channel.key)));
    }
    if (channel.waiting?.size) return;
    channel.waiting = undefined;
    this.#joining.delete(channel);
  }

  /** Refuses the JOINs that waited too long. */
  #refuseJoins() {
    const before = this.#loop.now() - JOIN_WITHIN;
    for (const channel of this.#joining) {
      for (const [member, join] of channel.waiting ?? []) {
        if (join.since > before) continue;
        channel.waiting?.delete(member);
        if (join.added) this.#leave(member.session, member, 'unavailable', '');
        this.#refuse(member.session, join.id, 'unavailable', "the room's items can't be had from the bus now");
      }
      this.#answerJoins(channel);
    }
  }

  /** Takes a connection that stays out of a channel. Its JOIN that waits there is answered with `code`. */
  #leave(session: Session, member: Member, code: ErrorCode, message: string) {
    const join = member.channel.waiting?.get(member);
    session.members.splice(session.members.indexOf(member), 1);
    this.#remove(member);
    if (join) this.#refuse(session, join.id, code, message);
  }

  /** Takes a connection that stays out of a room for good, and tells it once: a second word could end what it joins after the first. */
  #takeOut(session: Session, member: Member, code: ErrorCode, reason: string) {
    const room = roomOf(member.channel.key);
    const isTold = member.channel.waiting?.has(member);
    this.#leave(session, member, code, reason);
    if (session.v1 && !isTold && room !== undefined) this.#say(session, leaveFrame(room, reason));
  }

  // ── members and channels ──

  #enter(session: Session, channel: Channel): Member {
    const member = new Member(channel);
    member.session = session;
    session.members.push(member);
    return member;
  }

  #channel(key: ChannelKey): Channel {
    let channel = this.#channels.get(key);
    if (!channel) {
      channel = new Channel(key);
      this.#channels.set(key, channel);
      if (roomOf(key) !== undefined) this.#rooms++;
    }
    return channel;
  }

  #add(member: Member) {
    const { channel, session } = member;
    const before = channel.mask;
    channel.group(session.form).add(member);
    if (session.lagging) member.noted = channel.positionOf(member);
    if (channel.mask !== before) this.#tellForms(channel);
  }

  #remove(member: Member) {
    const { channel, session } = member;
    channel.group(session.form).remove(member);
    channel.waiting?.delete(member);
    if (channel.group(session.form).members.length > 0) return;
    channel.opened &= channel.mask;
    this.#tellForms(channel);
    this.#forgetIfEmpty(channel);
  }

  #tellForms(channel: Channel) {
    channel.turn = ++this.#lastTurn;
    this.#tell({ type: 'forms', key: channel.key, mask: channel.mask, generation: channel.turn });
  }

  #forgetIfEmpty(channel: Channel) {
    if (channel === this.#all || channel.mask !== 0 || channel.active || channel.jobs.length > 0) return;
    if (this.#channels.delete(channel.key) && roomOf(channel.key) !== undefined) this.#rooms--;
  }

  /** Says what its client may wait for, or goes by. Where the socket has no room even for that, nobody is left waiting. */
  #say(session: Session, text: string) {
    if (session.say(text)) return;
    this.counts.answersDropped++;
    this.#loop.soon(() => this.end(session, CloseCode.slowConsumer, 'reads too slowly to be answered'));
  }

  #dropped(session: Session) {
    if (this.settings.gateway.slowConsumer.policy !== 'close') return;
    // Closing changes the group that is being walked.
    this.#loop.soon(() => this.end(session, CloseCode.slowConsumer, 'reads too slowly'));
  }

  // ── what the hub says ──

  opened(key: ChannelKey, mask: number, turn: number): void {
    const channel = this.#channels.get(key);
    // The answer to an earlier turn: the hub has yet to read that the forms changed since.
    if (!channel || channel.turn !== turn) return;
    channel.opened = mask & channel.mask;
    this.#answerJoins(channel);
  }

  /** The bus was there when `verify` of this turn had come to the hub. */
  verified(turn: number): void {
    this.#receipt = Math.max(this.#receipt, turn);
    for (const channel of this.#joining) this.#answerJoins(channel);
  }

  /** The bus has gone away, or has come back. */
  busChanged(connected: boolean): void {
    this.#bus = connected;
    if (!connected || this.#joining.size === 0) return;
    // What was asked of the former connection is not answered any more.
    const receipt = this.#askReceipt();
    for (const channel of this.#joining) for (const join of channel.waiting?.values() ?? []) join.receipt = receipt;
  }

  /**
   * The bus refuses the room. Who has joined must not believe to be there: v1 clients are taken out, and join again.
   * Those without a subprotocol are told of nothing that they miss.
   */
  shut(key: ChannelKey): void {
    const channel = this.#channels.get(key);
    const room = roomOf(key);
    if (!channel || room === undefined) return;
    channel.opened = 0;
    const reason = 'the bus refuses this room to this gateway';
    this.#broadcaster.visit(channel, channel.all, (member) => {
      const { session } = member;
      // Who left and came back since is there as another member, and a JOIN that waits is yet to be answered.
      if (session.memberOf(channel) !== member || !session.v1 || channel.waiting?.has(member)) return;
      this.#leave(session, member, 'unavailable', reason);
      this.#say(session, leaveFrame(room, reason, 'unavailable'));
    });
  }

  frame(message: FrameMessage): void {
    const channel = this.#channels.get(message.key);
    if (!channel) {
      this.#done(message.size);
      return;
    }
    const waves: (Wave | undefined)[] = WIRE_FORMS.map(() => undefined);
    for (const frame of message.frames) waves[formIndex(frame.form)] = frame;
    this.#broadcaster.push(channel, {
      type: 'send',
      items: message.items,
      waves,
      ages: message.ages,
      size: message.size,
    });
  }

  missed(key: ChannelKey, items: number, reason: NonNullable<Sending['missed']>): void {
    const channel = this.#channels.get(key);
    const size = missedSize(key);
    if (!channel) {
      this.#done(size);
      return;
    }
    const wave: Wave = { bytes: Buffer.from(laggedFrame(roomOf(key), items, reason)), binary: false };
    this.counts.dropped[reason] += items * channel.size;
    this.#broadcaster.push(channel, {
      type: 'send',
      items,
      waves: WIRE_FORMS.map(({ understandsControl }) => (understandsControl ? wave : undefined)),
      ages: [],
      missed: reason,
      size,
    });
  }

  disconnectUser(user: string, reason: string): void {
    this.#visitUser(
      user,
      () => true,
      (session) => this.end(session, CloseCode.disconnected, reason),
    );
  }

  /** Takes out everyone who is in the room now: after what is on its way to them, and before what comes later. */
  disconnectRoom(room: string, reason: string): void {
    const channel = this.#channels.get(roomKey(room));
    if (!channel) return;
    this.#broadcaster.visit(channel, channel.all, (member) => {
      const { session } = member;
      // Who left and came back since is there as another member.
      if (session.memberOf(channel) !== member) return;
      this.#takeOut(session, member, 'left', reason);
    });
  }

  /**
   * Closes the user's sessions up to number `upTo`. One that was asked to move goes by itself: the newer one may be its
   * move, and it still has to hear what waits in a window.
   */
  replace(user: string, upTo: number): void {
    this.#visitUser(
      user,
      ({ number }) => number <= upTo,
      (session) => {
        if (session.moving) session.replaced = true;
        else this.end(session, CloseCode.replaced, REPLACED);
      },
    );
  }

  /** The last moment: whoever is left goes with 1012. Resolves when everyone was told. */
  endAll(): Promise<void> {
    return new Promise((resolve) => {
      const left = [...this.#all.sessions, ...this.#unauthorized.keys()];
      this.#broadcaster.visit(
        this.#all,
        left,
        ({ session }) => this.end(session, CloseCode.goingAway, LEAVING),
        resolve,
      );
    });
  }

  #visitUser(user: string, isMeant: (session: Session) => boolean, visit: (session: Session) => void) {
    const channel = this.#channels.get(userKey(user));
    const members = channel?.all.filter(({ session }) => isMeant(session)) ?? [];
    if (channel && members.length > 0) this.#broadcaster.visit(channel, members, ({ session }) => visit(session));
  }

  #done(size: number) {
    this.#doneWith += size;
    if (this.#doneWith >= TELL_DONE_BYTES) this.tellDone();
  }

  /** Tells the hub which bytes of frames are done with: with each report, and as soon as they are many. */
  tellDone(): void {
    if (this.#doneWith === 0) return;
    this.#tell({ type: 'done', bytes: this.#doneWith });
    this.#doneWith = 0;
  }

  answer(question: Question): ShardAnswer | undefined {
    const { ask } = question;
    switch (question.type) {
      case 'rooms':
        return { type: 'rooms', ask, rooms: this.#fullestRooms(question.limit) };
      case 'room':
        return { type: 'room', ask, connections: this.#channels.get(roomKey(question.room))?.size ?? 0 };
      case 'user':
        return { type: 'user', ask, connections: this.#channels.get(userKey(question.user))?.size ?? 0 };
      case 'stats':
        return undefined;
    }
  }

  /** From now on only who is here now may be moved to even out the load; off: anyone. */
  mark(on: boolean): void {
    this.leavers.mark(on ? this.#lastId : undefined);
  }

  /** Closes those whose token has expired, and refuses JOINs that wait for too long. Call about once a second. */
  expire(nowSecond: number): void {
    this.#refuseJoins();
    const due = this.#expiries.due(nowSecond);
    if (due.length === 0) return;
    // Tokens of one issuer may all expire in the same second.
    this.#broadcaster.visit(this.#all, due, ({ session }) => {
      if (session.expires <= nowSecond) this.end(session, CloseCode.tokenExpired, 'the token has expired');
    });
  }

  #fullestRooms(limit: number) {
    const fullest = new Fullest(limit);
    for (const channel of this.#channels.values()) {
      const { key, size } = channel;
      // Only the few that count need their name.
      if (size >= fullest.least && key[0] === 'r') fullest.add(key.slice(1), size);
    }
    const { list } = fullest;
    return list.slice(0, jsonWithin(list, MAX_LIST_BYTES).length);
  }
}

function mayJoin(session: Session, room: string): boolean {
  return session.patterns === undefined || session.patterns.some((pattern) => matches(pattern, room));
}
