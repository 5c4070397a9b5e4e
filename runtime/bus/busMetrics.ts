import { Counter, Gauge, type Registry } from 'prom-client';
import { reportCertificate } from '../certificateMetrics.ts';
import type { Bus } from './bus.ts';

/** Registers the metrics of `bus` on `registry`: `pushcluster_bus_…`, and the expiry of its client certificate. */
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
  reportCertificate(registry, 'nats', () => bus.certificate);
  const reconnects = new Counter({
    name: 'pushcluster_bus_reconnects_total',
    help: 'Reconnections to the bus.',
    registers: [registry],
  });
  bus.onEvent((event) => {
    if (event.type === 'connected' && event.reconnects > 0) reconnects.inc();
  });
}
