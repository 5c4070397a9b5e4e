import { nameProblem } from './names.ts';

/** Why a connection missed items. */
export type LagReason = 'slow' | 'bus_gap' | 'overload';

/**
 * A run of items: publisher, counter of its first item, how many. Where they were pushed with an `id`, also a text that
 * any retry of the push carries too, and which of its items the first one is, where that isn't 0. Without items the
 * fourth is a number: so many items from `first` on are not here, since they were a retry of what came before.
 */
export type IdRun = [publisher: string, first: number, length: number, push?: string | number, index?: number];

export type ErrorCode =
  | 'bad_frame'
  | 'bad_room'
  /** This connection is in as many rooms as one may be in. */
  | 'room_limit'
  | 'room_forbidden'
  /** It was taken out of the room, or left it, before its JOIN was answered. */
  | 'left'
  | 'unauthorized'
  /** Not now, on this gateway: worth another try. */
  | 'unavailable';

export type FrameId = number | string;

/**
 * A client's id as the JSON text that goes back, such as `7` or `"x"`: as a number it would lose what is beyond 2^53 or
 * a double.
 */
export type IdText = string;

/** A place in the history of a room. The two belong together: a seq counts in one epoch only. */
export type Position = { epoch: string; seq: number };

/** From where a JOIN of a room with history goes on. Where both `since` and `last` are given, `since` counts. */
export type JoinFrom = {
  /** After this push. */
  since?: Position;
  /** From the last so many pushes on. */
  last?: number;
  /** Milliseconds since the client last heard from a gateway, by its own clock. */
  away?: number;
};

/** Pushes that a JOIN may ask for by `last`, at most. */
export const MAX_LAST = 1_000;

/** What a client may say, parsed. */
export type ClientFrame =
  | { type: 'PING'; id?: IdText }
  | ({ type: 'JOIN'; id?: IdText; room: string } & JoinFrom)
  | { type: 'LEAVE'; id?: IdText; room: string }
  | { type: 'AUTH'; id?: IdText; token: string }
  /** Understood as JSON but unknown or lacking: ignored and counted, or answered by ERROR where it has an id. */
  | { type: 'unknown'; id?: IdText }
  | { type: 'bad'; id?: IdText; code: ErrorCode; message: string }
  /** Not JSON: closed with 1008. */
  | { type: 'malformed' };

/** Parses a text frame of a client. Never throws. By hand: it is the gateway's inbound hot path. */
export function parseClientFrame(text: string): ClientFrame {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    return { type: 'malformed' };
  }
  if (!isObject(frame)) return { type: 'unknown' };
  const id =
    typeof frame.id === 'number'
      ? { id: numberText(frame.id, text) }
      : typeof frame.id === 'string'
        ? { id: JSON.stringify(frame.id) }
        : undefined;
  const data = isObject(frame.data) ? frame.data : {};
  switch (frame.type) {
    case 'PING':
      return { type: 'PING', ...id };
    case 'JOIN':
    case 'LEAVE': {
      const problem = nameProblem(data.room);
      if (problem) return { type: 'bad', ...id, code: 'bad_room', message: `data.room ${problem}` };
      const room = data.room as string;
      if (frame.type === 'LEAVE') return { type: 'LEAVE', ...id, room };
      const from = joinFrom(data);
      if (typeof from === 'string') return { type: 'bad', ...id, code: 'bad_frame', message: from };
      return { type: 'JOIN', ...id, room, ...from };
    }
    case 'AUTH':
      if (typeof data.token !== 'string')
        return { type: 'bad', ...id, code: 'bad_frame', message: 'data.token must be a string' };
      return { type: 'AUTH', ...id, token: data.token };
    default:
      return { type: 'unknown', ...id };
  }
}

/** From where the JOIN with `data` goes on, or a sentence that says what is wrong with it. */
function joinFrom({ since, last, away }: Record<string, unknown>): JoinFrom | string | undefined {
  if (since === undefined && last === undefined && away === undefined) return undefined;
  const from: JoinFrom = {};
  if (since !== undefined) {
    if (!isObject(since)) return 'data.since must be an object with epoch and seq';
    const { epoch, seq } = since;
    if (typeof epoch !== 'string' || epoch === '') return 'data.since.epoch must be a text that is not empty';
    if (!isSeq(seq)) return 'data.since.seq must be a whole number from 0';
    from.since = { epoch, seq };
  }
  if (last !== undefined) {
    if (!isSeq(last) || last < 1 || last > MAX_LAST) return `data.last must be a whole number from 1 to ${MAX_LAST}`;
    from.last = last;
  }
  if (away !== undefined) {
    if (!Number.isFinite(away) || (away as number) < 0) return 'data.away must be a number from 0';
    from.away = away as number;
  }
  return from;
}

