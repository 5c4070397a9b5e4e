import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { errorFrame, type IdText, okFrame } from '@pushcluster/protocol/frames.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { Identity } from '../admission/identity.ts';
import { InvalidToken, type TokenVerifier } from '../admission/tokens/tokenVerifier.ts';
import type { Connection } from './connection.ts';
import type { Connections } from './connections.ts';
import type { Replies } from './replies.ts';
import type { Rooms } from './rooms.ts';
import type { UserConnections } from './userConnections.ts';

/** How long a connection without a token may take to send its first AUTH, milliseconds (contract, section 2). */
const AUTH_WITHIN_MS = 5_000;

/** What tokens are checked with. */
export type Verifier = Pick<TokenVerifier, 'verify' | 'verifyNow' | 'close'>;

export type AuthenticationOptions = {
  /** Undefined if there is no key source. */
  verifier: () => Verifier | undefined;
  log: Logger;
  connections: Connections;
  replies: Replies;
  rooms: Pick<Rooms, 'leaveForbidden'>;
  userConnections: Pick<UserConnections, 'identified'>;
};

/** Who connections are: by the token of their handshake, and by AUTH. */
export class Authentication {
  readonly #options: AuthenticationOptions;
  /** Connections whose AUTH is being checked. */
  readonly #checking = new Map<Connection, (() => void)[]>();

  constructor(options: AuthenticationOptions) {
    this.#options = options;
  }

  /** A connection was opened without an identity: it must send AUTH in time. */
  expect(connection: Connection): void {
    const { connections } = this.#options;
    connections.awaitToken(connection, AUTH_WITHIN_MS, () => {
      // An AUTH that is being checked is answered in any case: while nobody knows whether the token is valid, it is no refusal.
      if (!this.#checking.has(connection))
        connections.end(connection, CloseCode.unauthorized, `no token within ${AUTH_WITHIN_MS / 1_000} s`);
    });
  }

  /** AUTH was received. Never rejects. */
  async authenticate(connection: Connection, token: string, id: IdText | undefined): Promise<void> {
    const { replies } = this.#options;
    if (this.#checking.has(connection)) {
      replies.refuse(connection, id, 'unavailable', 'an earlier AUTH has not been answered yet');
      return;
    }
    this.#checking.set(connection, []);
    try {
      const verifier = this.#options.verifier();
      if (!verifier) throw new InvalidToken('this gateway does not accept tokens');
      const identity = verifier.verifyNow(token) ?? (await verifier.verify(token));
      if (connection.gone) return;
      if (connection.authorized && !connection.anonymous && identity.user !== connection.user)
        throw new InvalidToken('the token is for another user');
      this.identify(connection, identity);
      if (id !== undefined) replies.send(connection, okFrame(id));
    } catch (error) {
      if (!connection.gone) this.#failed(connection, id, error);
    } finally {
      const waiting = this.#checking.get(connection);
      this.#checking.delete(connection);
      for (const run of waiting ?? []) if (!connection.gone) run();
    }
  }

  /**
   * Calls `run` now, or once the first AUTH of the connection has been checked, in the order of the calls. What is refused
   * meanwhile would have been allowed a moment later. The rate of the client's frames bounds how many wait.
   */
  afterFirstToken(connection: Connection, run: () => void): void {
    const waiting = connection.authorized ? undefined : this.#checking.get(connection);
    if (waiting) waiting.push(run);
    else run();
  }

  /** Applies an identity: when the connection opens, and again at each AUTH. Rooms that the new token does not allow are left. */
  identify(connection: Connection, identity: Identity): void {
    const { connections, rooms, userConnections } = this.#options;
    connections.setExpiry(connection, identity.expires);
    connection.patterns = identity.rooms;
    rooms.leaveForbidden(connection);
    connection.anonymous = identity.anonymous === true;
    connections.authorize(connection);
    if (identity.user !== undefined && connection.user === undefined)
      userConnections.identified(connection, identity.user);
  }

  #failed(connection: Connection, id: IdText | undefined, error: unknown) {
    const { log, replies, connections } = this.#options;
    const invalid = error instanceof InvalidToken;
    const message = invalid ? error.message : 'the token cannot be checked at the moment';
    log.info({ connection: connection.id, user: connection.user, reason: message }, 'AUTH refused');
    if (id !== undefined) replies.send(connection, errorFrame(id, invalid ? 'unauthorized' : 'unavailable', message));
    if (connection.authorized) return;
    // While the keys are unavailable the token may well be valid: the client is to come back, and not to stay away.
    connections.end(connection, invalid ? CloseCode.unauthorized : CloseCode.overloaded, message);
  }
}
