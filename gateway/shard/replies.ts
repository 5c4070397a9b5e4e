import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { type ErrorCode, errorFrame, type IdText } from '@pushcluster/protocol/frames.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { increment, type ShardCounts } from '../ipc/counts.ts';
import type { Connection } from './connection.ts';
import type { Connections } from './connections.ts';

export type RepliesOptions = {
  counts: Pick<ShardCounts, 'answersDropped' | 'ignored'>;
  log: Logger;
  connections: Pick<Connections, 'endSoon'>;
};

/** What a client may wait for or must know: answers to its frames, and LEAVE. */
export class Replies {
  readonly #options: RepliesOptions;

  constructor(options: RepliesOptions) {
    this.#options = options;
  }

  /**
   * Sends a text, or bytes. If the socket has no room even for that, the connection is ended, so that nobody waits for ever.
   * @returns whether it was sent
   */
  send(connection: Connection, message: string | Uint8Array): boolean {
    if (connection.send(message)) return true;
    const { counts, connections } = this.#options;
    counts.answersDropped++;
    connections.endSoon(connection, CloseCode.slowConsumer, 'reads too slowly to be answered');
    return false;
  }

  /** Refuses a frame: counts it by `code`, and sends ERROR if the frame had an id. */
  refuse(connection: Connection, id: IdText | undefined, code: ErrorCode, message: string): void {
    const { counts, log } = this.#options;
    increment(counts.ignored, code);
    log.debug({ connection: connection.id, user: connection.user, code, message }, 'frame refused');
    if (id !== undefined) this.send(connection, errorFrame(id, code, message));
  }
}
