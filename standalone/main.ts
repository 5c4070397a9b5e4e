import { requireKeySource } from '@pushcluster/gateway/admission/keySource.ts';
import { Gateway } from '@pushcluster/gateway/gateway.ts';
import { startLogic } from '@pushcluster/logic/logic.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { startAdmin } from '@pushcluster/runtime/admin.ts';
import { registerBusMetrics } from '@pushcluster/runtime/bus/metrics.ts';
import { openBus } from '@pushcluster/runtime/bus/open.ts';
import { parseCommandLine } from '@pushcluster/runtime/cli.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { assertPortFree } from '@pushcluster/runtime/portProbe.ts';
import { SettingsFile } from '@pushcluster/runtime/settings.ts';
import { onShutdown } from '@pushcluster/runtime/shutdown.ts';
import { tellDoubts } from '@pushcluster/runtime/tellDoubts.ts';
import { Registry } from 'prom-client';

const LOOPBACK = '127.0.0.1';

/** A SIGTERM to the process group of `make run` comes once from its sender and once from make. */
const MAKE_HANDS_ON_MS = 250;

const ENVIRONMENT = {
  PORT: 'WebSocket and console (7777)',
  PUSH_PORT: 'push API (7799)',
  ADMIN_PORT: 'metrics and probes (9090)',
  NATS_URL: 'use this NATS server in place of the in-process bus',
};

const { config } = parseCommandLine(process.argv.slice(2), 'pushcluster', {
  override: onThisMachine,
  environment: ENVIRONMENT,
});
try {
  const settings = SettingsFile.open(config, { override: (input) => requireKeySource(onThisMachine(input)) });
  const { logic: logicSettings, admin: adminSettings } = settings.current;
  const log = createLog('pushcluster', settings.current.log.level, { thinned: true });
  await assertPortFree(LOOPBACK, logicSettings.port, 'push API', 'set PUSH_PORT');
  await assertPortFree(LOOPBACK, adminSettings.port, 'admin', 'set ADMIN_PORT');
  tellDoubts(settings, log);
  const registry = new Registry();
  const bus = openBus(settings.current.bus, {
    log,
    name: 'pushcluster',
    receiptTimeout: logicSettings.publishTimeout,
    together: true,
  });
  registerBusMetrics(registry, bus);
  const gateway = await Gateway.start({ settings, bus, log, registry });
  const logic = await startLogic({ settings, bus, log, registry });
  await startAdmin({
    ...adminSettings,
    registry,
    health: () => gateway.health(),
    ready: () => [...gateway.ready(), ...logic.ready()],
    status: () => gateway.status(),
  });
  onShutdown(
    log,
    async () => {
      await Promise.all([gateway.leave(), logic.leave()]);
      await bus.close();
    },
    { deadline: () => gateway.leavesWithin, echo: MAKE_HANDS_ON_MS },
  );
  process.stdout.write(banner(settings.current));
} catch (error) {
  process.stderr.write(`pushcluster: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

/** One machine, one person: loopback only, console and echo on, and gone soon after Ctrl-C. */
function onThisMachine(settings: Settings): Settings {
  const port = portFrom('PORT', settings.gateway.port);
  const pushPort = portFrom('PUSH_PORT', settings.logic.port);
  const natsUrl = process.env.NATS_URL;
  const page = `http://${LOOPBACK}:${port}`;
  return {
    ...settings,
    gateway: {
      ...settings.gateway,
      host: LOOPBACK,
      port,
      console: true,
      echo: true,
      consolePushUrl: `http://${LOOPBACK}:${pushPort}`,
      drain: { ...settings.gateway.drain, settle: 0, timeout: Math.min(settings.gateway.drain.timeout, 4_000) },
    },
    logic: {
      ...settings.logic,
      host: LOOPBACK,
      port: pushPort,
      allowedOrigins: [...settings.logic.allowedOrigins, page, page.replace(LOOPBACK, 'localhost')],
      drain: { ...settings.logic.drain, settle: 0 },
    },
    bus: natsUrl
      ? { ...settings.bus, nats: { pingInterval: 2_000, ...settings.bus.nats, servers: [natsUrl] } }
      : settings.bus,
    admin: { host: LOOPBACK, port: portFrom('ADMIN_PORT', settings.admin.port) },
    log: { level: settings.log.level === 'info' ? 'warn' : settings.log.level },
  };
}

function portFrom(variable: string, otherwise: number): number {
  const text = process.env[variable];
  if (text === undefined || text === '') return otherwise;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new Error(`${variable} is ${JSON.stringify(text)}: it should be a port from 1 to 65535`);
  return port;
}

function banner({ gateway, logic, admin, bus }: Settings): string {
  const push = `http://${LOOPBACK}:${logic.port}`;
  return [
    '',
    'PushCluster is up.',
    '',
    `  WebSocket          ws://${LOOPBACK}:${gateway.port}/connect`,
    `  test console       http://${LOOPBACK}:${gateway.port}/`,
    `  capacity plan      http://${LOOPBACK}:${gateway.port}/plan`,
    `  push API           ${push}  (reference: ${push}/docs)`,
    `  metrics, probes    http://${LOOPBACK}:${admin.port}/metrics`,
    `  bus                ${bus.nats ? bus.nats.servers.join(', ') : 'in-process'}`,
    '',
    'Join the room "demo" in the console, then push to it:',
    '',
    `  curl ${push}/v1/push -H 'content-type: application/json' -d '{"to":{"room":"demo"},"items":["hello"]}'`,
    '',
    'Ctrl-C drains and ends.',
    '',
    '',
  ].join('\n');
}
