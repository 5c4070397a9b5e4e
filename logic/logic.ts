import { setTimeout as sleep } from 'node:timers/promises';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { reportCertificate } from '@pushcluster/runtime/certificateMetrics.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { MeasuredHistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import { openHistory } from '@pushcluster/runtime/history/openHistory.ts';
import { listenAddress } from '@pushcluster/runtime/listenAddress.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { listenProblem } from '@pushcluster/runtime/portProbe.ts';
import type { SettingsFile } from '@pushcluster/runtime/settingsFile.ts';
import { onTick, onTickError } from '@pushcluster/runtime/ticker.ts';
import { perSecond, TokenBucket } from '@pushcluster/runtime/tokenBucket.ts';
import type { Registry } from 'prom-client';
import { ApiKeys } from './access/apiKeys.ts';
import { GatewayReports } from './history/gatewayReports.ts';
import { HistoryReader } from './history/historyReader.ts';
import { RoomHistories } from './history/roomHistories.ts';
import { exportStreams } from './history/streamMetrics.ts';
import { collectMethods, refuseOtherMethods } from './http/allowedMethods.ts';
import { ApiListener, listenHost } from './http/apiListener.ts';
import { createServer } from './http/server.ts';
import { ServingCertificate } from './http/servingCertificate.ts';
import { SilentConnections } from './http/silentConnections.ts';
import { Metrics } from './metrics.ts';
import { OnlineDirectory } from './online/onlineDirectory.ts';
import { Publisher } from './publish/publisher.ts';
import { PushService } from './publish/pushService.ts';
import { apiReferenceRoutes } from './routes/apiReference.ts';
import { directPush } from './routes/directPush.ts';
import { goPushRoutes } from './routes/goPush.ts';
import { historyRoutes } from './routes/history.ts';
import { pushBatchRoutes } from './routes/pushBatch.ts';
import { v1Routes } from './routes/v1.ts';

export type LogicOptions = {
  settings: SettingsFile;
  bus: Bus;
  /** Where rooms with a history are stored. Default: what the settings say. */
  history?: MeasuredHistoryStore;
  log: Logger;
  registry: Registry;
};

export type Logic = {
  /** Port of the push API. */
  port: number;
  /** Why it should receive no traffic, a sentence for each reason; empty if it is ready. */
  ready(): string[];
  /** Why the pushes of some rooms with a history are not stored; undefined if they are, or if the bus is not connected. */
  readonly historyFailed: string | undefined;
  /** Whether `leave` was called. */
  readonly leaving: boolean;
  /**
   * Becomes unready at once, accepts connections for `logic.drain.settle` more, answers the requests under way, and closes.
   * The bus stays open.
   */
  leave(): Promise<void>;
};

/**
 * Starts the push API.
 * @throws Error with a sentence if it can't listen on the port, or if a file of an API key or of `logic.tls` can't be used
 */
