import { randomBytes } from 'node:crypto';
import { availableParallelism, hostname } from 'node:os';
import { STAT_INTERVAL_MS, type Stat } from '@pushcluster/protocol/control.ts';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { commonStatus } from '@pushcluster/runtime/podStatus.ts';
import { assertPortFree } from '@pushcluster/runtime/portProbe.ts';
import type { SettingsFile } from '@pushcluster/runtime/settings.ts';
import type { Registry } from 'prom-client';
import { Addresses } from './addresses.ts';
import { Allowances } from './allowances.ts';
import { announce } from './announce.ts';
import { DrainPace, share } from './drain.ts';
import { systemClock } from './hub/clock.ts';
import { Hub } from './hub/hub.ts';
import { ShardLink } from './hub/link.ts';
import { MemoryReader } from './memoryUse.ts';
import { GatewayMetrics } from './metrics.ts';
import { monotonicMs } from './monotonicClock.ts';
import { registerPressureMetric } from './pressureMetric.ts';
import { Protection } from './protection.ts';
import type { ShardCounts } from './shard/counts.ts';
import type { ShardMessage } from './wire.ts';

const PACE_MS = 100;

export type GatewayOptions = {
  settings: SettingsFile;
  bus: Bus;
  log: Logger;
  registry: Registry;
};

