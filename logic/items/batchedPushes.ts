import { MAX_PUSHES } from '@pushcluster/protocol/api.ts';
import { Problem } from '../errors/problem.ts';
import { arrayItems, memberItems, parseRequestJson } from './jsonItems.ts';

const LINE_FEED = 0x0a;

/** One push of a batch, not checked yet. `parse` throws Problem malformed_body if its text is not JSON. */
export type BatchedPush = { bytes: Uint8Array; parse(): unknown };

/**
 * The pushes of a JSON array. Throws Problem malformed_body if `body` is not JSON, invalid_request if it is not an array or
 * is empty, too_many_pushes.
 */
export function arrayPushes(body: Uint8Array): BatchedPush[] {
  const values = parseRequestJson(body, 'The body');
  if (!Array.isArray(values)) throw wholeBody('must be an array of pushes');
  const elements = arrayItems(body);
  return counted(elements.map((bytes, i) => ({ bytes, parse: (): unknown => values[i] })));
}

/** The pushes of NDJSON, one a line; blank lines are skipped. Throws Problem invalid_request if there is none, too_many_pushes. */
export function linePushes(body: Uint8Array): BatchedPush[] {
  const pushes: BatchedPush[] = [];
  for (let start = 0; start < body.length; ) {
    const feed = body.indexOf(LINE_FEED, start);
    const end = feed < 0 ? body.length : feed;
    const bytes = body.subarray(start, end);
    if (!bytes.every(isBlank))
      pushes.push({ bytes, parse: () => parseRequestJson(bytes, 'The line', (text) => memberItems(text, 'items')) });
    start = end + 1;
  }
  return counted(pushes);
}

function counted(pushes: BatchedPush[]): BatchedPush[] {
  if (pushes.length === 0) throw wholeBody('must hold at least one push');
  if (pushes.length <= MAX_PUSHES) return pushes;
  const detail = `holds ${pushes.length} pushes; at most ${MAX_PUSHES} are allowed`;
  throw new Problem('too_many_pushes', `The body ${detail}. Split the batch.`, {
    errors: [{ pointer: '#', detail }],
  });
}

function wholeBody(detail: string): Problem {
  return new Problem('invalid_request', `The body ${detail}.`, { errors: [{ pointer: '#', detail }] });
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0d;
}
