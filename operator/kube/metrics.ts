import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Client } from './client.ts';
import type { Reflector } from './reflector.ts';

/**
 * - done: all is as wanted, and nothing more is to be done
 * - again: something is under way, and is looked at again later
 * - conflict: somebody changed it meanwhile: tried again at once
 * - error: tried again after a growing wait
 */
export type Outcome = 'done' | 'again' | 'conflict' | 'error';
const OUTCOMES: readonly Outcome[] = ['done', 'again', 'conflict', 'error'];

/** The operator's metrics. None has a label whose values a user chooses. */
export class Metrics {
  readonly #reconciles: Counter<'outcome'>;
  readonly #seconds: Histogram;

  constructor(
    registry: Registry,
    read: {
      isLeading: () => boolean;
      depth: () => number;
      failing: () => number;
      client: Client;
      reflectors: readonly Reflector[];
    },
  ) {
    const registers = [registry];
    this.#reconciles = new Counter({
      name: 'pushcluster_operator_reconcile_total',
      help: 'Reconciles of a PushCluster, by how they ended.',
      labelNames: ['outcome'],
      registers,
    });
    for (const outcome of OUTCOMES) this.#reconciles.inc({ outcome }, 0);
    this.#seconds = new Histogram({
      name: 'pushcluster_operator_reconcile_seconds',
      help: 'What a reconcile took.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
    gauge('pushcluster_operator_leader', 'Whether this process is the leader.', () => Number(read.isLeading()));
    gauge(
      'pushcluster_operator_clusters_failing',
      'PushClusters whose last reconcile failed, and that are tried again later: only the leader has any.',
      read.failing,
    );
    gauge('pushcluster_operator_workqueue_depth', 'PushClusters that wait to be reconciled.', read.depth);
    new Counter({
      name: 'pushcluster_operator_requests_total',
      help: 'Requests to the API server.',
      labelNames: ['verb'],
      registers,
      collect() {
        this.reset();
        for (const [verb, count] of Object.entries(read.client.counts)) this.inc({ verb }, count);
      },
    });
    new Counter({
      name: 'pushcluster_operator_watch_failures_total',
      help: 'Lists and watches that failed, by kind and by how.',
      labelNames: ['kind', 'how'],
      registers,
      collect() {
        this.reset();
        for (const { kind, counts } of read.reflectors)
          for (const how of ['expired', 'silences', 'failures'] as const)
            this.inc({ kind: kind.kind, how }, counts[how]);
      },
    });

    function gauge(name: string, help: string, value: () => number): void {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value());
        },
      });
    }
  }

  reconciled(outcome: Outcome, seconds: number): void {
    this.#reconciles.inc({ outcome });
    this.#seconds.observe(seconds);
  }
}
