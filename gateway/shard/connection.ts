import type { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { type Form, understandsControl } from '@pushcluster/protocol/wireForms.ts';
import type { BacklogLimit } from './backlogLimit.ts';
import type { Channel } from './channel.ts';
import { DROPPED, SENT, type Socket } from './engine.ts';
import type { Behind, ChannelMember } from './group.ts';
import { leaked } from './leakyCount.ts';

/** A connection's place in a channel. Small: there is one for each connection and room. */
export class Member implements ChannelMember {
  /** Set by its maker at once. A connection is its own membership in the channel of all. */
  connection!: Connection;
  readonly channel: Channel<Member>;
  index = 0;
  behind: Behind | undefined = undefined;

  constructor(channel: Channel<Member>) {
    this.channel = channel;
  }
}

// What is true of a connection, a bit each: with a field each, a connection would be 40 bytes larger.
const [AUTHORIZED, ANONYMOUS, CLOSED, WITHDRAWN, MOVING, REPLACED] = [1, 2, 4, 8, 16, 32];

/** One connection. It is its own membership in the channel of all, so that a million of them stay small. */
export class Connection extends Member {
  readonly id: number;
  ws: Socket;
  readonly form: Form;
  /** The address that the hub counts it by; undefined if connections per address are not limited. */
  readonly address: string | undefined;
  user: string | undefined = undefined;
  /** Patterns of the rooms that it may join; undefined: any room. */
  patterns: readonly string[] | undefined = undefined;
  /** Seconds since the epoch at which its token expires; 0: never. */
  expires = 0;
  /** Its memberships besides that in the channel of all: rooms, and its user. */
  members: Member[] = [];
  /** Why it is being closed. Once this is set nothing is read from it and nothing is sent to it. */
  ending: { code: CloseCode; reason: string } | undefined = undefined;
  // For BacklogLimit: bytes in the socket's buffer, and since when any wait there (milliseconds of the loop's clock).
  waiting = 0;
  waitingSince = 0;
  readonly #backlog: Pick<BacklogLimit<Connection>, 'note'>;
  /** The number of its session, as the hub knows it; 0 if it was opened without a limit of one session per user. */
  sessionNumber = 0;
  #facts = 0;
  // The inbound rate: the second of the last frame, and the count of frames as of then, which leaks at that rate.
  #second = 0;
  #frames = 0;
  /** Rooms that it was the first in, counted in the same way. Most connections are never the first. */
  #newRooms: { second: number; count: number } | undefined = undefined;

  constructor(
    id: number,
    ws: Socket,
    form: Form,
    all: Channel<Member>,
    address: string | undefined,
    backlog: Pick<BacklogLimit<Connection>, 'note'>,
  ) {
    super(all);
    this.#backlog = backlog;
    this.connection = this;
    this.id = id;
    this.ws = ws;
    this.form = form;
    this.address = address;
  }

  /** False between its opening and the first valid AUTH. */
  get authorized(): boolean {
    return (this.#facts & AUTHORIZED) !== 0;
  }

  set authorized(is: boolean) {
    this.#facts = is ? this.#facts | AUTHORIZED : this.#facts & ~AUTHORIZED;
  }

  /** True until the first valid token, if connections without one are allowed. */
  get anonymous(): boolean {
    return (this.#facts & ANONYMOUS) !== 0;
  }

  set anonymous(is: boolean) {
    this.#facts = is ? this.#facts | ANONYMOUS : this.#facts & ~ANONYMOUS;
  }

  /** The engine has reported its close. */
  get closed(): boolean {
    return (this.#facts & CLOSED) !== 0;
  }

  set closed(is: boolean) {
    this.#facts = is ? this.#facts | CLOSED : this.#facts & ~CLOSED;
  }

  /** It is a member of no channel any more. */
  get withdrawn(): boolean {
    return (this.#facts & WITHDRAWN) !== 0;
  }

  set withdrawn(is: boolean) {
    this.#facts = is ? this.#facts | WITHDRAWN : this.#facts & ~WITHDRAWN;
  }

  /** It was asked to move, or is being closed. It is not asked again. */
  get moving(): boolean {
    return (this.#facts & MOVING) !== 0;
  }

  set moving(is: boolean) {
    this.#facts = is ? this.#facts | MOVING : this.#facts & ~MOVING;
  }

  /** Its user opened a newer connection while this one was asked to move. It may not stay. */
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

  /** Its buffer was full: it is behind in all its channels until the buffer has drained. */
  get lagging(): boolean {
    return this.behind?.reason === 'slow';
  }

  /** The client understands LAGGED, RECONNECT and LEAVE. */
  get v1(): boolean {
    return understandsControl(this.form);
  }

  /** Counts one frame from the client; true if that is over `rate` a second, with a burst of twice that. */
  receivesTooMany(rate: number, second: number): boolean {
    if (second !== this.#second) {
      this.#frames = leaked(this.#frames, rate, second - this.#second);
      this.#second = second;
    }
    return ++this.#frames > 2 * rate;
  }

  /** Counts one room that nobody else is in; true, uncounted, if that is over `rate` a second, with this burst. */
  opensTooMany(rate: number, burst: number): boolean {
    this.#newRooms ??= { second: this.#second, count: 0 };
    const opened = this.#newRooms;
    opened.count = leaked(opened.count, rate, this.#second - opened.second);
    opened.second = this.#second;
    if (opened.count >= burst) return true;
    opened.count++;
    return false;
  }

  /** Its membership in a channel. A linear search: connections are in few rooms. */
  memberOf(channel: Channel<Member>): Member | undefined {
    for (const member of this.members) if (member.channel === channel) return member;
    return undefined;
  }

  /** Sends a text, or bytes as a binary message; false if it was dropped, since the socket's buffer is over its limit. */
  send(message: string | Uint8Array): boolean {
    const verdict = this.ws.send(message, typeof message !== 'string', false);
    if (verdict !== SENT) this.#backlog.note(this);
    return verdict !== DROPPED;
  }
}
