import type { EventInput } from '../kube/eventRecorder.ts';
import type { GatewayPod, Step } from './scalePlan.ts';
import { some } from './status.ts';

/**
 * What a step says to people.
 * @param wanted gateways
 * @param now milliseconds since 1970
 */
export function eventOf(step: Step, wanted: number, now: number): EventInput {
  const event = (reason: string, note: string): EventInput => ({ type: 'Normal', reason, action: 'Scale', note });
  switch (step.type) {
    case 'drain': {
      const verb = step.pods.length === 1 ? 'drains' : 'drain';
      const drained = `${are(wanted)} wanted: ${listed(step.pods, counted)} ${verb}`;
      if (step.silent.length === 0) return event('DrainStarted', drained);
      const count = step.silent.length === 1 ? 'counts' : 'count';
      const names = listed(step.silent, ({ name }) => name);
      return event('DrainStarted', `${drained}; ${names} did not answer, and ${count} as full`);
    }
    case 'undo': {
      const verb = step.pods.length === 1 ? 'serves' : 'serve';
      return event('DrainUndone', `${are(wanted)} wanted: ${listed(step.pods, ({ name }) => name)} ${verb} again`);
    }
    case 'remove': {
      const pods = listed(step.pods, (pod) => removed(pod, now));
      if (!step.late) return event('DrainEnded', `${pods}: removed`);
      const note = `${pods}: removed at the end of gateway.drain.timeout; what is left moves while it ends`;
      return { ...event('DrainEnded', note), type: 'Warning' };
    }
    case 'drop':
      return event('ScaledDown', `${are(wanted)} wanted: ${some(step.count, 'gateway')} less, of those that don't run`);
    case 'add':
      return event('ScaledUp', `from ${step.from} to ${some(step.to, 'gateway')}`);
  }
}

function are(count: number): string {
  return `${some(count, 'gateway')} ${count === 1 ? 'is' : 'are'}`;
}

function counted({ name, counted }: GatewayPod): string {
  return counted === undefined ? name : `${name} (${some(counted.connections, 'connection')})`;
}

function removed({ name, counted, drainSince, state }: GatewayPod, now: number): string {
  const seconds = Math.round((now - (drainSince ?? now)) / 1_000);
  const after = `after ${some(seconds, 'second')}`;
  if (state === 'pending') return `${name} has not begun to run`;
  if (state !== 'running') return `${name} has ended ${after}`;
  if (counted === undefined) return `${name} doesn't say how many connections it has ${after}`;
  return counted.connections === 0
    ? `${name} is empty ${after}`
    : `${name} has ${some(counted.connections, 'connection')} left ${after}`;
}

function listed(pods: readonly GatewayPod[], say: (pod: GatewayPod) => string): string {
  const told = pods.slice(0, 3).map(say);
  return pods.length > 3 ? `${told.join(', ')} and ${pods.length - 3} more` : told.join(', ');
}
