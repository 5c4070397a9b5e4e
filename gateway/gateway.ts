import { randomBytes } from 'node:crypto';
import { availableParallelism, hostname } from 'node:os';
import { STAT_INTERVAL_MS } from '@pushcluster/protocol/control.ts';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { descriptorLimit } from '@pushcluster/runtime/descriptors.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { commonStatus } from '@pushcluster/runtime/podStatus.ts';
import { assertPortFree } from '@pushcluster/runtime/portProbe.ts';
import type { SettingsFile } from '@pushcluster/runtime/settingsFile.ts';
import { onTick, onTickError, TICK_MS } from '@pushcluster/runtime/ticker.ts';
import { VERSION } from '@pushcluster/runtime/version.ts';
import type { WatchedFile } from '@pushcluster/runtime/watchedFile.ts';
import type { Registry } from 'prom-client';
import { AddressLimit } from './admission/addressLimit.ts';
import { ConnectionAllowances } from './admission/connectionAllowances.ts';
import { HubProtection } from './admission/hubProtection.ts';
import { MemoryReader } from './admission/memoryReader.ts';
import { registerPressureMetric } from './admission/pressureMetric.ts';
import { Guard } from './hub/guard.ts';
import { guardedClock } from './hub/guardedClock.ts';
import { Hub } from './hub/hub.ts';
import { ShardProcess, type ShardProcessHooks } from './hub/shardProcess.ts';
import { StatReports } from './hub/statReports.ts';
import type { ShardCounts } from './ipc/counts.ts';
import type { ShardMessage } from './ipc/messages.ts';
import { GatewayMetrics } from './metrics.ts';
import { Drain } from './moves/drain.ts';
import { followDrainOrderFile } from './moves/drainOrderFile.ts';
import { Peers } from './moves/peers.ts';
import { Rebalancer } from './moves/rebalancer.ts';
import { ShardMoves } from './moves/shardMoves.ts';

export type GatewayOptions = {
  settings: SettingsFile;
  bus: Bus;
  log: Logger;
  registry: Registry;
  /** What it is an instance of, such as a hash of its pod template: the same for all but during a rollout. */
  template?: string;
};

/** A gateway: a hub in this process, and shards that hold the connections. */
export class Gateway {
  readonly name = `${hostname()}-${randomBytes(3).toString('hex')}`.replace(/[^A-Za-z0-9_-]/g, '-');
  readonly #options: GatewayOptions;
  readonly #metrics: GatewayMetrics;
  readonly #guard: Guard;
  readonly #hub: Hub;
  readonly #links: ShardProcess[];
  readonly #addressLimit = new AddressLimit();
  readonly #allowances: ConnectionAllowances;
  readonly #protection: HubProtection;
  readonly #moves: ShardMoves;
  readonly #peers: Peers;
  readonly #drain: Drain;
  readonly #rebalancer: Rebalancer;
  readonly #reports: StatReports;
  readonly #stopChecking: () => void;
  readonly #drainFile: WatchedFile | undefined;

  /** Starts hub and shards; resolves when every shard listens. Throws Error with a sentence where it can't. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const { gateway } = options.settings.current;
    await assertPortFree(gateway.host, gateway.port, 'WebSocket', 'set PORT or gateway.port');
    const started = new Gateway(options);
    await Promise.all(started.#links.map((link) => link.start()));
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
      shards: () => this.#links.map((link) => link.counts),
      rooms: () => this.#hub.rooms,
      channels: () => this.#hub.channels,
      draining: () => this.#drain.active,
      rebalancing: () => this.#rebalancer.active,
      peers: () => this.#peers.all.length,
      generation: () => settings.generation,
    });
    this.#guard = new Guard(log, (place) => this.#metrics.internalErrors.inc({ place }));
    onTickError((error) => this.#guard.caught('timer', error));
    const clock = guardedClock(systemClock, this.#guard);
    this.#hub = new Hub({
      gateway: this.name,
      bus,
      settings: settings.current,
      clock,
      log,
      metrics: this.#metrics,
      guard: this.#guard,
      gateways: () => 1 + this.#peers.all.length,
    });
    const memory = new MemoryReader();
    this.#protection = new HubProtection({
      settings: () => settings.current,
      log,
      memory: (resident) => memory.read(resident),
      resident: () => process.memoryUsage.rss(),
      now: systemClock.now,
      changed: () => {
        for (const link of this.#links) link.send({ type: 'short', resource: this.#protection.short });
      },
    });
    registerPressureMetric(registry, () => this.#protection.pressure);
    const count = shardCount(settings.current);
    this.#allowances = new ConnectionAllowances(count);
    this.#links = Array.from({ length: count }, (_, index) => this.#link(index, count));
    this.#hub.attach(this.#links);
    settings.onChange((current) => {
      this.#hub.configure(current);
      this.#allow();
      log.info({ generation: settings.generation }, 'the changed settings count');
    });
    settings.onRefused((error) => {
      this.#metrics.settingsRefused.inc();
      log.error({ problems: error.message.split('\n') }, 'the settings file was refused; the former settings stay');
    });
    settings.onPending((keys) => log.warn({ keys }, 'changed settings that take effect at the next start'));
    this.#moves = new ShardMoves(() => this.#links);
    this.#peers = new Peers({
      gateway: this.name,
      bus,
      subjects,
      now: () => performance.now(),
      ignored: () => this.#metrics.undecodable.inc(),
      rebalancing: () => this.#rebalancer.check(),
    });
    let busConnections = 1;
    bus.onEvent((event) => {
      if (event.type !== 'connected') return;
      busConnections = event.reconnects + 1;
      // Whoever publishes answers with a beat.
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
    }));
    this.#stopChecking = onTick(() => this.#rebalancer.check(), STAT_INTERVAL_MS / TICK_MS);
    const { file } = settings.current.gateway.drain;
    if (file !== undefined) this.#drainFile = followDrainOrderFile(file, log, (since) => this.#drain.order(since));
  }

  /** Processes of the shards, for tests and tools. */
  get shardPids(): number[] {
    return this.#links.flatMap((link) => link.pid ?? []);
  }

