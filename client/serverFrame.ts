import type { ServerFrame } from '@pushcluster/protocol/frames.ts';
import { MAX_EPOCH } from './limits.ts';

/** PONG says nothing but that something came. */
export type ReadFrame = Exclude<ServerFrame, { type: 'PONG' }>;

/** Parses a text frame of a gateway. @returns undefined for a frame that says nothing, or that this version does not know @throws SyntaxError if it is no JSON */
export function readServerFrame(text: string): ReadFrame | undefined {
  const frame: unknown = JSON.parse(text);
  if (!isObject(frame) || !isObject(frame.data)) return undefined;
  const { type, data } = frame;
  // A frame with a place in a room's history has a whole one.
  if (
    data.epoch &&
    (!isPosition(data) ||
      isObject(data.prev) ||
      isObject(data.replayTo) ||
      (data.prev as number) >= (data.seq as number))
  )
    return undefined;
  const known =
    type === 'PUSH'
      ? Array.isArray(data.items) && (data.ids === undefined || (Array.isArray(data.ids) && data.ids.every(isRun)))
      : type === 'LAGGED'
        ? typeof data.dropped === 'number'
        : type === 'RECONNECT'
          ? typeof data.withinMs === 'number'
          : type === 'LEAVE'
            ? typeof data.room === 'string' && !isObject(data.reason)
            : type === 'ERROR'
              ? !isObject(data.message)
              : type === 'RESET'
                ? data.epoch
                : type === 'OK';
  return known ? (frame as ReadFrame) : undefined;
}

export function isPosition({ epoch, seq, at }: { epoch?: unknown; seq?: unknown; at?: unknown }): boolean {
  return (
    typeof epoch === 'string' &&
    epoch !== '' &&
    epoch.length <= MAX_EPOCH &&
    isCount(seq) &&
    (seq as number) >= 0 &&
    (at == null || typeof at === 'number')
  );
}

const isCount = Number.isSafeInteger;

function isRun(run: unknown): boolean {
  if (!Array.isArray(run)) return false;
  const [publisher, first, length, push, index] = run;
  return (
    !isObject(push) &&
    !isObject(index) &&
    typeof publisher === 'string' &&
    isCount(first) &&
    isCount(length) &&
    length >= 0
  );
}

/** Not every object can be converted to a text or a number: `{ toString: 0 }` throws. */
function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
