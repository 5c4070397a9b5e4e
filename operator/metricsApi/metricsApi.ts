import { reportCertificate, validityOf } from '@pushcluster/runtime/certificateMetrics.ts';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Client } from '../kube/client.ts';
import { KINDS } from '../kube/objects.ts';
import { Reflector } from '../kube/reflector.ts';
import { AccessReviews } from './accessReviews.ts';
import { METRICS_API_SECRET, METRICS_API_SERVICE } from './api.ts';
import { CertificateRotator } from './certificateRotator.ts';
import { AUTHENTICATION_CONFIG, type FrontProxy, frontProxyIn, NO_FRONT_PROXY } from './frontProxy.ts';
import { MetricsServer, type Source } from './metricsServer.ts';
import { OtherProviders } from './otherProviders.ts';

export type MetricsApiOptions = {
  client: Client;
  host: string;
  port: number;
  source: Source;
  registry: Registry;
  onTrouble: (what: string, error: unknown) => void;
};

/** The custom metrics API of one operator process: its certificates, its authentication and its server. */
export class MetricsApi {
  readonly reflectors: readonly Reflector[];
  readonly #options: MetricsApiOptions;
  readonly #rotator: CertificateRotator;
  readonly #authentication: Reflector;
  readonly #others: OtherProviders;
  readonly #answers: Counter<'code'>;
  readonly #seconds: Histogram;
  #frontProxy: FrontProxy = NO_FRONT_PROXY;
  #server: MetricsServer | undefined;
  #port: number | undefined;
  #listening: Promise<void> | undefined;
  #problem: string | undefined;

  constructor(options: MetricsApiOptions) {
    this.#options = options;
    const { client, registry, onTrouble } = options;
    this.#rotator = new CertificateRotator({
      client,
      namespace: client.namespace,
      secret: METRICS_API_SECRET,
      service: METRICS_API_SERVICE,
      onCertificates: ({ serving }) => {
        if (this.#server) this.#server.serveWith(serving);
        else this.#listening ??= this.#listen();
      },
      onTrouble: (error) => onTrouble('certificates of the metrics API', error),
    });
    this.#authentication = new Reflector({
      client,
      kind: KINDS.configMaps,
      namespace: AUTHENTICATION_CONFIG.namespace,
      fieldSelector: `metadata.name=${AUTHENTICATION_CONFIG.name}`,
      onChange: (change) => this.#trust(change.type === 'deleted' ? undefined : change.object),
      onTrouble: (error) => onTrouble('ConfigMap extension-apiserver-authentication', error),
    });
    const others = new OtherProviders(client, (message) => onTrouble(message, undefined));
    this.#others = others;
    this.reflectors = [...this.#rotator.reflectors, this.#authentication];
    this.#answers = new Counter({
      name: 'pushcluster_operator_metrics_api_answers_total',
      help: 'Responses of the custom metrics API, if enabled, by class of HTTP status.',
      labelNames: ['code'],
      registers: [registry],
    });
    for (const code of ['2xx', '4xx', '5xx']) this.#answers.inc({ code }, 0);
    this.#seconds = new Histogram({
      name: 'pushcluster_operator_metrics_api_seconds',
      help: 'Duration of a request to the custom metrics API, if enabled.',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
      registers: [registry],
    });
    new Gauge({
      name: 'pushcluster_operator_metrics_api_other_providers',
      help: 'Other versions of custom.metrics.k8s.io that another adapter serves beside the custom metrics API, if enabled. Should be 0.',
      registers: [registry],
      collect() {
        this.set(others.count);
      },
    });
    const rotator = this.#rotator;
    reportCertificate(registry, 'metrics_api', () =>
      rotator.current === undefined ? undefined : validityOf(rotator.current.serving.certificate),
    );
  }

  /** The port that it listens on; undefined if it does not listen yet. */
  get port(): number | undefined {
    return this.#port;
  }

  /** Whether it listens and can authenticate the front proxy. */
  get isServing(): boolean {
    return this.#port !== undefined && this.#frontProxy.authorities.length > 0;
  }

  /**
   * Why this process is not ready. Missing certificates are no reason: the leader creates them, and during an upgrade
   * the leader is an older process, which exits only once this one is ready.
   */
  unready(): string[] {
    const unsynced = this.reflectors.filter((each) => !each.isSynced);
    const reasons = unsynced.map(({ kind }) => `${kind.plural} that the metrics API needs have not been listed yet`);
    if (this.#problem !== undefined) reasons.push(this.#problem);
    else if (this.#rotator.current !== undefined && this.#port === undefined)
      reasons.push('the metrics API does not listen yet');
    return reasons;
  }

  start(): void {
    this.#rotator.start();
    this.#authentication.start();
    this.#others.start();
  }

  /** This process leads: it creates and renews the certificates. @param writer writes only while this process leads */
  lead(writer: Client): Promise<void> {
    return this.#rotator.lead(writer);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#rotator.stop(), this.#authentication.stop(), this.#others.stop()]);
    await this.#listening;
    await this.#server?.close();
  }

  async #listen(): Promise<void> {
    const { current } = this.#rotator;
    if (!current) return;
    const { host, port, source, client, onTrouble } = this.#options;
    const server = new MetricsServer({
      ...{ host, port, source, serving: current.serving },
      reviews: new AccessReviews(client),
      onAnswered: (code, seconds) => {
        this.#answers.inc({ code: `${Math.floor(code / 100)}xx` });
        this.#seconds.observe(seconds);
      },
      onTrouble: (error) => onTrouble('request to the metrics API', error),
    });
    server.trust(this.#frontProxy);
    this.#server = server;
    try {
      this.#port = await server.listen();
    } catch (error) {
      this.#problem = `the metrics API cannot listen: ${error instanceof Error ? error.message : String(error)}`;
      onTrouble('port of the metrics API', error);
    }
  }

  #trust(configMap: unknown): void {
    try {
      this.#frontProxy = configMap === undefined ? NO_FRONT_PROXY : frontProxyIn(configMap);
    } catch (error) {
      // An invalid configuration trusts no client.
      this.#frontProxy = NO_FRONT_PROXY;
      this.#options.onTrouble('ConfigMap extension-apiserver-authentication', error);
    }
    this.#server?.trust(this.#frontProxy);
  }
}
