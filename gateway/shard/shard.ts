import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import type { Question } from '@pushcluster/protocol/control.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Form } from '@pushcluster/protocol/wireForms.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { Identity } from '../admission/identity.ts';
import { newCounts } from '../ipc/counts.ts';
import type { FrameMessage } from '../ipc/frame.ts';
import type { HubMessage, ShardAnswer, ShardMessage } from '../ipc/messages.ts';
import { Authentication, type Verifier } from './authentication.ts';
import type { BacklogLimit } from './backlogLimit.ts';
import { Broadcaster } from './broadcaster.ts';
import { Channels } from './channels.ts';
import { ClientFrames } from './clientFrames.ts';
import type { Connection } from './connection.ts';
import { Connections } from './connections.ts';
import type { Socket } from './engine.ts';
import { HubCredit } from './hubCredit.ts';
import { HubMessages } from './hubMessages.ts';
import type { Loop } from './loop.ts';
import { LEAVING, MovingConnections } from './movingConnections.ts';
import { Replies } from './replies.ts';
import { Rooms } from './rooms.ts';
import { SlowConsumerPolicy } from './slowConsumerPolicy.ts';
import { UserConnections } from './userConnections.ts';

/**
 * One shard: its connections, and the channels that they are members of. This class puts the parts together. It knows the
 * engine only as `Socket`: connectionEvents.ts brings the engine's events, main.ts the hub's messages, and `notifyHub` takes
 * messages back to the hub.
 */
export class Shard {
  readonly counts = newCounts();
  settings: Settings;
  /** What tokens are checked with; undefined if there is no key source. */
  verifier: Verifier | undefined;
  readonly moving: MovingConnections;
  readonly #channels: Channels;
  readonly #broadcaster: Broadcaster;
  readonly #connections: Connections;
  readonly #rooms: Rooms;
  readonly #authentication: Authentication;
  readonly #clientFrames: ClientFrames;
  readonly #hubMessages: HubMessages;
  readonly #credit: HubCredit;

