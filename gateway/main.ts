import { startAdmin } from '@pushcluster/runtime/admin.ts';
import { registerBusMetrics } from '@pushcluster/runtime/bus/busMetrics.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { parseCommandLine } from '@pushcluster/runtime/cli.ts';
import { openHistory } from '@pushcluster/runtime/history/openHistory.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { logSettingsWarnings } from '@pushcluster/runtime/logSettingsWarnings.ts';
import { SettingsFile } from '@pushcluster/runtime/settingsFile.ts';
import { registerSettingsMetrics } from '@pushcluster/runtime/settingsMetrics.ts';
import { onShutdown } from '@pushcluster/runtime/shutdown.ts';
import { surviveRejections } from '@pushcluster/runtime/surviveRejections.ts';
import { Registry } from 'prom-client';
import { requireKeySource } from './admission/tokens/requireKeySource.ts';
import { Gateway } from './gateway.ts';

const { config } = parseCommandLine(process.argv.slice(2), 'gateway');
try {
  const settings = SettingsFile.open(config, { override: requireKeySource });
  const log = createLog('gateway', settings.current.log.level, { rateLimited: true });
  surviveRejections(log);
  settings.onChange(({ log: { level } }) => {
    log.level = level;
  });
  logSettingsWarnings(settings, log);
  const registry = new Registry();
  const bus = openBus(settings.current.bus, { log, name: 'pushcluster-gateway', isPaced: true });
  registerBusMetrics(registry, bus);
  registerSettingsMetrics(registry, settings);
  const gateway = await Gateway.start({
    settings,
    bus,
    history: openHistory(settings.current.bus, bus, 'gateway'),
    log,
    registry,
    template: process.env.POD_TEMPLATE ?? '',
  });
  const admin = await startAdmin({
    ...settings.current.admin,
    registry,
    health: () => gateway.health(),
    ready: () => gateway.ready(),
    status: () => gateway.status(),
  });
  log.info({ port: settings.current.gateway.port, admin: admin.port, gateway: gateway.name }, 'gateway is up');
  onShutdown(
    log,
    async () => {
      await gateway.leave();
      await bus.close();
    },
    { deadline: () => gateway.leavesWithin },
  );
} catch (error) {
  process.stderr.write(`gateway: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
