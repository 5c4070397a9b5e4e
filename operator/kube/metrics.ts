import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Client } from './client.ts';
import type { Reflector } from './reflector.ts';

/**
 * The outcome of a reconcile:
 * - done: nothing is left to do
 * - again: a change is in progress; reconciled again later
 * - conflict: an object was changed meanwhile; retried immediately
 * - error: retried with a back-off
 */
export type Outcome = 'done' | 'again' | 'conflict' | 'error';
const OUTCOMES: readonly Outcome[] = ['done', 'again', 'conflict', 'error'];

/** What metrics tell of a watch. */
type Watch = Pick<Reflector, 'kind' | 'namespace' | 'failingFor'> & {
  counts: Pick<Reflector['counts'], 'expired' | 'silences' | 'failures'>;
};

/** Metrics of the operator. No label has values that users choose. */
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
      reflectors: readonly Watch[];
    },
  ) {
    const registers = [registry];
    this.#reconciles = new Counter({
      name: 'pushcluster_operator_reconcile_total',
      help: 'Reconciles of a PushCluster, by outcome.',
      labelNames: ['outcome'],
      registers,
    });
    for (const outcome of OUTCOMES) this.#reconciles.inc({ outcome }, 0);
    this.#seconds = new Histogram({
      name: 'pushcluster_operator_reconcile_seconds',
      help: 'Duration of a reconcile.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
    gauge('pushcluster_operator_leader', 'Whether this process is the leader.', () => Number(read.isLeading()));
    gauge(
      'pushcluster_operator_clusters_failing',
      'PushClusters whose last reconcile failed and will be retried. Always 0 in processes that do not lead.',
      read.failing,
    );
    gauge('pushcluster_operator_workqueue_depth', 'PushClusters waiting to be reconciled.', read.depth);
    new Counter({
      name: 'pushcluster_operator_requests_total',
      help: 'Requests to the API server, by verb.',
      labelNames: ['verb'],
      registers,
      collect() {
        this.reset();
        for (const [verb, count] of Object.entries(read.client.counts)) this.inc({ verb }, count);
      },
    });
    new Counter({
      name: 'pushcluster_operator_watch_failures_total',
      help: 'Failed lists and watches, by kind and by how they failed.',
      labelNames: ['kind', 'how'],
      registers,
      collect() {
        this.reset();
        for (const { kind, counts } of read.reflectors)
          for (const how of ['expired', 'silences', 'failures'] as const)
            this.inc({ kind: kind.kind, how }, counts[how]);
      },
    });

    new Gauge({
      name: 'pushcluster_operator_watches_failing',
      help: 'Kinds whose last list or watch failed, by namespace. The label is empty if all namespaces are watched.',
      labelNames: ['watched_namespace'],
      registers,
      collect() {
        this.reset();
        for (const { namespace, failingFor } of read.reflectors)
          this.inc({ watched_namespace: namespace ?? '' }, failingFor > 0 ? 1 : 0);
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
