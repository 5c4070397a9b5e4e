import type { z } from 'zod';

/** Characters of a wrong value that a sentence shows. */
const MAX_SHOWN = 60;

/**
 * What is wrong with one value as a sentence without its subject, such as `must be at least 1`. The table of all such
 * sentences: settings and the push API say the same of the same mistake.
 *
 * Unknown keys are the caller's to tell: the places to name are the keys, not the issue's path.
 *
 * @param issue made with `reportInput`: otherwise a value of a wrong type reads as a missing one
 * @param withInput adds the wrong value, such as `, is "5"`
 */
export function zodSentence(issue: z.core.$ZodIssue, { withInput = false } = {}): string {
  const but = withInput ? `, is ${shown(issue.input)}` : '';
  switch (issue.code) {
    case 'invalid_type':
      if (issue.input === undefined) return `is missing, must be ${typeName(issue.expected)}`;
      return `must be ${typeName(issue.expected)}${but}`;
    case 'too_small': {
      const unit = unitOf(issue.origin);
      if (unit === undefined) return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`;
      return issue.minimum === 1 ? 'must not be empty' : `must have at least ${issue.minimum} ${unit}`;
    }
    case 'too_big': {
      const unit = unitOf(issue.origin);
      if (unit === undefined) return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}`;
      return `must have at most ${issue.maximum} ${unit}`;
    }
    case 'invalid_value':
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}${but}`;
    case 'invalid_format':
      return issue.format === 'url' ? `must be a URL${but}` : issue.message;
    case 'invalid_union': {
      const options = issue.errors.flatMap((errors) => errors.slice(0, 1).map((error) => zodSentence(error)));
      // A schema with a message of its own knows better than its alternatives.
      if (issue.message !== 'Invalid input' || options.length === 0) return `${issue.message}${but}`;
      return `must be ${options.map((option) => option.replace(/^must be /, '')).join(' or ')}${but}`;
    }
    default:
      return issue.message;
  }
}

function unitOf(origin: string): string | undefined {
  if (origin === 'string') return 'characters';
  return origin === 'array' ? 'entries' : undefined;
}

function typeName(expected: string): string {
  switch (expected) {
    case 'int':
      return 'a whole number';
    case 'array':
      return 'an array';
    case 'object':
    case 'record':
      return 'an object';
    case 'boolean':
      return 'true or false';
    default:
      return `a ${expected}`;
  }
}

function shown(input: unknown): string {
  if (Array.isArray(input)) return 'an array';
  if (typeof input === 'object' && input !== null) return 'an object';
  const text = JSON.stringify(input) ?? 'nothing';
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN - 3)}...`;
}
