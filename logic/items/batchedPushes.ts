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
  if (values.length > MAX_PUSHES) throw tooMany();
  const elements = arrayItems(body);
  return nonEmpty(elements.map((bytes, i) => ({ bytes, parse: (): unknown => values[i] })));
}

/** The pushes of NDJSON, one a line; blank lines are skipped. Throws Problem invalid_request if there is none, too_many_pushes. */
export function linePushes(body: Uint8Array): BatchedPush[] {
  const pushes: BatchedPush[] = [];
  for (let start = afterBlanks(body, 0); start < body.length; ) {
    if (pushes.length === MAX_PUSHES) throw tooMany();
    const feed = body.indexOf(LINE_FEED, start);
    const end = feed < 0 ? body.length : feed;
    const bytes = body.subarray(start, end);
    pushes.push({ bytes, parse: () => parseRequestJson(bytes, 'The line', (text) => memberItems(text, 'items')) });
    start = afterBlanks(body, end);
  }
  return nonEmpty(pushes);
}

function nonEmpty(pushes: BatchedPush[]): BatchedPush[] {
  if (pushes.length === 0) throw wholeBody('must hold at least one push');
  return pushes;
}

function tooMany(): Problem {
  const detail = `holds more than ${MAX_PUSHES} pushes`;
  return new Problem('too_many_pushes', `The body ${detail}. Split the batch.`, { errors: [{ pointer: '#', detail }] });
}

function afterBlanks(body: Uint8Array, start: number): number {
  let at = start;
  while (at < body.length && isBlank(body[at]!)) at++;
  return at;
}

function wholeBody(detail: string): Problem {
  return new Problem('invalid_request', `The body ${detail}.`, { errors: [{ pointer: '#', detail }] });
}

function isBlank(byte: number): boolean {
  return byte === LINE_FEED || byte === 0x20 || byte === 0x09 || byte === 0x0d;
}
