import { Counter, type Registry } from 'prom-client';
import type { PodStatusPoller } from './podStatusPoller.ts';

/** Registers metrics about the polling of pods. */
export function registerPollerMetrics(registry: Registry, poller: Pick<PodStatusPoller, 'counts'>): void {
  new Counter({
    name: 'pushcluster_operator_pod_questions_total',
    help: 'Status requests to gateway and logic pods, by whether there was a response.',
    labelNames: ['answer'],
    registers: [registry],
    collect() {
      this.reset();
      this.inc({ answer: 'yes' }, poller.counts.answered);
      this.inc({ answer: 'no' }, poller.counts.unanswered);
    },
  });
}
