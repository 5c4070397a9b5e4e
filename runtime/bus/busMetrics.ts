import { Counter, Gauge, type Registry } from 'prom-client';
import type { Bus } from './bus.ts';

/** Registers `pushcluster_bus_connected` and `pushcluster_bus_reconnects_total` of `bus` on `registry`. */
export function registerBusMetrics(registry: Registry, bus: Bus): void {
  new Gauge({
    name: 'pushcluster_bus_connected',
    help: '1 while there is a connection to the bus.',
    registers: [registry],
    collect() {
      this.set(bus.connected ? 1 : 0);
    },
  });
  new Gauge({
    name: 'pushcluster_bus_subscriptions_refused',
    help: 'Subscriptions that the NATS server refuses: its limit, an account’s, or a permission. They are tried again.',
    registers: [registry],
    collect() {
      this.set(bus.refused ?? 0);
    },
  });
  const reconnects = new Counter({
    name: 'pushcluster_bus_reconnects_total',
    help: 'Connections to the bus after the first.',
    registers: [registry],
  });
  bus.onEvent((event) => {
    if (event.type === 'connected' && event.reconnects > 0) reconnects.inc();
  });
}
