import { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
import { type ClientFrame, errorFrame, PONG, parseClientFrame, pongFrame } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { increment, type ShardCounts } from '../ipc/counts.ts';
import type { Authentication } from './authentication.ts';
import type { Connection } from './connection.ts';
import type { Connections } from './connections.ts';
import type { Replies } from './replies.ts';
import type { Rooms } from './rooms.ts';

export type ClientFramesOptions = {
  settings: () => Settings;
  counts: Pick<ShardCounts, 'inboundFrames' | 'ignored' | 'answersDropped'>;
  connections: Pick<Connections, 'backlog' | 'end' | 'pinged'>;
  authentication: Pick<Authentication, 'authenticate' | 'afterFirstToken'>;
  rooms: Pick<Rooms, 'join' | 'leave'>;
  replies: Replies;
};

/** What clients send: limits and counts frames, and hands each on to the part of the shard that it is for. */
export class ClientFrames {
  readonly #options: ClientFramesOptions;

  constructor(options: ClientFramesOptions) {
    this.#options = options;
  }

  /** A message arrived. @param text undefined for a binary message @param bytes its size @param nowSecond of any clock */
  received(connection: Connection, text: string | undefined, bytes: number, nowSecond: number): void {
    if (connection.gone) return;
    const { settings, counts, connections } = this.#options;
    counts.inboundFrames++;
    // What was sent within the engine's last handler, and found no room in the kernel, was reported to nobody.
    connections.backlog.note(connection);
    const { maxFrame } = settings().gateway.inbound;
    if (bytes > maxFrame) {
      connections.end(connection, CloseCode.tooBig, `frame of ${bytes} bytes, at most ${maxFrame}`);
      return;
    }
    if (this.#isTooFast(connection, nowSecond)) return;
    if (text === undefined) {
      increment(counts.ignored, 'binary');
      return;
    }
    this.#handle(connection, parseClientFrame(text));
  }

  /**
   * A ping of the WebSocket protocol, which the engine has answered. It costs as much as a frame, and counts as one in the
   * rate. @param nowSecond of any clock
   */
  pinged(connection: Connection, nowSecond: number): void {
    if (connection.gone) return;
    this.#options.connections.pinged(connection);
    this.#isTooFast(connection, nowSecond);
  }

  /** Counts a frame. If there are too many the connection is closed. */
  #isTooFast(connection: Connection, nowSecond: number): boolean {
    const { frameRate } = this.#options.settings().gateway.inbound;
    if (!connection.receivesTooMany(frameRate, nowSecond)) return false;
    this.#options.connections.end(connection, CloseCode.policy, `more than ${frameRate} frames a second`);
    return true;
  }

  #handle(connection: Connection, frame: ClientFrame) {
    const { counts, connections, authentication, rooms, replies } = this.#options;
    switch (frame.type) {
      case 'PING':
        // A client that waits for PONG has a time limit of its own for it.
        if (!connection.send(frame.id === undefined ? PONG : pongFrame(frame.id))) counts.answersDropped++;
        return;
      case 'AUTH':
        void authentication.authenticate(connection, frame.token, frame.id);
        return;
      case 'JOIN':
        authentication.afterFirstToken(connection, () => rooms.join(connection, frame.room, frame.id, frame));
        return;
      case 'LEAVE':
        authentication.afterFirstToken(connection, () => rooms.leave(connection, frame.room, frame.id));
        return;
      case 'malformed':
        connections.end(connection, CloseCode.policy, 'frame is not JSON');
        return;
      case 'bad':
        replies.refuse(connection, frame.id, frame.code, frame.message);
        return;
      case 'unknown':
        increment(counts.ignored, 'unknown');
        if (frame.id !== undefined)
          replies.send(connection, errorFrame(frame.id, 'bad_frame', 'type must be PING, JOIN, LEAVE or AUTH'));
        return;
    }
  }
}
