import { clipped } from '@pushcluster/runtime/clipped.ts';
import { zodSentence } from '@pushcluster/runtime/zodSentence.ts';
import type { z } from 'zod';
import { type FieldError, Problem } from './problem.ts';

/** Places named in one answer, and of these in its sentence. */
const MAX_PLACES = 10;
const MAX_IN_SENTENCE = 3;
/** Characters of each text that repeats something of the request, however long the request was. */
const MAX_LENGTH = 300;
/** Unknown names listed for one place, and characters of each. */
const MAX_NAMES = 5;
const MAX_NAME_LENGTH = 60;

/** A part of a request with a schema of its own. A push is one of several in a body. */
export type RequestPart = 'body' | 'push' | 'query' | 'path';

/**
 * The Problem that says how `part` of a request differs from its schema. Unknown fields come first: a field that is missing
 * is often misspelt.
 */
export function invalidRequest(issues: readonly z.core.$ZodIssue[], part: RequestPart): Problem {
  const isUnknown = (issue: z.core.$ZodIssue) => issue.code === 'unrecognized_keys';
  const ordered = [...issues.filter(isUnknown), ...issues.filter((issue) => !isUnknown(issue))];
  const places = ordered.slice(0, MAX_PLACES).map((issue) => ({
    path: issue.path.map(String),
    detail: clipped(
      issue.code === 'unrecognized_keys' ? unknownFields(issue.keys, part) : zodSentence(issue),
      MAX_LENGTH,
    ),
  }));
  const errors = places.map(({ path, detail }): FieldError => {
    if (isParameters(part)) return { parameter: path.join('.'), detail };
    return { pointer: clipped(`#${path.map((key) => `/${pointerToken(key)}`).join('')}`, MAX_LENGTH), detail };
  });
  const sentences = places.slice(0, MAX_IN_SENTENCE).map(({ path, detail }) => {
    const subject = clipped(path.join('.'), MAX_LENGTH);
    return `${subject === '' ? `The ${part}` : subject} ${detail}`;
  });
  return new Problem('invalid_request', `${sentences.join('; ')}.`, { errors });
}

function isParameters(part: RequestPart): boolean {
  return part === 'query' || part === 'path';
}

function unknownFields(names: readonly string[], part: RequestPart): string {
  const noun = isParameters(part) ? 'parameter' : 'field';
  const listed = names.slice(0, MAX_NAMES).map((name) => JSON.stringify(clipped(name, MAX_NAME_LENGTH)));
  return `${listed.length === 1 ? `has an unknown ${noun}` : `has unknown ${noun}s`} ${listed.join(', ')}`;
}

/** A key in a JSON pointer (RFC 6901), percent-encoded, since the pointer is a URI fragment. */
function pointerToken(key: string): string {
  return encodeURIComponent(clipped(key, MAX_LENGTH).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1'));
}
