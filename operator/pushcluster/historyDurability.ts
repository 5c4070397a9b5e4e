import type { PushCluster } from '../api/pushCluster.ts';
import { managedNats } from './desired/bus.ts';

/** Whether the pushes in histories outlive what happens to NATS, and what does not, as a sentence. */
export type Durability = { isTrue: boolean; reason: string; message: string };

/**
 * What a restart of NATS costs the histories of a cluster; undefined if it has none, or if that depends on servers that
 * the operator does not run.
 */
export function historyDurability({ spec, ...rest }: PushCluster): Durability | undefined {
  const copies = spec.rooms.flatMap(({ history }) => (history === undefined ? [] : [history.replicas]));
  if (copies.length === 0) return undefined;
  const { jetstream } = managedNats({ spec, ...rest }) ?? {};
  if (jetstream?.storage === 'file') {
    const late =
      jetstream.sync === 'interval'
        ? '; with sync interval, a power failure may lose the pushes of the last two minutes'
        : '';
    return { isTrue: true, reason: 'OnVolumes', message: `histories are on the volumes of the NATS servers${late}` };
  }
  if ((jetstream?.storage ?? spec.history.storage) !== 'memory') return undefined;
  const single = 'a history with one copy begins anew when its NATS server restarts';
  const all = 'a history with three copies may begin anew when two of its servers restart at a time';
  const told = 'clients are told';
  const costs = [...(copies.includes(1) ? [single] : []), ...(copies.includes(3) ? [all] : []), told];
  return {
    isTrue: false,
    reason: 'InMemory',
    message: `histories are in the memory of the NATS servers: ${costs.join('; ')}`,
  };
}
