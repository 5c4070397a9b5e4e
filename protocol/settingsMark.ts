/**
 * First line of a settings file that the operator writes. It is a comment, so that processes that do not know it read
 * the file too. It never changes: pods would reload their settings at each upgrade of the operator.
 */
export const SETTINGS_MARK = '# Written by the PushCluster operator. Unknown keys are reported, not refused.';

/** Whether the operator, of whichever version, wrote this settings file. */
export function isWrittenByOperator(text: string): boolean {
  return text.startsWith('# Written by the PushCluster operator.');
}
