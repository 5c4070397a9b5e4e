import { Counter, type Registry } from 'prom-client';
import type { PodStatusPoller } from './poller.ts';

/** Registers how pods answer the operator. */
export function registerPollerMetrics(registry: Registry, poller: Pick<PodStatusPoller, 'counts'>): void {
  new Counter({
    name: 'pushcluster_operator_pod_questions_total',
    help: 'Questions to gateway and logic pods for their status, by whether they had an answer.',
    labelNames: ['answer'],
    registers: [registry],
    collect() {
      this.reset();
      this.inc({ answer: 'yes' }, poller.counts.answered);
      this.inc({ answer: 'no' }, poller.counts.unanswered);
    },
  });
}
