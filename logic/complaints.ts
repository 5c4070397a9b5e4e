import { clipped } from '@pushcluster/runtime/clipped.ts';
import type { z } from 'zod';
import { type Complaint, Problem } from './problems.ts';

/** Places named in one answer, and characters of each text: bounded, however long the request was. */
const MAX_PLACES = 10;
const MAX_LENGTH = 300;

/** What is wrong with a request by its schema. Unknown keys come first: what is missing is often misspelt. */
export function invalidRequest(issues: readonly z.core.$ZodIssue[], inBody: boolean): Problem {
  const isUnknownKey = (issue: z.core.$ZodIssue) => issue.code === 'unrecognized_keys';
  const ordered = [...issues.filter(isUnknownKey), ...issues.filter((issue) => !isUnknownKey(issue))];
  const places = ordered.slice(0, MAX_PLACES).map((issue) => ({ path: issue.path.map(String), detail: reason(issue) }));
  const errors = places.map(({ path, detail }): Complaint => {
    if (!inBody) return { parameter: path.join('.'), detail };
    return { pointer: clipped(`#${path.map((key) => `/${pointerToken(key)}`).join('')}`, MAX_LENGTH), detail };
  });
  const sentences = places.slice(0, 3).map(({ path, detail }) => {
    const place = clipped(path.join('.'), MAX_LENGTH);
    return place === '' ? detail : `${place}: ${detail}`;
  });
  return new Problem('invalid_request', `${sentences.join('; ')}.`, { errors });
}

function reason(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'unrecognized_keys':
      return `unknown ${issue.keys
        .slice(0, 5)
        .map((key) => JSON.stringify(clipped(key, 60)))
        .join(', ')}`;
    case 'invalid_type':
      return issue.input === undefined ? 'is missing' : `must be ${typeName(issue.expected)}`;
    case 'too_small':
      if (issue.origin === 'string') return 'must not be empty';
      if (issue.origin !== 'array') return `must be at least ${issue.minimum}`;
      return issue.minimum === 1 ? 'must not be empty' : `must have at least ${issue.minimum} entries`;
    case 'too_big':
      return issue.origin === 'array'
        ? `must have at most ${issue.maximum} entries`
        : `must be at most ${issue.maximum}`;
    case 'invalid_value':
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
    default:
      return clipped(issue.message, MAX_LENGTH);
  }
}

function typeName(expected: string): string {
  switch (expected) {
    case 'object':
    case 'array':
      return `an ${expected}`;
    case 'boolean':
      return 'true or false';
    case 'int':
      return 'a whole number';
    default:
      return `a ${expected}`;
  }
}

/** RFC 6901, and percent-encoded, since the pointer is a URI fragment. */
function pointerToken(key: string): string {
  return encodeURIComponent(clipped(key, MAX_LENGTH).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1'));
}