  constructor(settings: Settings, log: Logger, notifyHub: (message: ShardMessage) => void, loop: Loop = systemClock) {
    this.settings = settings;
    const { counts } = this;
    const current = () => this.settings;
    const channels = new Channels(notifyHub);
    const credit = new HubCredit(notifyHub);
    const slowConsumers = new SlowConsumerPolicy({
      policy: () => this.settings.gateway.slowConsumer.policy,
      endSoon: (connection, code, reason) => connections.endSoon(connection, code, reason),
    });
    const hooks = {
      queued: (connection: Connection) => connections.backlog.note(connection),
      done: (size: number) => credit.done(size),
      dropped: (connection: Connection) => slowConsumers.dropped(connection),
      idle: (channel: Connection['channel']) => channels.forgetIfEmpty(channel),
    };
    const broadcaster = new Broadcaster(counts, hooks, loop);
    const moving = new MovingConnections({
      counts,
      now: () => loop.now(),
      all: () => channels.all.members.map(({ connection }) => connection),
      unauthorized: () => connections.unauthorized,
      end: (connection, code, reason) => connections.end(connection, code, reason),
      after: (ms, run) => loop.after(ms, run),
    });
    const connections = new Connections({ counts, log, loop, channels, broadcaster, moving, notifyHub });
    const replies = new Replies({ counts, log, connections });
    const rooms = new Rooms({ settings: current, loop, channels, broadcaster, replies, notifyHub });
    const userConnections = new UserConnections({
      settings: current,
      loop,
      channels,
      broadcaster,
      connections,
      notifyHub,
    });
    const verifier = () => this.verifier;
    const authentication = new Authentication({ verifier, log, connections, replies, rooms, userConnections });
    this.moving = moving;
    this.#channels = channels;
    this.#broadcaster = broadcaster;
    this.#connections = connections;
    this.#rooms = rooms;
    this.#authentication = authentication;
    this.#clientFrames = new ClientFrames({ settings: current, counts, connections, authentication, rooms, replies });
    this.#hubMessages = new HubMessages({
      counts,
      channels,
      broadcaster,
      connections,
      credit,
      rooms,
      userConnections,
      moving,
    });
    this.#credit = credit;
  }

  get connections(): number {
    return this.#connections.count;
  }

  /** Connections that were not asked to move. */
  get unasked(): number {
    return this.#connections.count - this.moving.count;
  }

  /** Connections that may be moved to rebalance the load, at most. */
  get movable(): number {
    return this.moving.movable(this.unasked);
  }

  get rooms(): number {
    return this.#channels.rooms;
  }

  /** What waits for all connections. */
  get backlog(): BacklogLimit<Connection> {
    return this.#connections.backlog;
  }

  /** Bytes that may wait for all connections together. */
  get backlogBudget(): number {
    return this.#connections.backlogBudget;
  }

  set backlogBudget(bytes: number) {
    this.#connections.backlogBudget = bytes;
  }

  // ── events of the engine ──

  /**
   * A connection was opened. Without an identity it must send AUTH within 5 s.
   * @param address that the hub counted it by; undefined if it did not
   */
  open(ws: Socket, form: Form, identity: Identity | undefined, address: string | undefined): Connection {
    const connection = this.#connections.open(ws, form, address);
    if (identity) this.#authentication.identify(connection, identity);
    else this.#authentication.expect(connection);
    return connection;
  }

  /** A message arrived. @param text undefined for a binary message @param bytes its size @param nowSecond of any clock */
  received(connection: Connection, text: string | undefined, bytes: number, nowSecond: number): void {
    this.#clientFrames.received(connection, text, bytes, nowSecond);
  }

  /** The engine has answered a ping of the WebSocket protocol. @param nowSecond of any clock */
  pinged(connection: Connection, nowSecond: number): void {
    this.#clientFrames.pinged(connection, nowSecond);
  }

  /** The socket's buffer went down. */
  drained(connection: Connection): void {
    this.#connections.drained(connection);
    if (!connection.gone && connection.waiting === 0) this.#rooms.pendingJoins.drained(connection);
  }

  closed(connection: Connection, code: number): void {
    this.#connections.closed(connection, code);
  }

  /** A connection that the hub admitted for this address was never opened. */
  release(address: string): void {
    this.#connections.release(address);
  }

  // ── messages of the hub ──

  /** Does what a message says; false if it is about the shard's process. */
  handle(message: HubMessage): boolean {
    return this.#hubMessages.handle(message);
  }

  /** Broadcasts a batch. */
  frame(message: FrameMessage): void {
    this.#hubMessages.frame(message);
  }

  /** Answers a question about this shard; undefined if the hub answers it. */
  answer(question: Question): ShardAnswer | undefined {
    return this.#hubMessages.answer(question);
  }

  // ── the shard's process ──

  /** Goes on for `ms` with the broadcasts that wait. Call it between two events of the engine. */
  broadcast(ms: number): void {
    this.#broadcaster.advance(ms);
  }

  /** Ends connections whose token has expired, and refuses JOINs that have waited too long. Call it about once a second. */
  expire(nowSecond: number): void {
    this.#rooms.pendingJoins.refuseOverdue();
    this.#connections.expire(nowSecond);
  }

  /** Reports to the hub which bytes of frames are done with. Call it with each report of counts. */
  reportDone(): void {
    this.#credit.report();
  }

  /** Ends every connection with 1012. Resolves when every close frame was sent or waits in a socket. */
  endAll(): Promise<void> {
    return new Promise((resolve) => {
      const { all } = this.#channels;
      const left = [...all.members, ...this.#connections.unauthorized];
      const end = ({ connection }: (typeof left)[number]) =>
        this.#connections.end(connection, CloseCode.goingAway, LEAVING);
      this.#broadcaster.visit(all, left, end, resolve);
    });
  }
}