  /** What is broken, a sentence each. */
  health(): string[] {
    return this.#links.flatMap((link) => link.problem ?? []);
  }

  /** Why no traffic should come, a sentence each. */
  ready(): string[] {
    const reasons = this.#links.every((link) => !link.listening) ? ['no shard listens'] : [];
    if (!this.#hub.ready) reasons.push('the bus was not reached yet');
    return reasons;
  }

  /** What the operator sees of it. */
  status(): PodStatus {
    const { settings, bus } = this.#options;
    const { connections, bytesSent } = this.#metrics.stats();
    const counts = this.#links.flatMap((link) => link.counts ?? []);
    return {
      ...commonStatus(settings, bus),
      role: 'gateway',
      name: this.name,
      draining: this.#drain.active,
      connections,
      fuller: this.#rebalancer.full,
      bytesSentTotal: bytesSent,
      fds: {
        // Of those too that have just begun, and said nothing yet.
        limit: this.#links.length * descriptorLimit(),
        open: counts.reduce((sum, { fds }) => sum + fds, 0),
      },
      pressure: this.#protection.thresholdPressure,
    };
  }

  /** Milliseconds that `leave` takes at most. */
  get leavesWithin(): number {
    const { settle, timeout } = this.#options.settings.current.gateway.drain;
    return settle + timeout;
  }

  /** Leaves well: accepts for `settle`, then moves everyone away at the drain's pace, and ends the shards. */
  async leave(): Promise<void> {
    this.#drainFile?.close();
    await this.#drain.leave();
    this.#stopChecking();
    this.#rebalancer.stop();
    await Promise.all(this.#links.map((link) => link.end()));
    this.#peers.close();
    this.#reports.end();
    this.#options.log.info('left');
  }

  #link(index: number, count: number): ShardProcess {
    const { log, settings } = this.#options;
    const hooks: ShardProcessHooks = {
      message: (link, message) => this.#heard(link, message),
      counted: (counts: ShardCounts, before) => {
        this.#metrics.add(counts, before);
        this.#allowances.reported(index, counts.connections, counts.allowanceGeneration);
        this.#protection.reported(
          counts.sentAt,
          this.#links.map((link) => link.counts),
        );
        this.#allow();
      },
      died: (link) => {
        this.#metrics.shardRestarts.inc();
        this.#addressLimit.forget(link.index);
        this.#allowances.died(link.index);
        this.#hub.shardDied(link);
      },
      overrun: (items) => this.#metrics.shardOverrun.inc(items),
    };
    return new ShardProcess({ index, shards: count, settings: settings.current, log, guard: this.#guard, hooks });
  }

  #heard(link: ShardProcess, message: ShardMessage) {
    switch (message.type) {
      case 'listening':
        this.#options.log.info({ shard: link.index, pid: link.pid }, 'shard listens');
        // A shard that starts while the gateway leaves must not take anyone in.
        if (this.#drain.leaving) link.send({ type: 'stopListening' });
        this.#moves.started(link);
        this.#allowances.started(link.index);
        this.#allow();
        link.send({ type: 'short', resource: this.#protection.short });
        link.send({ type: 'bus', connected: this.#options.bus.connected });
        return;
      case 'admit': {
        const { perIp } = this.#options.settings.current.gateway.connections;
        const allowed = this.#addressLimit.admit(link.index, message.ip, perIp > 0 ? perIp : Number.POSITIVE_INFINITY);
        link.send({ type: 'admitted', ask: message.ask, refused: !allowed });
        return;
      }
      case 'left':
        this.#addressLimit.release(link.index, message.ip);
        return;
      default:
        this.#hub.receive(link, message);
    }
  }

  /** Shares connections.max among the shards, or what memory leaves of it. */
  #allow() {
    const { max } = this.#options.settings.current.gateway.connections;
    const atMost = Math.min(max === 0 ? Number.POSITIVE_INFINITY : max, this.#protection.ceiling);
    for (const [i, allowance] of this.#allowances.share(atMost).entries())
      if (allowance) this.#links[i]?.send({ type: 'allowance', ...allowance });
  }
}

function shardCount({ gateway }: Settings): number {
  return gateway.shards === 'auto' ? Math.max(1, availableParallelism() - 1) : gateway.shards;
}
