import { setTimeout as sleep } from 'node:timers/promises';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { onBeat, onBeatError } from '@pushcluster/runtime/beat.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { listenProblem } from '@pushcluster/runtime/portProbe.ts';
import type { SettingsFile } from '@pushcluster/runtime/settings.ts';
import type { Registry } from 'prom-client';
import { ApiKeys } from './auth.ts';
import { Directory } from './directory.ts';
import { Door, hostToListenOn } from './door.ts';
import { Metrics } from './metrics.ts';
import { Publisher } from './publish/publisher.ts';
import { Pushes } from './push.ts';
import { docsRoutes } from './routes/docs.ts';
import { goPushRoutes } from './routes/goPush.ts';
import { v1Routes } from './routes/v1.ts';
import { createServer, refuseOtherMethods, silentConnections } from './server.ts';
import { TokenBucket } from './tokenBucket.ts';

export type LogicOptions = { settings: SettingsFile; bus: Bus; log: Logger; registry: Registry };

export type Logic = {
  /** Where it listens. */
  port: number;
  /** Why no traffic should come, a sentence each; empty: ready. */
  ready(): string[];
  /** It was told to leave. */
  readonly leaving: boolean;
  /** Not ready from now on; accepts for `logic.drain.settle` more, answers what is under way, and closes. The bus stays open. */
  leave(): Promise<void>;
};

/**
 * Starts the push API.
 * @throws Error with a sentence where the port can't be had, or the file of an API key is useless
 */
export async function startLogic({ settings, bus, log, registry }: LogicOptions): Promise<Logic> {
  const subjects = new Subjects(settings.current.bus.prefix);
  const logic = () => settings.current.logic;
  let hasConnected = bus.connected;
  let leaving = false;
  let door: Door | undefined;

  const keys = new ApiKeys(logic().apiKeys, log);
  const urgent = new TokenBucket(logic().urgentRate);
  const publisher = new Publisher(bus, subjects);
  const directory = new Directory(bus, subjects, {
    askTimeout: () => logic().askTimeout,
    onIgnored: (kind) => metrics.ignored(kind),
    onGateway: (again) => publisher.greet(again),
  });
  const metrics = new Metrics(registry, {
    inFlight: () => publisher.inFlight,
    gateways: () => directory.gateways.length,
    questions: () => directory.questions,
    generation: () => settings.generation,
  });
  const pushes = new Pushes(publisher, urgent, metrics, () => logic().limits);
  const offEvent = bus.onEvent((event) => {
    if (event.type !== 'connected') return;
    hasConnected = true;
    publisher.greet(false);
  });
  const offChange = settings.onChange((current) => {
    keys.update(current.logic.apiKeys);
    door?.move(hostToListenOn(current.logic.host, keys.required));
    urgent.rate = current.logic.urgentRate;
    log.level = current.log.level;
  });
  onBeatError((error) => log.error({ err: error, code: 'beat' }, 'an error cost one event'));
  const offBeat = onBeat(() => publisher.tick());
  const stop = () => {
    door?.close();
    offEvent();
    offBeat();
    offChange();
    directory.close();
    keys.close();
  };

  try {
    const app = await createServer({
      keys,
      allowedOrigins: () => logic().allowedOrigins,
      log,
      bodyLimit: logic().limits.body,
      leaving: () => leaving,
      onConnectionRefused: () => metrics.connectionRefused(),
    });
    const silent = silentConnections(app.server);
    const routes = new Map<string, Set<string>>();
    app.addHook('onRoute', ({ url, method }) => {
      const methods = routes.get(url) ?? new Set();
      for (const one of [method].flat()) methods.add(one);
      routes.set(url, methods);
    });
    await app.register(v1Routes, { keys, pushes, directory, metrics });
    await app.register(goPushRoutes, { keys, pushes, metrics });
    await app.register(docsRoutes);
    refuseOtherMethods(app, new Map(routes));
    const host = hostToListenOn(logic().host, keys.required);
    await listen(app, host, logic().port);
    door = new Door(app.server, host, log);
    const { port } = door;
    log.info({ host, port, keys: logic().apiKeys.length, publisher: publisher.id }, 'push API listens');
    if (host !== logic().host)
      log.warn(
        { host, set: logic().host },
        'there are no API keys (logic.apiKeys): the push API listens on loopback only',
      );
    // The settings may have changed meanwhile.
    door.move(hostToListenOn(logic().host, keys.required));

    return {
      port,
      get leaving() {
        return leaving;
      },
      ready() {
        if (leaving) return ['leaving'];
        const reasons = hasConnected ? [] : ['there has been no connection to the bus yet'];
        return door?.problem === undefined ? reasons : [...reasons, door.problem];
      },
      async leave() {
        if (leaving) return;
        leaving = true;
        await sleep(logic().drain.settle);
        door?.close();
        const cut = setTimeout(() => app.server.closeAllConnections(), logic().drain.timeout);
        // Those that were being served when close was called turn idle only later.
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
    await app.listen({ host, port });
  } catch (error) {
    throw new Error(listenProblem(error, host, port, 'push API', 'set PUSH_PORT or logic.port'), { cause: error });
  }
}
