import { z } from 'zod';
import { errorOfSilence, errorOfStatus, KubeError } from './errors.ts';

/** A watch tells of one object a line. etcd takes objects of 1.5 MiB; as JSON with escapes they are larger. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

const Event = z.object({ type: z.string(), object: z.unknown() });
export type WatchEvent = { type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'; object: unknown };

/**
 * The events of a watch's answer. Ends when the server ends it in good order.
 * Throws a KubeError for the server's own error event, a broken connection and what is no event.
 * @param heard called for all that arrives
 */
export async function* watchEvents(stream: unknown, heard: () => void): AsyncGenerator<WatchEvent> {
  for await (const line of lines(stream, heard)) yield eventOf(line);
}

function eventOf(line: string): WatchEvent {
  const event = Event.safeParse(jsonOf(line));
  if (!event.success) throw new KubeError('unavailable', 'a watch was answered in a form that is unknown');
  const { type, object } = event.data;
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
    case 'BOOKMARK':
      return { type, object };
    default:
      throw errorOfStatus(object);
  }
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw errorOfSilence(error, 'a watch was answered by something else than JSON');
  }
}

async function* lines(stream: unknown, heard: () => void): AsyncGenerator<string> {
  if (!isByteStream(stream)) return;
  const decoder = new TextDecoder();
  let parts: string[] = [];
  let length = 0;
  try {
    for await (const bytes of stream) {
      heard();
      const pieces = decoder.decode(bytes, { stream: true }).split('\n');
      const rest = pieces.pop() ?? '';
      for (const piece of pieces) {
        const line = parts.join('') + piece;
        parts = [];
        length = 0;
        if (line.trim() !== '') yield line;
      }
      parts.push(rest);
      length += rest.length;
      if (length > MAX_LINE_BYTES)
        throw new KubeError('unavailable', `a watch sent a line above ${MAX_LINE_BYTES} bytes`);
    }
  } catch (error) {
    throw errorOfSilence(error, 'a watch broke off');
  }
}

function isByteStream(stream: unknown): stream is AsyncIterable<Uint8Array> {
  return typeof stream === 'object' && stream !== null && Symbol.asyncIterator in stream;
}
