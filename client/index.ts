/** What the published package exports. */
export { CloseCode } from '@pushcluster/protocol/closeCodes.ts';
export type { Backoff } from './backoff.ts';
export type { Clock } from './clock.ts';
export type { Socket, SocketConstructor } from './connection.ts';
export type { PushOptions } from './options.ts';
export { PushClient } from './pushClient.ts';
export { PushError, type PushErrorCode } from './pushError.ts';
export type { ClientState, ClientState as LinkState, Closed, Left, PushEvents, WireFrame } from './pushEvents.ts';
export type {
  Gap,
  JoinOptions,
  Lagged,
  PositionStorage,
  ResetReason,
  Room,
  RoomEvents,
  RoomPosition,
  Stream,
  StreamEvents,
} from './stream.ts';
export type { TokenSource } from './token.ts';
