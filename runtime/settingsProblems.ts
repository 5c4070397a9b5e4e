import { z } from 'zod';
import { zodSentence } from './zodSentence.ts';

/** The issues that zod found, as sentences that begin with the dotted path of the key. Make them with `reportInput`. */
export function settingsProblems(schema: z.ZodType, issues: readonly z.core.$ZodIssue[]): string[] {
  return issues.flatMap((issue) => {
    const path = issue.path.map(String);
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(schema, path);
      return issue.keys.map((key) => `${[...path, key].join('.')}: unknown key${suggestion(key, known)}`);
    }
    return [`${path.join('.') || 'the file'}: ${zodSentence(issue, { withInput: true })}`];
  });
}

/** The keys that `schema` has at `path`. */
function keysAt(schema: z.core.$ZodType, path: readonly string[]): string[] {
  let place = bare(schema);
  for (const key of path) {
    if (place instanceof z.ZodObject) place = bare(place.shape[key]);
    else if (place instanceof z.ZodArray) place = bare(place.element);
    else return [];
  }
  return place instanceof z.ZodObject ? Object.keys(place.shape) : [];
}

function bare(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  while (schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault || schema instanceof z.ZodOptional)
    schema = schema.unwrap();
  return schema;
}

function suggestion(key: string, known: readonly string[]): string {
  let best: string | undefined;
  // With more than 40 % of its letters wrong it is another word, not a misspelling.
  let bestDistance = Math.max(1, Math.round(key.length * 0.4)) + 1;
  for (const name of known) {
    const distance = editDistance(key.toLowerCase(), name.toLowerCase());
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best === undefined ? `; known keys: ${known.join(', ')}` : `, did you mean "${best}"?`;
}

/**
 * Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment distance).
 * The Levenshtein distance counts a swap, the most frequent misspelling, as two.
 */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, beforeLast[j - 2]! + 1);
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}
