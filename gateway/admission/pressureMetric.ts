import type { Pressure } from '@pushcluster/protocol/podStatus.ts';
import { Gauge, type Registry } from 'prom-client';

/** Shows the pressures; a resource that can't be measured has no sample. */
export function registerPressureMetric(registry: Registry, read: () => Pressure): void {
  new Gauge({
    name: 'pushcluster_gateway_pressure',
    help: 'Used share of a resource, 0 to 1: of the memory limit, of the file descriptors of the fullest shard, and of the event loop delay that counts as overload.',
    labelNames: ['resource'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [resource, value] of Object.entries(read())) if (value !== undefined) this.set({ resource }, value);
    },
  });
}
