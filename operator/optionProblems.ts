import { zodSentence } from '@pushcluster/runtime/zodSentence.ts';
import { z } from 'zod';

/** A text that must be given. @param what completes the sentence "is required: …" */
export function required(what: string) {
  return z
    .string()
    .default('')
    .refine((text) => text !== '', `is required: ${what}`);
}

/**
 * What is wrong with options, as one sentence each that names the option and its environment variable.
 * @param issues made with `reportInput`
 * @param variables environment variable of each option, by the option's name
 */
export function optionProblems(
  issues: readonly z.core.$ZodIssue[],
  variables: Readonly<Record<string, string>>,
): string {
  return issues
    .map((issue) => `--${issue.path.join('.')} (or ${variables[String(issue.path[0])]}): ${sentenceOf(issue)}`)
    .join('; ');
}

function sentenceOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'unrecognized_keys') return zodSentence(issue);
  return `has ${issue.keys.length === 1 ? 'an unknown key' : 'unknown keys'}: ${issue.keys.join(', ')}`;
}
