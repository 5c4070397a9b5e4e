import { X509Certificate } from 'node:crypto';
import { Gauge, type Registry } from 'prom-client';

/** How long a certificate is valid. */
export type Validity = {
  /** Seconds since 1970. */
  ends: number;
  /** Seconds from its beginning to its end. */
  lasts: number;
};

type Read = () => Validity | undefined;

const reads = new WeakMap<Registry, Map<string, Read>>();

/** The validity of the first certificate in PEM or DER: that of the server or client itself. Undefined if it is none. */
export function validityOf(certificate: string | Buffer): Validity | undefined {
  try {
    const { validFrom, validTo } = new X509Certificate(certificate);
    const ends = Date.parse(validTo) / 1_000;
    return { ends, lasts: ends - Date.parse(validFrom) / 1_000 };
  } catch {
    return undefined;
  }
}

/**
 * Exports when a certificate that this process uses expires: `pushcluster_certificate_expiry_timestamp_seconds` and
 * `pushcluster_certificate_lifetime_seconds`. Without a certificate there is no series.
 * @param use what it is used for: a value of the label `use`
 * @param read called at each scrape
 */
export function reportCertificate(registry: Registry, use: string, read: Read): void {
  let known = reads.get(registry);
  if (known === undefined) {
    known = new Map();
    reads.set(registry, known);
    const gauge = (name: string, help: string, field: keyof Validity) => registerGauge(registry, name, help, field);
    gauge(
      'expiry_timestamp_seconds',
      'Expiry of each certificate that the process uses, by `use` (gateway, logic, nats, metrics_api).',
      'ends',
    );
    gauge('lifetime_seconds', 'Time from the beginning to the end of that certificate, by `use`.', 'lasts');
  }
  known.set(use, read);
}

function registerGauge(registry: Registry, name: string, help: string, field: keyof Validity): void {
  new Gauge({
    name: `pushcluster_certificate_${name}`,
    help,
    labelNames: ['use'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [use, read] of reads.get(registry) ?? []) {
        const value = read()?.[field];
        if (value !== undefined) this.set({ use }, value);
      }
    },
  });
}
