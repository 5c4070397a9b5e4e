import { isDeepStrictEqual } from 'node:util';
import { settingsDoubts } from '@pushcluster/protocol/settingsDoubts.ts';
import type { Logger } from './log.ts';
import type { SettingsFile } from './settings.ts';

/** Logs pairs of settings that are hardly meant: now, and when other ones come with a change. */
export function tellDoubts(settings: SettingsFile, log: Logger): void {
  let told: string[] = [];
  const tell = () => {
    const doubts = settingsDoubts(settings.current);
    if (doubts.length > 0 && !isDeepStrictEqual(doubts, told))
      log.warn({ doubts }, 'some settings may not do what they are meant to');
    told = doubts;
  };
  tell();
  settings.onChange(tell);
}
