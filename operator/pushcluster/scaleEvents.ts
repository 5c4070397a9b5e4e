import type { EventInput } from '../kube/eventRecorder.ts';
import type { GatewayPod } from './gatewayPod.ts';
import { plural } from './plural.ts';
import type { Step } from './scalePolicy.ts';

/**
 * The event of one step of a scale plan.
 * @param wanted the number of gateways that the PushCluster asks for
 * @param now milliseconds since 1970
 */
export function eventOf(step: Step, wanted: number, now: number): EventInput {
  const event = (reason: string, note: string): EventInput => ({ type: 'Normal', reason, action: 'Scale', note });
  switch (step.type) {
    case 'drain': {
      const note = `Scaling down to ${plural(wanted, 'gateway')}: draining ${listed(step.pods, withConnections)}`;
      if (step.silent.length === 0) return event('DrainStarted', note);
      const are = step.silent.length === 1 ? 'is' : 'are';
      const names = listed(step.silent, ({ name }) => name);
      return event('DrainStarted', `${note}; ${names} did not respond and ${are} considered full`);
    }
    case 'undo':
      return event(
        'DrainUndone',
        `Scaling to ${plural(wanted, 'gateway')}: no longer draining ${listed(step.pods, ({ name }) => name)}`,
      );
    case 'remove': {
      const removed = `Removed ${listed(step.pods, (pod) => withOutcome(pod, now))}`;
      if (!step.late) return event('DrainEnded', removed);
      const note = `${removed} at the end of gateway.drain.timeout; remaining connections move during its shutdown`;
      return { ...event('DrainEnded', note), type: 'Warning' };
    }
    case 'drop': {
      const were = step.count === 1 ? 'was' : 'were';
      return event('ScaledDown', `Scaled down: removed ${plural(step.count, 'gateway')} that ${were} not running`);
    }
    case 'add':
      return event('ScaledUp', `Scaled up from ${step.from} to ${plural(step.to, 'gateway')}`);
  }
}

function withConnections({ name, counted }: GatewayPod): string {
  return counted === undefined ? name : `${name} (${plural(counted.connections, 'connection')})`;
}

function withOutcome({ name, counted, drainSince, state }: GatewayPod, now: number): string {
  if (state === 'pending') return `${name} (not started)`;
  const after = `after ${plural(Math.round((now - (drainSince ?? now)) / 1_000), 'second')}`;
  if (state !== 'running') return `${name} (stopped ${after})`;
  if (counted === undefined) return `${name} (number of connections unknown ${after})`;
  return counted.connections === 0
    ? `${name} (empty ${after})`
    : `${name} (${plural(counted.connections, 'connection')} left ${after})`;
}

/** At most three pods by name. */
function listed(pods: readonly GatewayPod[], say: (pod: GatewayPod) => string): string {
  const told = pods.slice(0, 3).map(say);
  return pods.length > 3 ? `${told.join(', ')} and ${pods.length - 3} more` : told.join(', ');
}
