import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { Bus } from './bus/bus.ts';
import type { SettingsFile } from './settingsFile.ts';
import { VERSION } from './version.ts';

/** Limit of a refusal, or of what is ignored, characters: a file may have a thousand errors. */
const MAX_TEXT = 1_000;

/** The part of the status that gateway and logic share. */
export function commonStatus(settings: SettingsFile, bus: Bus): Pick<PodStatus, 'version' | 'settings' | 'bus'> {
  const refused = settings.refused?.problems.join('; ').slice(0, MAX_TEXT);
  const ignored = settings.ignored.join('; ').slice(0, MAX_TEXT);
  return {
    version: VERSION,
    settings: {
      generation: settings.generation,
      file: settings.digest,
      ...(refused === undefined ? {} : { refused }),
      ...(ignored === '' ? {} : { ignored }),
    },
    bus: { connected: bus.connected },
  };
}