export async function startLogic({ settings, bus, history, log, registry }: LogicOptions): Promise<Logic> {
  const subjects = new Subjects(settings.current.bus.prefix);
  const logic = () => settings.current.logic;
  let hasConnected = bus.connected;
  let leaving = false;
  let listener: ApiListener | undefined;
  const { tls } = logic();
  const certificate = tls && new ServingCertificate(tls, log);
  if (certificate) reportCertificate(registry, 'logic', () => certificate.validity);

  const keys = new ApiKeys(logic().apiKeys, log);
  const urgent = new TokenBucket(perSecond(logic().urgentRate), systemClock.now());
  const store = history ?? openHistory(settings.current.bus, bus, 'logic');
  const reports = new GatewayReports({
    ask: () => void directory.ask('stats', {}).catch(() => {}),
    gateways: () => directory.gateways,
  });
  const histories = new RoomHistories({ store, bus, settings: () => settings.current, log, reports });
  const publisher = new Publisher(bus, subjects, {
    history: {
      store,
      histories,
      timeout: () => settings.current.history.publishTimeout,
      onStored: (seconds) => metrics.stored(seconds),
      onRetry: () => metrics.publishRetries.inc(),
      onDuplicate: () => metrics.publishDuplicates.inc(),
      onRefused: (error) => log.error({ err: error, code: 'history' }, 'NATS refuses to store pushes'),
    },
  });
  const directory = new OnlineDirectory(bus, subjects, {
    askTimeout: () => logic().askTimeout,
    onIgnored: (kind) => metrics.ignored(kind),
    onGateway: (again) => publisher.greet(again),
    onReport: (stat) => reports.hear(stat),
  });
  const metrics = new Metrics(registry, {
    inFlight: () => publisher.inFlight,
    waiting: () => publisher.waiting,
    gateways: () => directory.gateways.length,
    questions: () => directory.questions,
    generation: () => settings.generation,
  });
  exportStreams(registry, store, () => histories.matches);
  const pushes = new PushService(publisher, urgent, metrics, () => logic().limits);
  const offEvent = bus.onEvent((event) => {
    if (event.type !== 'connected') return;
    hasConnected = true;
    publisher.greet(false);
  });
  const offChange = settings.onChange((current) => {
    histories.configure();
    keys.update(current.logic.apiKeys);
    listener?.move(listenHost(current.logic.host, keys.required));
    urgent.change(perSecond(current.logic.urgentRate), systemClock.now());
    log.level = current.log.level;
  });
  onTickError((error) => log.error({ err: error, code: 'beat' }, 'an event handler failed; the process goes on'));
  const offBeat = onTick(() => publisher.tick());
  const stop = () => {
    listener?.close();
    offEvent();
    offBeat();
    offChange();
    directory.close();
    histories.close();
    keys.close();
    certificate?.close();
  };

  try {
    const common = {
      keys,
      allowedOrigins: () => logic().allowedOrigins,
      log,
      bodyLimit: logic().limits.body,
      leaving: () => leaving,
    };
    const app = await createServer({
      ...common,
      direct: directPush({ ...common, pushes, metrics }),
      onConnectionRefused: () => metrics.connectionRefused(),
      onUnread: () => metrics.unreadResponse(),
      ...(certificate ? { certificate } : {}),
    });
    const silent = new SilentConnections(app.server);
    const methods = collectMethods(app);
    await app.register(v1Routes, { keys, pushes, directory, metrics });
    await app.register(pushBatchRoutes, { keys, pushes, metrics, log });
    await app.register(historyRoutes, {
      keys,
      histories: new HistoryReader(store, histories),
      onRefused: () => metrics.historyRefused(),
    });
    await app.register(goPushRoutes, { keys, pushes, metrics });
    await app.register(apiReferenceRoutes);
    refuseOtherMethods(app, new Map(methods));
    const host = listenHost(logic().host, keys.required);
    await listen(app, host, logic().port);
    listener = new ApiListener(app.server, host, log);
    const { port } = listener;
    const scheme = certificate ? 'https' : 'http';
    log.info({ host, port, scheme, keys: logic().apiKeys.length, publisher: publisher.id }, 'push API listens');
    if (host !== logic().host)
      log.warn(
        { host, set: logic().host },
        'no API keys are configured (logic.apiKeys): the push API listens on loopback only',
      );
    // The settings may have changed while it began to listen.
    listener.move(listenHost(logic().host, keys.required));

    return {
      port,
      get leaving() {
        return leaving;
      },
      get historyFailed() {
        return bus.connected ? histories.problem : undefined;
      },
      ready() {
        if (leaving) return ['leaving'];
        const reasons = hasConnected ? [] : ['the bus was never connected'];
        return listener?.problem === undefined ? reasons : [...reasons, listener.problem];
      },
      async leave() {
        if (leaving) return;
        leaving = true;
        await sleep(logic().drain.settle);
        listener?.close();
        const cut = setTimeout(() => app.server.closeAllConnections(), logic().drain.timeout);
        // Connections that were busy when `close` was called become idle later.
        const idle = setInterval(() => {
          app.server.closeIdleConnections();
          silent.close();
        }, 50);
        await app.close();
        clearTimeout(cut);
        clearInterval(idle);
        stop();
      },
    };
  } catch (error) {
    stop();
    throw error;
  }
}

async function listen(
  app: { listen(options: { host: string; port: number }): Promise<string> },
  host: string,
  port: number,
): Promise<void> {
  try {
    await app.listen({ host: listenAddress(host), port });
  } catch (error) {
    throw new Error(listenProblem(error, host, port, 'push API', 'set PUSH_PORT or logic.port'), { cause: error });
  }
}
