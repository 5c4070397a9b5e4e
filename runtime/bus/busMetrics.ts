import { Counter, Gauge, type Registry } from 'prom-client';
import type { Bus } from './bus.ts';

/** Registers `pushcluster_bus_connected` and `pushcluster_bus_reconnects_total` of `bus` on `registry`. */
export function registerBusMetrics(registry: Registry, bus: Bus): void {
  new Gauge({
    name: 'pushcluster_bus_connected',
    help: '1 while the bus is connected.',
    registers: [registry],
    collect() {
      this.set(bus.connected ? 1 : 0);
    },
  });
  new Gauge({
    name: 'pushcluster_bus_subscriptions_refused',
    help: 'Subscriptions that the NATS server refuses because of a limit or a permission. They are retried.',
    registers: [registry],
    collect() {
      this.set(bus.refused ?? 0);
    },
  });
  const reconnects = new Counter({
    name: 'pushcluster_bus_reconnects_total',
    help: 'Reconnections to the bus.',
    registers: [registry],
  });
  bus.onEvent((event) => {
    if (event.type === 'connected' && event.reconnects > 0) reconnects.inc();
  });
}
