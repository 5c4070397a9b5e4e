import { requireKeySource } from '@pushcluster/gateway/admission/tokens/requireKeySource.ts';
import { Gateway } from '@pushcluster/gateway/gateway.ts';
import { startLogic } from '@pushcluster/logic/logic.ts';
import { RoomHistory, type RoomPolicy, rulesFor } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { startAdmin } from '@pushcluster/runtime/admin.ts';
import { registerBusMetrics } from '@pushcluster/runtime/bus/busMetrics.ts';
import { openBus } from '@pushcluster/runtime/bus/openBus.ts';
import { parseCommandLine } from '@pushcluster/runtime/cli.ts';
import { openHistory } from '@pushcluster/runtime/history/openHistory.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { logSettingsWarnings } from '@pushcluster/runtime/logSettingsWarnings.ts';
import { assertPortFree } from '@pushcluster/runtime/portProbe.ts';
import { SettingsFile } from '@pushcluster/runtime/settingsFile.ts';
import { registerSettingsMetrics } from '@pushcluster/runtime/settingsMetrics.ts';
import { onShutdown } from '@pushcluster/runtime/shutdown.ts';
import { surviveRejections } from '@pushcluster/runtime/surviveRejections.ts';
import { Registry } from 'prom-client';

const LOOPBACK = '127.0.0.1';

/** Room that the console joins when it opens. The printed `curl` line and the README's first one push to it. */
const DEMO_ROOM = 'demo';

/** Its history, in this process. A NATS server that is given may have no JetStream to store one. */
const DEMO_HISTORY: RoomPolicy = { match: DEMO_ROOM, history: RoomHistory.parse({}) };

/**
 * A SIGTERM to the process group of `make run` arrives twice: from its sender, and again from make. A second signal within
 * this time, in milliseconds, is the same request to stop.
 */
const MAKE_REPEATS_WITHIN_MS = 250;

const ENVIRONMENT = {
  PORT: 'port of the WebSocket endpoint and the console (7777)',
  PUSH_PORT: 'port of the push API (7799)',
  ADMIN_PORT: 'port of metrics and probes (9090)',
  NATS_URL: 'NATS server to use instead of the in-process bus',
};

const { config } = parseCommandLine(process.argv.slice(2), 'pushcluster', {
  override: onThisMachine,
  environment: ENVIRONMENT,
});
try {
  const settings = SettingsFile.open(config, { override: (input) => requireKeySource(onThisMachine(input)) });
  const { logic: logicSettings, admin: adminSettings } = settings.current;
  const log = createLog('pushcluster', settings.current.log.level, { rateLimited: true });
  surviveRejections(log);
  await assertPortFree(LOOPBACK, logicSettings.port, 'push API', 'set PUSH_PORT');
  await assertPortFree(LOOPBACK, adminSettings.port, 'admin', 'set ADMIN_PORT');
  logSettingsWarnings(settings, log);
  const registry = new Registry();
  const bus = openBus(settings.current.bus, {
    log,
    name: 'pushcluster',
    receiptTimeout: logicSettings.publishTimeout,
    together: true,
  });
  registerBusMetrics(registry, bus);
  registerSettingsMetrics(registry, settings);
  const history = openHistory(settings.current.bus, bus, 'logic');
  const gateway = await Gateway.start({ settings, bus, history, log, registry });
  const logic = await startLogic({ settings, bus, history, log, registry });
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
    { deadline: () => gateway.leavesWithin, echo: MAKE_REPEATS_WITHIN_MS },
  );
  process.stdout.write(banner(settings.current));
} catch (error) {
  process.stderr.write(`pushcluster: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

/** The settings for one person on one machine: loopback only, console and echo on, a fast stop after Ctrl-C. */
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
      consolePushUrl: pushUrl({ ...settings.logic, port: pushPort }),
      consoleRoom: settings.gateway.consoleRoom || DEMO_ROOM,
      drain: { ...settings.gateway.drain, settle: 0, timeout: Math.min(settings.gateway.drain.timeout, 4_000) },
    },
    logic: {
      ...settings.logic,
      host: LOOPBACK,
      port: pushPort,
      allowedOrigins: [...settings.logic.allowedOrigins, page, page.replace(LOOPBACK, 'localhost')],
      drain: { ...settings.logic.drain, settle: 0 },
    },
    rooms: natsUrl || settings.bus.nats ? settings.rooms : [...settings.rooms, DEMO_HISTORY],
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
    throw new Error(`${variable} must be a port number from 1 to 65535, not ${JSON.stringify(text)}`);
  return port;
}

function pushUrl({ port, tls }: Settings['logic']): string {
  return `${tls ? 'https' : 'http'}://${LOOPBACK}:${port}`;
}

function banner(settings: Settings): string {
  const { gateway, logic, admin, bus } = settings;
  const push = pushUrl(logic);
  const room = gateway.consoleRoom;
  const { history } = rulesFor(room, settings);
  return [
    '',
    'PushCluster is up.',
    '',
    `  Console          http://${LOOPBACK}:${gateway.port}/`,
    `  Capacity plan    http://${LOOPBACK}:${gateway.port}/plan`,
    `  WebSocket        ws://${LOOPBACK}:${gateway.port}/connect`,
    `  Push API         ${push} (reference: ${push}/docs)`,
    `  Metrics          http://${LOOPBACK}:${admin.port}/metrics`,
    `  Message bus      ${bus.nats ? bus.nats.servers.join(', ') : 'in-process'}`,
    ...(history
      ? [`  History          ${push}/v1/history?room=${encodeURIComponent(room)} (last ${history.messages} pushes)`]
      : []),
    '',
    `Open the console: it joins the room ${JSON.stringify(room)}. Then push a message to that room:`,
    '',
    `  curl ${push}/v1/push -H 'content-type: application/json' -d ${quoted(JSON.stringify({ to: { room }, items: ['hello'] }))}`,
    '',
    'Press Ctrl-C to stop.',
    '',
    '',
  ].join('\n');
}

/** `text` as one word of a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
