import { CloseCode, closeReason } from '@pushcluster/protocol/closeCodes.ts';
import type { Form } from '@pushcluster/protocol/wireForms.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { increment, type ShardCounts } from '../ipc/counts.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import { BacklogLimit } from './backlogLimit.ts';
import type { Broadcaster } from './broadcaster.ts';
import type { Channels } from './channels.ts';
import { Connection } from './connection.ts';
import type { Socket } from './engine.ts';
import type { Loop } from './loop.ts';
import { closeLabel } from './metricLabels.ts';
import type { MovingConnections } from './movingConnections.ts';
import { catchUp } from './slowConsumerPolicy.ts';
import { TokenExpiries } from './tokenExpiries.ts';

/** A connection that is being closed and has yet to read what waits for it is given this long, milliseconds. Then it is cut. */
const LINGER_MS = 5_000;

export type ConnectionsOptions = {
  counts: ShardCounts;
  log: Logger;
  loop: Loop;
  channels: Channels;
  broadcaster: Pick<Broadcaster, 'visit'>;
  moving: Pick<MovingConnections, 'add' | 'remove' | 'drained'>;
  notifyHub: (message: ShardMessage) => void;
};

/** The life of a shard's connections: they open, are authorized, expire, are ended, linger, and are closed. */
export class Connections {
  /** What waits for all connections. */
  readonly backlog: BacklogLimit<Connection>;
  /** Bytes that may wait for all connections together. */
  backlogBudget = Number.MAX_SAFE_INTEGER;
  readonly #options: ConnectionsOptions;
  readonly #expiries = new TokenExpiries();
  /** Connections that have yet to send their first valid AUTH, with what cancels the timer of their wait. Nothing is sent to them. */
  readonly #unauthorized = new Map<Connection, () => void>();
  /** Connections that are being closed, with what cancels the timer that cuts them: a peer that doesn't read must not keep what waits. */
  readonly #lingering = new Map<Connection, () => void>();
  #count = 0;
  #lastId = 0;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.backlog = new BacklogLimit({
      loop: options.loop,
      budget: () => this.backlogBudget,
      cut: (connection) => this.#cut(connection),
    });
  }

  get count(): number {
    return this.#count;
  }

  /** The id of the connection that was opened last. Ids rise. */
  get lastId(): number {
    return this.#lastId;
  }

  get unauthorized(): Connection[] {
    return [...this.#unauthorized.keys()];
  }

  /** A socket was opened. The connection is authorized next (`authorize`), or has some time to be (`awaitToken`). */
  open(ws: Socket, form: Form, address: string | undefined): Connection {
    const { counts, channels } = this.#options;
    counts.opened++;
    this.#count++;
    return new Connection(++this.#lastId, ws, form, channels.all, address, this.backlog);
  }

  /** Calls `late` unless the connection is authorized or gone within `ms` milliseconds. */
  awaitToken(connection: Connection, ms: number, late: () => void): void {
    this.#unauthorized.set(connection, this.#options.loop.after(ms, late));
  }

  /** From here on it gets what goes to all. Does nothing to one that is authorized already. */
  authorize(connection: Connection): void {
    if (connection.authorized) return;
    connection.authorized = true;
    this.#unauthorized.get(connection)?.();
    this.#unauthorized.delete(connection);
    this.#options.channels.add(connection);
  }

  /** @param second since the epoch at which its token expires; 0: never */
  setExpiry(connection: Connection, second: number): void {
    if (connection.expires > 0) this.#expiries.delete(connection.expires, connection);
    connection.expires = second;
    if (second > 0) this.#expiries.add(second, connection);
  }

  /** Ends the connections whose token has expired. */
  expire(nowSecond: number): void {
    const due = this.#expiries.due(nowSecond);
    if (due.length === 0) return;
    const { broadcaster, channels } = this.#options;
    // Tokens of one issuer may all expire in the same second.
    broadcaster.visit(channels.all, due, ({ connection }) => {
      if (connection.expires <= nowSecond) this.end(connection, CloseCode.tokenExpired, 'the token has expired');
    });
  }

  /**
   * Ends a connection with a code that says why. If bytes wait for it, the close frame follows them: in the engine they would
   * be out of reach and uncounted after its own `end`, and a peer that doesn't read would keep them.
   */
  end(connection: Connection, code: CloseCode, reason: string): void {
    if (connection.gone) return;
    const { moving, log, loop } = this.#options;
    moving.add(connection);
    const level = code === CloseCode.goingAway ? 'debug' : 'info';
    const { id, user, address } = connection;
    log[level]({ connection: id, user, address, code, reason }, 'closing');
    connection.ending = { code, reason: closeReason(reason) };
    this.#withdraw(connection);
    this.backlog.note(connection);
    if (connection.waiting === 0) connection.ws.end(code, connection.ending.reason);
    else
      this.#lingering.set(
        connection,
        loop.after(LINGER_MS, () => connection.ws.close()),
      );
  }

  /** The engine reports that a connection is closed. */
  closed(connection: Connection, code: number): void {
    connection.closed = true;
    increment(this.#options.counts.closed, closeLabel(connection.ending?.code ?? code));
    this.#withdraw(connection);
    this.backlog.forget(connection);
    this.#lingering.get(connection)?.();
    this.#lingering.delete(connection);
    this.#count--;
    this.#options.moving.remove(connection);
    if (connection.address !== undefined) this.release(connection.address);
  }

  /** A connection that the hub admitted for this address is gone, or was never opened. */
  release(address: string): void {
    this.#options.notifyHub({ type: 'left', ip: address });
  }

  /** The engine reports that the socket's buffer went down. */
  drained(connection: Connection): void {
    this.backlog.note(connection);
    if (connection.waiting > 0) return;
    if (connection.ending) {
      connection.ws.end(connection.ending.code, connection.ending.reason);
      return;
    }
    this.#options.moving.drained(connection);
    catchUp(connection);
  }

  /** A ping of the WebSocket protocol, which the engine has answered. */
  pinged(connection: Connection): void {
    // The pong may wait in the socket's buffer, which the engine reports to nobody.
    if (!connection.gone) this.backlog.note(connection);
  }

  /** Ends the connection in the loop's next turn: a group that is being walked must not change. */
  endSoon(connection: Connection, code: CloseCode, reason: string): void {
    this.#options.loop.soon(() => this.end(connection, code, reason));
  }

  /** Takes it out of every channel. */
  #withdraw(connection: Connection) {
    if (connection.withdrawn) return;
    const { channels } = this.#options;
    connection.withdrawn = true;
    if (connection.expires > 0) this.#expiries.delete(connection.expires, connection);
    for (const member of connection.members) channels.remove(member);
    connection.members = [];
    this.#unauthorized.get(connection)?.();
    if (!this.#unauthorized.delete(connection)) channels.remove(connection);
  }

  /** Over the budget of what may wait for all: its bytes are let go of at once. A close frame would wait behind them. */
  #cut(connection: Connection) {
    const { counts, log } = this.#options;
    counts.backlogCut++;
    if (!connection.ending) {
      const reason = 'reads too slowly: too much waits for all slow readers';
      connection.ending = { code: CloseCode.slowConsumer, reason };
      const { id, user, address, waiting } = connection;
      log.info({ connection: id, user, address, code: CloseCode.slowConsumer, reason, waiting }, 'closing');
    }
    connection.ws.close();
  }
}
