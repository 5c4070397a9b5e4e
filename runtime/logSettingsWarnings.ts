import { isDeepStrictEqual } from 'node:util';
import { settingsWarnings } from '@pushcluster/protocol/settingsWarnings.ts';
import type { Logger } from './log.ts';
import type { SettingsFile } from './settingsFile.ts';

/** Logs the warnings about valid settings: now, and after a change if they are others. */
export function logSettingsWarnings(settings: SettingsFile, log: Logger): void {
  let logged: string[] = [];
  const check = () => {
    const warnings = settingsWarnings(settings.current);
    if (warnings.length > 0 && !isDeepStrictEqual(warnings, logged))
      log.warn({ warnings }, 'some settings may not have the intended effect');
    logged = warnings;
  };
  check();
  settings.onChange(check);
}
