import { isDeepStrictEqual } from 'node:util';
import { settingsWarnings } from '@pushcluster/protocol/settingsWarnings.ts';
import type { Logger } from './log.ts';
import type { SettingsFile } from './settingsFile.ts';

/** Logs the warnings about valid settings, and which ones are ignored: now, and after a change if they are others. */
export function logSettingsWarnings(settings: SettingsFile, log: Logger): void {
  let logged: string[] = [];
  let ignored: readonly string[] = [];
  const check = () => {
    const warnings = settingsWarnings(settings.current);
    if (warnings.length > 0 && !isDeepStrictEqual(warnings, logged))
      log.warn({ warnings }, 'some settings may not have the intended effect');
    logged = warnings;
    if (settings.ignored.length > 0 && !isDeepStrictEqual(settings.ignored, ignored))
      log.warn(
        { ignored: settings.ignored },
        'settings of an operator of another version that this version does not know are ignored',
      );
    ignored = settings.ignored;
  };
  check();
  settings.onChange(check);
}
