/** How much of their pushes the rooms of one policy keep. */
export type HistoryRules = {
  /** The policy's pattern of room names. It names the store's stream, so it is what identifies a history. */
  match: string;
  /** Pushes kept of each room at most. */
  messages: number;
  /** Milliseconds that a push is kept at most. */
  maxAge: number;
  /** Copies on different NATS servers. */
  replicas: 1 | 3;
  storage: 'file' | 'memory';
  /** Patterns of the policies before it that match some of the same rooms: these have other histories, or none. */
  earlier: readonly string[];
};

/** Where a push is in its room's history. */
export type StoredAt = {
  /** Increases with each push of a room. Other rooms of the stream take numbers in between. */
  seq: number;
  /** The push had been stored before: `seq` is that of the first time. */
  duplicate: boolean;
};

/** One push of a room's history. */
export type StoredPush = {
  seq: number;
  /** When it was stored, milliseconds since 1970 by the store's clock. */
  at: number;
  /** The bus message. */
  bytes: Uint8Array;
};

/** Pushes of one room, in order. */
export type Extract = {
  pushes: StoredPush[];
  /** How many more there are after the last one; undefined if the answer does not say. */
  pending: number | undefined;
};

export type StreamState = {
  /** Changes when the history is another one: made anew, or rolled back. Sequence numbers count within an epoch. */
  epoch: string;
  /** Sequence number of the last push of any room; 0 if there was none. */
  last: number;
  /**
   * Limits have not been raised since this sequence number: a push after it is missing only if the present limits removed
   * it.
   */
  floor: number;
  /** The limits that are in force. */
  messages: number;
  /** Milliseconds. */
  maxAge: number;
  /** When this was so, by the clock that dates pushes, milliseconds since 1970; absent if the store does not say. */
  at?: number;
};

/** What a stream has kept of all that it stored. */
export type StreamContents = {
  /** Sequence numbers of its first and its last push of any room. */
  first: number;
  last: number;
  pushes: number;
  /** Milliseconds since the first one was stored. */
  age: number;
};

/**
 * The floor where limits of before have removed nothing of what is there, nor can have at another server that follows the
 * new ones a moment later: half of them was enough. Undefined if that is not certain.
 */
export function untouchedFrom(
  { first, last, pushes, age }: StreamContents,
  before: Pick<HistoryRules, 'messages' | 'maxAge'>,
): number | undefined {
  if (pushes === 0) return last;
  const isWhole = pushes === last - first + 1;
  return isWhole && 2 * pushes <= before.messages && 2 * age <= before.maxAge ? first - 1 : undefined;
}

/** The last pushes of rooms, as one server of the store knows them. */
export type Heads = {
  /** By room, sequence numbers of those that changed. */
  seqs: Map<string, number>;
  /** The server that answered knows everything up to this sequence number; undefined if no room has a push to tell. */
  upTo: number | undefined;
};

/** What a stream holds at present, of all its rooms. */
export type StreamUsage = {
  /** A push to several rooms counts once for each. */
  pushes: number;
  bytes: number;
  /** When the oldest one was stored, Unix time in milliseconds; undefined if there is none. */
  oldestAt: number | undefined;
};

/** Milliseconds in which a push with the same id is not stored again. NATS' default. */
export const DUPLICATE_WINDOW_MS = 120_000;

/** Headers of a stored push, as NATS adds them to the message that gateways receive. */
export const STORED_HEADERS = {
  stream: 'Nats-Stream',
  /** Subject under which it was stored. */
  subject: 'Nats-Subject',
  seq: 'Nats-Sequence',
  /** Sequence number of the room's push before it; 0 if there is none, or limits have removed it. */
  previous: 'Nats-Last-Sequence',
} as const;

/** The store has no history for this policy: no logic pod has made it yet, or somebody has deleted it. */
export class HistoryMissing extends Error {
  override name = 'HistoryMissing';
}

/** The store refused, for a reason that a retry does not change. The message is the server's. */
export class HistoryRefused extends Error {
  override name = 'HistoryRefused';
}

/**
 * Histories of rooms. Each policy has one stream; a push that is stored there is then delivered as a bus message to the
 * room's subject, at most once, with STORED_HEADERS. NatsHistory and LocalHistory implement it and pass the same tests.
 *
 * Methods reject with BusUnavailable if the request certainly had no effect, with BusUnconfirmed if it is unknown whether
 * it had, with HistoryMissing, or with HistoryRefused.
 */
export interface HistoryStore {
  /**
   * Milliseconds for which the one who answers for a stream may have been replaced without knowing it: what it says is
   * missing may be there. 0: never.
   */
  readonly formerMs: number;
  /**
   * Makes the stream of a policy, or changes its limits. Any number of processes may do so at once. If pushes of its rooms
   * went elsewhere meanwhile, since it was retired or an earlier policy had the room, it becomes another history.
   */
  ensure(rules: HistoryRules): Promise<void>;
  /** The policy has gone: its stream stays as it is, and has no more of what is pushed to its rooms. */
  retire(match: string): Promise<void>;
  /**
   * Stores one push. One with the same `id` that was stored within the last two minutes is not stored again.
   * @param id at most 64 characters
   */
  append(match: string, room: string, bytes: Uint8Array, id: string): Promise<StoredAt>;
  /**
   * The state as the leader of the stream tells it.
   * @param earlier as in the rules. If it is given, rejects with BusUnconfirmed while the stream is yet to become another
   * history by `ensure`, since pushes of its rooms went elsewhere
   */
  state(match: string, earlier?: readonly string[]): Promise<StreamState>;
  /**
   * Pushes of one room from sequence number `from` on, oldest first.
   * @param limit pushes at most, 1 to 1,000
   * @param fresh asks the leader of the stream for one push: any other server may be behind
   */
  read(match: string, room: string, from: number, limit: number, fresh?: boolean): Promise<Extract>;
  /** The bus message with this number, of whichever room, as the leader has it; undefined if it has none. */
  at(match: string, seq: number): Promise<Uint8Array | undefined>;
  /**
   * The last pushes of `rooms`, of those that have one after `after`.
   * @param rooms 1 to 1,000
   */
  heads(match: string, rooms: readonly string[], after: number): Promise<Heads>;
  /**
   * Begins another epoch in place of `epoch`: the history is no continuation of what it was. Does nothing if it has another
   * one already. Any number of processes may do so at once: they make it the same one if they name the same `known`.
   *
   * @param known the last epoch that the caller knew of: `epoch`, or a later one, if an earlier epoch has come back
   */
  renew(match: string, epoch: string, known: string): Promise<void>;
  /** Name of the stream of a policy, as STORED_HEADERS tell it. */
  streamOf(match: string): string;
  close(): void;
}

/** A store that says how much it holds. */
export interface MeasuredHistoryStore extends HistoryStore {
  /** Rejects as the other methods do. */
  usage(match: string): Promise<StreamUsage>;
}
