import { hostname } from 'node:os';
import { startAdmin } from '@pushcluster/runtime/admin.ts';
import { registerBusMetrics } from '@pushcluster/runtime/bus/busMetrics.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { parseCommandLine } from '@pushcluster/runtime/cli.ts';
import { descriptorLimit, openDescriptors } from '@pushcluster/runtime/descriptors.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { logSettingsWarnings } from '@pushcluster/runtime/logSettingsWarnings.ts';
import { commonStatus } from '@pushcluster/runtime/podStatus.ts';
import { SettingsFile } from '@pushcluster/runtime/settingsFile.ts';
import { registerSettingsMetrics } from '@pushcluster/runtime/settingsMetrics.ts';
import { onShutdown } from '@pushcluster/runtime/shutdown.ts';
import { surviveRejections } from '@pushcluster/runtime/surviveRejections.ts';
import { Registry } from 'prom-client';
import { startLogic } from './logic.ts';

/** Added to the time that logic takes to leave, milliseconds: the bus sends what is queued. */
const LEAVE_MARGIN_MS = 2_000;

const { config } = parseCommandLine(process.argv.slice(2), 'logic');
try {
  const settings = SettingsFile.open(config);
  const log = createLog('logic', settings.current.log.level, { rateLimited: true });
  surviveRejections(log);
  settings.onChange(() => log.info({ generation: settings.generation }, 'changed settings are in force'));
  settings.onRefused(({ problems }) =>
    log.error({ problems }, 'the settings file is invalid and was refused: the previous settings stay in effect'),
  );
  settings.onPending((keys) => log.warn({ keys }, 'changed settings that take effect at the next start'));
  logSettingsWarnings(settings, log);
  const registry = new Registry();
  const bus = openBus(settings.current.bus, {
    log,
    name: 'pushcluster-logic',
    receiptTimeout: settings.current.logic.publishTimeout,
  });
  registerBusMetrics(registry, bus);
  registerSettingsMetrics(registry, settings);
  const logic = await startLogic({ settings, bus, log, registry });
  const admin = await startAdmin({
    ...settings.current.admin,
    registry,
    health: () => [],
    ready: () => logic.ready(),
    status: () => ({
      ...commonStatus(settings, bus),
      role: 'logic',
      name: hostname(),
      draining: logic.leaving,
      fds: { limit: descriptorLimit(), open: openDescriptors() },
      pressure: {},
      historyFailed: logic.historyFailed,
    }),
  });
  log.info({ port: logic.port, admin: admin.port }, 'logic is up');
  onShutdown(
    log,
    async () => {
      await logic.leave();
      await bus.close();
    },
    { deadline: () => settings.current.logic.drain.settle + settings.current.logic.drain.timeout + LEAVE_MARGIN_MS },
  );
} catch (error) {
  process.stderr.write(`logic: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