/** A gateway: a hub in this process, and shards that hold the connections. */
export class Gateway {
  readonly name = `${hostname()}-${randomBytes(3).toString('hex')}`.replace(/[^A-Za-z0-9_-]/g, '-');
  readonly #options: GatewayOptions;
  readonly #subjects: Subjects;
  readonly #metrics: GatewayMetrics;
  readonly #hub: Hub;
  readonly #links: ShardLink[];
  readonly #addresses = new Addresses();
  readonly #allowances: Allowances;
  readonly #protection: Protection;
  readonly #timer: NodeJS.Timeout;
  #draining = false;

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
    this.#subjects = new Subjects(settings.current.bus.prefix);
    this.#metrics = new GatewayMetrics(registry, {
      gateway: this.name,
      startedAt: Date.now(),
      shards: () => this.#links.map((link) => link.counts),
      rooms: () => this.#hub.rooms,
      draining: () => this.#draining,
      generation: () => settings.generation,
    });
    this.#hub = new Hub({
      gateway: this.name,
      bus,
      settings: settings.current,
      clock: systemClock,
      log,
      metrics: this.#metrics,
    });
    const memory = new MemoryReader();
    this.#protection = new Protection({
      settings: () => settings.current,
      log,
      memory: (resident) => memory.read(resident),
      resident: () => process.memoryUsage.rss(),
      now: monotonicMs,
      changed: () => {
        for (const link of this.#links) link.send({ type: 'short', resource: this.#protection.short });
      },
    });
    registerPressureMetric(registry, () => this.#protection.pressure);
    const count = shardCount(settings.current);
    this.#allowances = new Allowances(count);
    this.#links = Array.from({ length: count }, (_, index) => this.#link(index, count));
    this.#hub.attach(this.#links);
    settings.onChange((current) => {
      this.#hub.configure(current);
      this.#allow();
    });
    settings.onRefused((error) => {
      this.#metrics.settingsRefused.inc();
      log.error({ problems: error.message.split('\n') }, 'the settings file was refused; the former settings stay');
    });
    settings.onPending((keys) => log.warn({ keys }, 'changed settings that take effect at the next start'));
    this.#timer = setInterval(() => this.#report(false), STAT_INTERVAL_MS);
  }

  /** Processes of the shards, for tests and tools. */
  get shardPids(): number[] {
    return this.#links.flatMap((link) => link.pid ?? []);
  }

  /** What is broken, a sentence each. */
  health(): string[] {
    return this.#links.filter((link) => !link.listening).map((link) => `shard ${link.index} does not listen`);
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
      draining: this.#draining,
      connections,
      bytesSentTotal: bytesSent,
      fds: {
        limit: counts.reduce((sum, { fdLimit }) => sum + fdLimit, 0),
        open: counts.reduce((sum, { fds }) => sum + fds, 0),
      },
      pressure: this.#protection.pressure,
    };
  }

  /** Milliseconds that `leave` takes at most. */
  get leavesWithin(): number {
    const { settle, timeout } = this.#options.settings.current.gateway.drain;
    return settle + timeout;
  }

  /** Leaves well: accepts for `settle`, then moves everyone away at the drain's pace, and ends the shards. */
  async leave(): Promise<void> {
    const { log, settings } = this.#options;
    const { settle, timeout } = settings.current.gateway.drain;
    this.#draining = true;
    this.#report(false);
    log.info({ connections: this.#connections, settle, timeout }, 'leaving: accepting a little longer');
    await wait(settle);
    for (const link of this.#links) link.send({ type: 'stopListening' });
    await this.#moveAway(timeout);
    clearInterval(this.#timer);
    await Promise.all(this.#links.map((link) => link.end()));
    this.#report(true);
    log.info('left');
  }

  async #moveAway(timeout: number): Promise<void> {
    const { settings, log } = this.#options;
    const began = performance.now();
    const maxDelay = settings.current.gateway.batching.maxDelay;
    const pace = new DrainPace(() => settings.current.gateway.drain.rate, began, timeout, maxDelay);
    // Counts are as old as the shards' last report: begin with one that is newer than the closed listeners.
    await this.#freshCounts();
    log.info({ connections: this.#connections }, 'leaving: moving connections away');
    while (this.#connections > 0 && performance.now() < pace.end) {
      // By what each shard says, and not by what was asked of it: some of those asked may have left by themselves.
      const unasked = this.#links.map((link) => link.counts?.unasked ?? 0);
      const { count, withinMs } = pace.step(
        performance.now(),
        unasked.reduce((sum, part) => sum + part, 0),
      );
      for (const [i, part] of share(count, unasked).entries())
        if (part > 0) this.#links[i]?.send({ type: 'move', count: part, withinMs });
      await wait(PACE_MS);
    }
  }

  get #connections(): number {
    return this.#links.reduce((sum, link) => sum + (link.counts?.connections ?? 0), 0);
  }

  async #freshCounts(): Promise<void> {
    const before = this.#links.map((link) => link.counts);
    const until = performance.now() + 2_000;
    while (performance.now() < until) {
      if (this.#links.every((link, i) => !link.listening || link.counts !== before[i])) return;
      await wait(20);
    }
  }

  #link(index: number, count: number): ShardLink {
    const { log, settings } = this.#options;
    return new ShardLink(index, count, settings.current, log, {
      message: (link, message) => this.#heard(link, message),
      counted: (counts: ShardCounts, before) => {
        this.#metrics.add(counts, before);
        this.#allowances.reported(index, counts.connections, counts.allowanceTurn);
        this.#protection.heard(
          counts.sentAt,
          this.#links.map((link) => link.counts),
        );
        this.#allow();
      },
      died: (link) => {
        this.#metrics.shardRestarts.inc();
        this.#addresses.forget(link.index);
        this.#allowances.died(link.index);
        this.#hub.lost(link);
      },
      overrun: (items) => this.#metrics.shardOverrun.inc(items),
    });
  }

  #heard(link: ShardLink, message: ShardMessage) {
    switch (message.type) {
      case 'listening':
        this.#options.log.info({ shard: link.index, pid: link.pid }, 'shard listens');
        // A shard that starts while the gateway leaves must not take anyone in.
        if (this.#draining) link.send({ type: 'stopListening' });
        this.#allowances.started(link.index);
        this.#allow();
        link.send({ type: 'short', resource: this.#protection.short });
        return;
      case 'admit': {
        const { perIp } = this.#options.settings.current.gateway.connections;
        const allowed = this.#addresses.admit(link.index, message.ip, perIp > 0 ? perIp : Number.POSITIVE_INFINITY);
        link.send({ type: 'admitted', ask: message.ask, refused: !allowed });
        return;
      }
      case 'left':
        this.#addresses.release(link.index, message.ip);
        return;
      default:
        this.#hub.heard(link, message);
    }
  }

  /** Shares connections.max among the shards, or what memory leaves of it. */
  #allow() {
    const { max } = this.#options.settings.current.gateway.connections;
    const atMost = Math.min(max === 0 ? Number.POSITIVE_INFINITY : max, this.#protection.ceiling);
    for (const [i, allowance] of this.#allowances.share(atMost).entries())
      if (allowance) this.#links[i]?.send({ type: 'allowance', ...allowance });
  }

  #report(leaving: boolean) {
    const stat = { ...this.#metrics.stats(), leaving } satisfies Stat;
    announce(this.#options.bus, this.#subjects.stat(this.name), stat);
  }
}

function shardCount({ gateway }: Settings): number {
  return gateway.shards === 'auto' ? Math.max(1, availableParallelism() - 1) : gateway.shards;
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