function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The number `id` of the frame `text` as it stands there, where that isn't what the number says. */
function numberText(id: number, text: string): string {
  // Without a point or an exponent anywhere in the frame a whole number is what it says.
  if (Number.isSafeInteger(id) && !Object.is(id, -0) && !/\d[.eE]/.test(text)) return String(id);
  return memberNumber(text, 'id');
}

/**
 * The number that the last member `key` of a JSON object is, as `text` writes it. JSON.parse has accepted the text and found
 * a number there. Without recursion: a client chooses how deeply its frame is nested.
 */
function memberNumber(text: string, key: string): string {
  let found = 'null';
  let depth = 0;
  let name = '';
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    else if (character === '"') {
      const start = at++;
      while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
      if (depth === 1) name = text.slice(start, at + 1);
    } else if (character === ':' && depth === 1 && JSON.parse(name) === key) {
      NUMBER.lastIndex = at + 1;
      found = NUMBER.exec(text)?.[1] ?? found;
    }
  }
  return found;
}

const NUMBER = /\s*(-?\d[\d.eE+-]*)/y;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export const PONG = '{"type":"PONG","data":{}}';

export function pongFrame(id: IdText): string {
  return `{"type":"PONG","id":${id},"data":{}}`;
}

/** @param position of a room with history: what is pushed from there on follows. `recovered`: whether all since `since` does. */
export function okFrame(
  id: IdText,
  room?: string,
  position?: Position & { recovered?: boolean | undefined; replayTo?: number | undefined },
): string {
  const { epoch, seq, recovered, replayTo } = position ?? {};
  return `{"type":"OK","id":${id},"data":${JSON.stringify({ room, epoch, seq, recovered, replayTo })}}`;
}

export function errorFrame(id: IdText, code: ErrorCode, message: string): string {
  return `{"type":"ERROR","id":${id},"data":${JSON.stringify({ code, message })}}`;
}

/** v1 only. `room` is absent for items pushed to all or to a user. */
export function laggedFrame(room: string | undefined, dropped: number, reason: LagReason): string {
  return JSON.stringify({ type: 'LAGGED', data: { ...(room === undefined ? {} : { room }), dropped, reason } });
}

/** v1 only. `overlapMs`: how long the client has to listen here once it is in its rooms elsewhere. */
export function reconnectFrame(withinMs: number, overlapMs: number): string {
  return JSON.stringify({ type: 'RECONNECT', data: { withinMs, overlapMs } });
}

/** v1 only: the connection was taken out of a room, by the API or a new token. `code`: join again, as after an ERROR of it. */
export function leaveFrame(room: string, reason: string, code?: 'unavailable'): string {
  return JSON.stringify({ type: 'LEAVE', data: { room, reason, ...(code === undefined ? {} : { code }) } });
}

/** v1 only: the history that a joined room counted in is gone. What is pushed after `seq` in `epoch` follows. */
export function resetFrame(room: string, { epoch, seq }: Position): string {
  return JSON.stringify({ type: 'RESET', data: { room, epoch, seq } });
}

/** What a gateway says, as the SDK reads it. */
export type ServerFrame =
  /**
   * `user` (v1 only): pushed to this user. A publisher counts `all` and users apart, so that ids alone would mix them up.
   * Of a room with history: `seq` is the position of its last push, and `prev` that of the push before its first.
   */
  | {
      type: 'PUSH';
      data: {
        room?: string;
        user?: true;
        seq?: number;
        prev?: number;
        epoch?: string;
        ids?: IdRun[];
        items: unknown[];
      };
    }
  | { type: 'PONG'; id?: FrameId; data: object }
  | { type: 'OK'; id: FrameId; data: { room?: string; recovered?: boolean; replayTo?: number } & Partial<Position> }
  | { type: 'RESET'; data: { room: string } & Position }
  | { type: 'ERROR'; id: FrameId; data: { code: ErrorCode; message: string } }
  | { type: 'LAGGED'; data: { room?: string; dropped: number; reason: LagReason } }
  /** Older gateways don't say `overlapMs`. */
  | { type: 'RECONNECT'; data: { withinMs: number; overlapMs?: number } }
  | { type: 'LEAVE'; data: { room: string; reason: string; code?: 'unavailable' } };
