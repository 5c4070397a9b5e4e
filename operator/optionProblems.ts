import type { z } from 'zod';

/**
 * What is wrong with options, as one sentence each that names the option and its environment variable.
 * @param variables environment variable of each option, by the option's name
 */
export function optionProblems(
  issues: readonly z.core.$ZodIssue[],
  variables: Readonly<Record<string, string>>,
): string {
  return issues
    .map(({ path, message }) => `--${path.join('.')} (or ${variables[String(path[0])]}): ${message}`)
    .join('; ');
}
