import type { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { laggedFrame } from '@pushcluster/protocol/frames.ts';
import { type Form, understandsControl } from '@pushcluster/protocol/wireForms.ts';
import { roomOf } from '../ipc/channelKey.ts';
import type { Backlog } from './backlog.ts';
import { type Channel, Member } from './channel.ts';
import { DROPPED, SENT, type Socket } from './engine.ts';

// What is true of a connection, a bit each: a field each would be 48 bytes more, a million times.
const [AUTHORIZED, ANONYMOUS, LAGGING, CLOSED, WITHDRAWN, MOVING, REPLACED] = [1, 2, 4, 8, 16, 32, 64];

/** One connection. It is its own membership in `all`, so that a million of them stay small. */
export class Session extends Member {
  readonly id: number;
  ws: Socket;
  readonly form: Form;
  readonly address: string | undefined;
  user: string | undefined = undefined;
  patterns: readonly string[] | undefined = undefined;
  expires = 0;
  /** Its memberships besides `all`: rooms, and its user. */
  members: Member[] = [];
  /** Why it is being closed, once it is: from then on nothing is read from it and nothing goes to it. */
  ending: { code: CloseCode; reason: string } | undefined = undefined;
  // The backlog's.
  waiting = 0;
  waitingSince = 0;
  readonly #backlog: Pick<Backlog<Session>, 'note'>;
  /** Which of the shard's it is, as the hub was told; 0 where it was opened while any number per user was allowed. */
  number = 0;
  #facts = 0;
  // The inbound rate: frames counted in the present second, and which second that is.
  second = 0;
  frames = 0;
  // Rooms that it was the first in, in the same way; most are in few, and the first in none.
  #opened: { second: number; rooms: number } | undefined = undefined;

  constructor(
    id: number,
    ws: Socket,
    form: Form,
    all: Channel,
    address: string | undefined,
    backlog: Pick<Backlog<Session>, 'note'>,
  ) {
    super(all);
    this.#backlog = backlog;
    this.session = this;
    this.id = id;
    this.ws = ws;
    this.form = form;
    this.address = address;
  }

  /** False between open and the first valid AUTH. */
  get authorized(): boolean {
    return (this.#facts & AUTHORIZED) !== 0;
  }

  set authorized(is: boolean) {
    this.#facts = is ? this.#facts | AUTHORIZED : this.#facts & ~AUTHORIZED;
  }

  /** True until the first valid token, where connections without one are allowed. */
  get anonymous(): boolean {
    return (this.#facts & ANONYMOUS) !== 0;
  }

  set anonymous(is: boolean) {
    this.#facts = is ? this.#facts | ANONYMOUS : this.#facts & ~ANONYMOUS;
  }

  /** Skipped until its buffer has drained. */
  get lagging(): boolean {
    return (this.#facts & LAGGING) !== 0;
  }

  set lagging(is: boolean) {
    this.#facts = is ? this.#facts | LAGGING : this.#facts & ~LAGGING;
  }

  /** The engine said so. */
  get closed(): boolean {
    return (this.#facts & CLOSED) !== 0;
  }

  set closed(is: boolean) {
    this.#facts = is ? this.#facts | CLOSED : this.#facts & ~CLOSED;
  }

  /** It is a member of nothing any more. */
  get withdrawn(): boolean {
    return (this.#facts & WITHDRAWN) !== 0;
  }

  set withdrawn(is: boolean) {
    this.#facts = is ? this.#facts | WITHDRAWN : this.#facts & ~WITHDRAWN;
  }

  /** It was asked to move, or is being closed: not asked again. */
  get moving(): boolean {
    return (this.#facts & MOVING) !== 0;
  }

  set moving(is: boolean) {
    this.#facts = is ? this.#facts | MOVING : this.#facts & ~MOVING;
  }

  /** The user opened a newer one while this was asked to move: it may not stay. */
  get replaced(): boolean {
    return (this.#facts & REPLACED) !== 0;
  }

  set replaced(is: boolean) {
    this.#facts = is ? this.#facts | REPLACED : this.#facts & ~REPLACED;
  }

  /** It is closed, or being closed. */
  get gone(): boolean {
    return this.closed || this.ending !== undefined;
  }

  /** It would begin a room that nobody is in: true where that is too much, after `burst` at once and `rate` a second. */
  opensTooMany(rate: number, burst: number): boolean {
    this.#opened ??= { second: this.second, rooms: 0 };
    const opened = this.#opened;
    opened.rooms = Math.max(0, opened.rooms - rate * (this.second - opened.second));
    opened.second = this.second;
    if (opened.rooms >= burst) return true;
    opened.rooms++;
    return false;
  }

  /** Whether it understands LAGGED, RECONNECT and LEAVE. */
  get v1(): boolean {
    return understandsControl(this.form);
  }

  /** Its membership in a room, as a linear search: connections are in few rooms. */
  memberOf(channel: Channel): Member | undefined {
    for (const member of this.members) if (member.channel === channel) return member;
    return undefined;
  }

  /** Says a control text; false where the socket's buffer was over its limit and it was dropped. */
  say(text: string): boolean {
    const verdict = this.ws.send(text, false, false);
    if (verdict !== SENT) this.#backlog.note(this);
    return verdict !== DROPPED;
  }

  /** The first drop was seen: from here it is skipped, with each channel's position noted. */
  lag(): void {
    if (this.lagging) return;
    this.lagging = true;
    this.#note(this);
    for (const member of this.members) this.#note(member);
  }

  /** The buffer has drained: tells exactly what was missed and takes part again. If it fills up anew, the rest is told next time. */
  recover(): void {
    if (!this.lagging) return;
    const memberships: Member[] = [this, ...this.members];
    for (const member of memberships) if (!this.#tell(member)) return;
    this.lagging = false;
    for (const member of memberships) {
      member.noted = -1;
      member.channel.group(this.form).mute(member, false);
    }
  }

  #note(member: Member) {
    member.noted = member.channel.positionOf(member);
    member.channel.group(this.form).mute(member, true);
  }

  /** Tells what was missed up to now; false where even that was dropped. */
  #tell(member: Member): boolean {
    const position = member.channel.positionOf(member);
    const missed = position - member.noted;
    if (missed > 0 && this.v1 && !this.say(laggedFrame(roomOf(member.channel.key), missed, 'slow'))) return false;
    member.noted = position;
    return true;
  }
}
