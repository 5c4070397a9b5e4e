import { Gauge, type Registry } from 'prom-client';
import type { SettingsFile } from './settingsFile.ts';

/** Registers `pushcluster_settings_unknown_keys` on `registry`. */
export function registerSettingsMetrics(registry: Registry, settings: SettingsFile): void {
  new Gauge({
    name: 'pushcluster_settings_unknown_keys',
    help: "Settings of the operator's file that are ignored because this version does not know them.",
    registers: [registry],
    collect() {
      this.set(settings.ignored.length);
    },
  });
}
