import { randomBytes } from 'node:crypto';
import { availableParallelism, hostname } from 'node:os';
import { STAT_INTERVAL_MS } from '@pushcluster/protocol/control.ts';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { descriptorLimit } from '@pushcluster/runtime/descriptors.ts';
import type { HistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { commonStatus } from '@pushcluster/runtime/podStatus.ts';
import { assertPortFree } from '@pushcluster/runtime/portProbe.ts';
import type { SettingsFile } from '@pushcluster/runtime/settingsFile.ts';
import { onTick, onTickError, TICK_MS } from '@pushcluster/runtime/ticker.ts';
import { VERSION } from '@pushcluster/runtime/version.ts';
import type { Registry } from 'prom-client';
import { AdmissionControl } from './admission/admissionControl.ts';
import { registerPressureMetric } from './admission/pressureMetric.ts';
import { ExceptionGuard } from './hub/exceptionGuard.ts';
import { GatewayLoad } from './hub/gatewayLoad.ts';
import { guardedClock } from './hub/guardedClock.ts';
import { Hub } from './hub/hub.ts';
import { ShardProcess, type ShardProcessHooks } from './hub/shardProcess.ts';
import { SlicedWork } from './hub/slicedWork.ts';
import type { ShardCounts } from './ipc/counts.ts';
import type { ShardMessage } from './ipc/messages.ts';
import { GatewayMetrics } from './metrics/gatewayMetrics.ts';
import { Drain } from './moves/drain.ts';
import { Peers } from './moves/peers.ts';
import { Rebalancer } from './moves/rebalancer.ts';
import { ShardMoves } from './moves/shardMoves.ts';
import { StatReports } from './moves/statReports.ts';

export type GatewayOptions = {
  settings: SettingsFile;
  bus: Bus;
  /** Where rooms with a history are stored; absent: no room has one. */
  history?: HistoryStore;
  log: Logger;
  registry: Registry;
  /** The pod template, such as its hash: the same for all gateways except during a rollout. */
  template?: string;
};

/** A gateway: a hub in this process, and shards that hold the connections. */
export class Gateway {
  readonly name = `${hostname()}-${randomBytes(3).toString('hex')}`.replace(/[^A-Za-z0-9_-]/g, '-');
  readonly #options: GatewayOptions;
  readonly #metrics: GatewayMetrics;
  readonly #guard: ExceptionGuard;
  readonly #work: SlicedWork;
  readonly #hub: Hub;
  readonly #shards: ShardProcess[];
  readonly #admission: AdmissionControl;
  readonly #moves: ShardMoves;
  readonly #peers: Peers;
  readonly #drain: Drain;
  readonly #rebalancer: Rebalancer;
  readonly #reports: StatReports;
  readonly #stopChecking: () => void;
  readonly #stopMeasuring: () => void;

  /** Starts the hub and the shards. Resolves when every shard listens. Throws an Error with a sentence if it cannot start. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const { gateway } = options.settings.current;
    await assertPortFree(gateway.host, gateway.port, 'WebSocket', 'set PORT or gateway.port');
    const started = new Gateway(options);
    await Promise.all(started.#shards.map((shard) => shard.start()));
    return started;
  }

  private constructor(options: GatewayOptions) {
    const { settings, bus, log, registry } = options;
    this.#options = options;
    const subjects = new Subjects(settings.current.bus.prefix);
    const template = `${VERSION} ${options.template ?? ''}`;
    this.#metrics = new GatewayMetrics(registry, {
      gateway: this.name,
      startedAt: Date.now(),
      shards: () => this.#shards.map((shard) => shard.counts),
      rooms: () => this.#hub.rooms,
      channels: () => this.#hub.channels,
      ringBytes: () => this.#hub.ringBytes,
      frameBudget: () => this.#hub.frameBudget,
      draining: () => this.#drain.active,
      rebalancing: () => this.#rebalancer.active,
      peers: () => this.#peers.all.length,
      generation: () => settings.generation,
    });
    this.#guard = new ExceptionGuard(log, (place) => this.#metrics.internalErrors.inc({ place }));
    onTickError((error) => this.#guard.caught('timer', error));
    const clock = guardedClock(systemClock, this.#guard);
    this.#work = new SlicedWork({ clock, failed: (error) => this.#guard.caught('timer', error) });
    this.#hub = new Hub({
      gateway: this.name,
      bus,
      history: options.history,
      settings: settings.current,
      clock,
      log,
      metrics: this.#metrics,
      guard: this.#guard,
      work: this.#work,
      cores: availableParallelism(),
      gateways: () => 1 + this.#peers.all.length,
    });
    const count = shardCount(settings.current);
    this.#shards = Array.from({ length: count }, (_, index) => this.#shard(index, count));
    this.#hub.attach(this.#shards);
    const load = new GatewayLoad({
      shards: this.#shards,
      cores: availableParallelism(),
      maxInFlight: () => settings.current.gateway.shardWatch.maxInFlight,
      now: clock.now,
    });
    this.#stopMeasuring = onTick(() => this.#hub.measured(load.read(process.cpuUsage())));
    this.#admission = new AdmissionControl({ shards: this.#shards, settings: () => settings.current, log });
    registerPressureMetric(registry, () => this.#admission.pressure);
    settings.onChange((current) => {
      this.#hub.configure(current);
      this.#admission.share();
      log.info({ generation: settings.generation }, 'changed settings are in force');
    });
    settings.onRefused(({ problems }) => {
      this.#metrics.settingsRefused.inc();
      log.error({ problems }, 'the settings file is invalid and was refused: the previous settings stay in effect');
    });
    settings.onPending((keys) => log.warn({ keys }, 'changed settings that take effect at the next start'));
    this.#moves = new ShardMoves(() => this.#shards);
    this.#peers = new Peers({
      gateway: this.name,
      bus,
      subjects,
      clock,
      ignored: () => this.#metrics.undecodable.inc(),
      rebalancing: () => this.#rebalancer.check(),
    });
    let busConnections = 1;
    bus.onEvent((event) => {
      if (event.type !== 'connected') return;
      busConnections = event.reconnects + 1;
      // Logic pods answer a report with their counters.
      this.#reports.publish();
    });
    const changed = () => this.#reports.changed(this.#drain.active || this.#rebalancer.active);
    this.#drain = new Drain({
      moves: this.#moves,
      settings: () => settings.current,
      draining: () => this.#peers.draining,
      log,
      changed,
    });
    this.#rebalancer = new Rebalancer({
      moves: this.#moves,
      peers: this.#peers,
      settings: () => settings.current,
      template,
      clock,
      blocked: () => this.#drain.active || !bus.connected,
      log,
      changed,
    });
    this.#reports = new StatReports(bus, this.#guard, subjects.stat(this.name), () => ({
      ...this.#metrics.stats(),
      unasked: this.#moves.unasked,
      busConnections,
      rebalancing: this.#rebalancer.active,
      template,
      histories: this.#hub.histories,
    }));
    this.#stopChecking = onTick(() => this.#rebalancer.check(), STAT_INTERVAL_MS / TICK_MS);
    const { file } = settings.current.gateway.drain;
    if (file !== undefined) this.#drain.follow(file);
  }

  /** Process ids of the shards, for tests and tools. */
  get shardPids(): number[] {
    return this.#shards.flatMap((shard) => shard.pid ?? []);
  }

  /** What is broken, a sentence each. */
  health(): string[] {
    return this.#shards.flatMap((shard) => shard.problem ?? []);
  }

  /** Why the gateway should get no traffic, a sentence each. */
  ready(): string[] {
    const reasons = this.#shards.every((shard) => !shard.listening) ? ['no shard listens'] : [];
    if (!this.#hub.ready) reasons.push('the bus has not been connected yet');
    return reasons;
  }

  /** The answer to `GET /status`, which the operator reads. */
  status(): PodStatus {
    const { settings, bus } = this.#options;
    const { connections, bytesSent } = this.#metrics.stats();
    const counts = this.#shards.flatMap((shard) => shard.counts ?? []);
    return {
      ...commonStatus(settings, bus),
      role: 'gateway',
      name: this.name,
      draining: this.#drain.active,
      connections,
      fuller: this.#rebalancer.full,
      bytesSentTotal: bytesSent,
      fds: {
        // Shards that have not reported yet count too.
        limit: this.#shards.length * descriptorLimit(),
        open: counts.reduce((sum, { fds }) => sum + fds, 0),
      },
      pressure: this.#admission.thresholdPressure,
    };
  }

  /** The longest time that `leave()` takes, milliseconds. */
  get leavesWithin(): number {
    const { settle, timeout } = this.#options.settings.current.gateway.drain;
    return settle + timeout;
  }

  /** Shuts down gracefully: accepts for `drain.settle`, then drains, then ends the shards. */
  async leave(): Promise<void> {
    await this.#drain.leave();
    this.#stopChecking();
    this.#stopMeasuring();
    this.#rebalancer.stop();
    await Promise.all(this.#shards.map((shard) => shard.end()));
    this.#peers.close();
    this.#reports.end();
    this.#options.log.info('gateway has shut down');
  }

  #shard(index: number, count: number): ShardProcess {
    const { log, settings } = this.#options;
    const hooks: ShardProcessHooks = {
      message: (shard, message) => this.#receive(shard, message),
      counted: (counts: ShardCounts, before) => {
        this.#metrics.add(counts, before);
        this.#admission.reported(index, counts);
      },
      died: (shard) => {
        this.#metrics.shardRestarts.inc();
        this.#admission.died(index);
        this.#hub.shardDied(shard);
      },
      overrun: (items) => this.#metrics.shardOverrun.inc(items),
    };
    return new ShardProcess({
      index,
      shards: count,
      settings: settings.current,
      log,
      guard: this.#guard,
      work: this.#work,
      hooks,
    });
  }

  /** Messages about admission are answered here; all others are the hub's. */
  #receive(shard: ShardProcess, message: ShardMessage) {
    switch (message.type) {
      case 'listening':
        this.#options.log.info({ shard: shard.index, pid: shard.pid }, 'shard listens');
        // A shard that starts during the shutdown must not accept connections.
        if (this.#drain.leaving) shard.send({ type: 'stopListening' });
        this.#moves.started(shard);
        this.#admission.started(shard);
        shard.send({ type: 'bus', connected: this.#options.bus.connected });
        return;
      case 'admit':
        this.#admission.admit(shard, message.ip, message.ask);
        return;
      case 'left':
        this.#admission.released(shard, message.ip);
        return;
      default:
        this.#hub.receive(shard, message);
    }
  }
}

function shardCount({ gateway }: Settings): number {
  return gateway.shards === 'auto' ? Math.max(1, availableParallelism() - 1) : gateway.shards;
}
