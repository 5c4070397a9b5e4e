import { setTimeout } from 'node:timers/promises';
import { inUrl } from './cluster/addressPlan.ts';
import { Metrics } from './metrics.ts';

const MOVES = 'pushcluster_gateway_moved_total';
const LAG = 'pushcluster_gateway_shard_loop_lag_seconds';
const LOOK_EVERY_MS = 100;
const ANSWER_MS = 5_000;

/**
 * Moves of one gateway: `count` of them, none before `after` and none after `before` (milliseconds of
 * performance.now()).
 */
type Step = { count: number; after: number; before: number };
/**
 * A counter value, and the start of the scrape before the first scrape that returned it. Later moves are after `since`.
 */
type Seen = { count: number; since: number };

/** The greatest rate of moves that is proven, as a share of the configured pace. */
export type Fastest = { share: number; text: string };

/**
 * Moves as counted by the gateways. The times at which clients receive RECONNECT are a poor measure, because the
 * clients share the processor with the gateways. A gateway's counter is the sum of its shards' reports. Therefore an
 * increase happened after the last observed change of the counter, or before that change by at most the delay of a
 * shard's report.
 */
export class CountedMoves {
  readonly #urls: readonly string[];
  readonly #seen = new Map<string, Seen>();
  readonly #asked = new Map<string, number>();
  readonly #steps: Step[] = [];
  readonly #stop = new AbortController();
  readonly #watching: Promise<unknown>;

  /** @param gateways `host:port` of their admin servers. A gateway that has ended moves no further connections. */
  constructor(gateways: readonly string[]) {
    this.#urls = gateways.map((address) => `http://${address}/metrics`);
    this.#watching = Promise.all(this.#urls.map((url) => this.#watch(url)));
  }

  /** Counts the moves of gateways that are processes of the test. */
  static of(gateways: readonly { adminPort: number }[]): CountedMoves {
    return new CountedMoves(gateways.map(({ adminPort }) => `127.0.0.1:${adminPort}`));
  }

  /** Counts the moves of gateway pods. */
  static at(pods: readonly { ip: string }[]): CountedMoves {
    return new CountedMoves(pods.map(({ ip }) => `${inUrl(ip)}:9090`));
  }

  /** Observed moves. If a gateway ends, its moves since the last scrape are missing. */
  get total(): number {
    return this.#steps.reduce((sum, { count }) => sum + count, 0);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }

  /**
   * The greatest proven rate of moves over any second, or any longer time, as a share of `pace`.
   * @param pace moves per second
   * @param whole moves that may exceed the pace in the second that is checked: each gateway moves whole connections
   */
  fastest(pace: number, whole = 1): Fastest {
    const found: Fastest = { share: 0, text: 'no moves' };
    for (const { after } of this.#steps) {
      const later = this.#steps.filter((step) => step.after >= after).sort((a, b) => a.before - b.before);
      let count = 0;
      for (const step of later) {
        count += step.count;
        const ms = Math.max(1_000, step.before - after);
        const share = (count - whole) / ((pace * ms) / 1_000);
        if (share <= found.share) continue;
        found.share = share;
        found.text = `${count} moves in ${Math.round(ms)} ms, ${share.toFixed(2)} × a pace of ${pace}`;
      }
    }
    return found;
  }

  async #watch(url: string): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const asked = performance.now();
      const text = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) })
        .then((response) => response.text())
        .catch(() => undefined);
      if (text !== undefined) this.#note(url, new Metrics(linesOf(text)), asked);
      await setTimeout(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
    }
  }

  #note(url: string, metrics: Metrics, asked: number): void {
    const count = metrics.sum(MOVES);
    const seen = this.#seen.get(url);
    if (seen === undefined || count > seen.count) {
      const late = 1_000 * Math.max(0, ...metrics.by(LAG, 'shard').values());
      if (seen) this.#steps.push({ count: count - seen.count, after: seen.since - late, before: performance.now() });
      this.#seen.set(url, { count, since: this.#asked.get(url) ?? asked });
    }
    this.#asked.set(url, asked);
  }
}

/** The lines of the metrics that are read here. To parse them all takes time that the clients of a test need. */
function linesOf(text: string): string {
  const isRead = (line: string) =>
    [MOVES, LAG].some((name) => line.startsWith(name) || line.startsWith(`# HELP ${name} `));
  return text.split('\n').filter(isRead).join('\n');
}
