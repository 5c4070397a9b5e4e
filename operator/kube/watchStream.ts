import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { clipped } from '@pushcluster/runtime/clipped.ts';
import { z } from 'zod';
import { errorOfSilence, errorOfStatus, KubeError } from './errors.ts';

/** Maximum size of a line: one event. etcd limits objects to 1.5 MiB; as escaped JSON they are larger. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;
/** Characters of a line that an error quotes. */
const MAX_QUOTED = 100;

const Event = z.object({ type: z.string(), object: z.unknown() });
export type WatchEvent = { type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'; object: unknown };

/**
 * The events of a watch. Ends when the server ends the response regularly.
 * @param heard called for each chunk that arrives
 * @throws KubeError for an error event, a broken connection or an invalid event
 */
export async function* watchEvents(stream: unknown, heard: () => void): AsyncGenerator<WatchEvent> {
  for await (const line of lines(stream, heard)) yield eventOf(line);
}

function eventOf(line: string): WatchEvent {
  const json = parseJson(line);
  if (json === undefined)
    throw new KubeError('unavailable', `a watch did not return JSON: ${clipped(line, MAX_QUOTED)}`);
  const event = Event.safeParse(json);
  if (!event.success) throw new KubeError('unavailable', 'a watch returned an event of an unknown form');
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
        throw new KubeError('unavailable', `a watch sent a line of more than ${MAX_LINE_BYTES} bytes`);
    }
  } catch (error) {
    throw errorOfSilence(error, 'a watch was interrupted');
  }
}

function isByteStream(stream: unknown): stream is AsyncIterable<Uint8Array> {
  return typeof stream === 'object' && stream !== null && Symbol.asyncIterator in stream;
}
