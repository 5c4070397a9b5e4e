import type { ServerFrame } from '@pushcluster/protocol/frames.ts';

/** Parses a text frame of a gateway; undefined for what this version does not know. Throws SyntaxError where it is no JSON. */
export function readServerFrame(text: string): ServerFrame | undefined {
  const frame: unknown = JSON.parse(text);
  if (!isObject(frame) || !isObject(frame.data)) return undefined;
  const { type, data } = frame;
  const known =
    type === 'PUSH'
      ? Array.isArray(data.items) && Array.isArray(data.ids ?? [])
      : type === 'LAGGED'
        ? typeof data.dropped === 'number'
        : type === 'RECONNECT'
          ? typeof data.withinMs === 'number'
          : type === 'LEAVE'
            ? typeof data.room === 'string'
            : type === 'OK' || type === 'ERROR' || type === 'PONG';
  return known ? (frame as ServerFrame) : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
