import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { userKey } from '../ipc/channelKey.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import type { Broadcaster } from './broadcaster.ts';
import type { Channels } from './channels.ts';
import type { Connection } from './connection.ts';
import type { Connections } from './connections.ts';
import type { Loop } from './loop.ts';
import { REPLACED } from './movingConnections.ts';

export type UserConnectionsOptions = {
  settings: () => Settings;
  loop: Loop;
  channels: Channels;
  broadcaster: Pick<Broadcaster, 'visit'>;
  connections: Pick<Connections, 'end'>;
  notifyHub: (message: ShardMessage) => void;
};

/**
 * The connections of users. With `connections.onePerUser` each is a session, and a newer one replaces those before it, on
 * other shards and gateways too: the hub is notified of each, by number.
 */
export class UserConnections {
  readonly #options: UserConnectionsOptions;
  #lastNumber = 0;

  constructor(options: UserConnectionsOptions) {
    this.#options = options;
  }

  /** A connection is known to be this user's from now on. It was nobody's before. */
  identified(connection: Connection, user: string): void {
    const { settings, loop, channels, notifyHub } = this.#options;
    connection.user = user;
    channels.join(connection, channels.obtain(userKey(user)));
    if (!settings().gateway.connections.onePerUser) return;
    connection.sessionNumber = ++this.#lastNumber;
    this.replace(user, connection.sessionNumber - 1);
    notifyHub({ type: 'session', user, session: connection.sessionNumber, at: loop.now() });
  }

  /**
   * Ends the user's sessions with a number of at most `upTo`, and connections without a number. A connection that was asked
   * to move is left to finish its move: the newer session may be its replacement, and items that wait in a merge window must
   * still reach it. It may not stay after its move.
   */
  replace(user: string, upTo: number): void {
    this.#visit(
      user,
      ({ sessionNumber }) => sessionNumber <= upTo,
      (connection) => {
        if (connection.moving) connection.replaced = true;
        else this.#options.connections.end(connection, CloseCode.replaced, REPLACED);
      },
    );
  }

  /** A backend disconnects the user: ends the user's connections, after what is on its way to them. */
  disconnect(user: string, reason: string): void {
    this.#visit(
      user,
      () => true,
      (connection) => this.#options.connections.end(connection, CloseCode.disconnected, reason),
    );
  }

  #visit(user: string, isMeant: (connection: Connection) => boolean, visit: (connection: Connection) => void) {
    const { channels, broadcaster } = this.#options;
    const channel = channels.get(userKey(user));
    const members = channel?.members.filter(({ connection }) => isMeant(connection)) ?? [];
    if (channel && members.length > 0) broadcaster.visit(channel, members, ({ connection }) => visit(connection));
  }
}
