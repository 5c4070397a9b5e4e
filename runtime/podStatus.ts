import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { Bus } from './bus/bus.ts';
import type { SettingsFile } from './settingsFile.ts';
import { VERSION } from './version.ts';

/** Characters of a refusal at most: a file may be wrong in a thousand places. */
const MAX_REFUSAL = 1_000;

/** The part of the status that gateway and logic have alike. */
export function commonStatus(settings: SettingsFile, bus: Bus): Pick<PodStatus, 'version' | 'settings' | 'bus'> {
  const refused = settings.refused?.problems.join('; ').slice(0, MAX_REFUSAL);
  return {
    version: VERSION,
    settings: {
      generation: settings.generation,
      file: settings.digest,
      ...(refused === undefined ? {} : { refused }),
    },
    bus: { connected: bus.connected },
  };
}
