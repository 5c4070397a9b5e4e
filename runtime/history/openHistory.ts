import type { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '../bus/bus.ts';
import { BusRequests } from '../bus/busRequests.ts';
import type { MeasuredHistoryStore } from './historyStore.ts';
import { LocalHistory } from './localHistory.ts';
import { NatsHistory } from './natsHistory.ts';

/**
 * The histories on a bus: in JetStream, or in the memory of this process without `bus.nats`. Gateway and logic in one
 * process share one.
 */
export function openHistory(
  { nats, prefix }: Settings['bus'],
  bus: Bus,
  role: 'gateway' | 'logic',
): MeasuredHistoryStore {
  const subjects = new Subjects(prefix);
  if (nats === undefined) return new LocalHistory(bus, subjects);
  return new NatsHistory(new BusRequests(bus, subjects.inbox(role)), prefix);
}
