import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import type { Client } from '../kube/client.ts';
import { KINDS } from '../kube/objects.ts';
import { Reflector } from '../kube/reflector.ts';
import { API_SERVICE } from './api.ts';
import { type Certificates, certificatesIn, endOf, renewed, secretData } from './certificates.ts';

/** Certificates are looked at this often, beside whenever the Secret or the APIService changes. */
const LOOK_MS = 60_000;
/** After something was refused: a right may have been given meanwhile, and nobody tells. */
const AGAIN_MS = 5_000;

const Secret = z.object({ data: z.record(z.string(), z.string()).nullish() });
const ApiService = z.object({ spec: z.object({ caBundle: z.string().default('') }) });

export type CertificateRotatorOptions = {
  client: Client;
  /** Where the Secret is: the operator's own. */
  namespace: string;
  /** Name of the Secret. */
  secret: string;
  /** Name of the Service by which the API server finds the operator's pods. */
  service: string;
  onCertificates: (certificates: Certificates) => void;
  onTrouble: (error: unknown) => void;
  clock?: Clock;
};

/**
 * Keeps the certificates of the metrics API in a Secret, and their authority in the APIService. Every replica follows
 * the Secret; one that leads makes it and renews it.
 */
export class CertificateRotator {
  readonly reflectors: readonly Reflector[];
  readonly #options: CertificateRotatorOptions;
  readonly #clock: Clock;
  readonly #secrets: Reflector;
  readonly #apiServices: Reflector;
  /** Set once this process leads. */
  #writer: Client | undefined;
  #current: Certificates | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #callOff = () => {};
  #stopped = false;

  constructor(options: CertificateRotatorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { client, namespace, secret, onTrouble } = options;
    const one = (name: string) => ({ client, fieldSelector: `metadata.name=${name}`, onTrouble });
    this.#secrets = new Reflector({
      ...one(secret),
      kind: KINDS.secrets,
      namespace,
      onChange: () => {
        this.#follow();
        this.#look();
      },
    });
    this.#apiServices = new Reflector({ ...one(API_SERVICE), kind: KINDS.apiServices, onChange: () => this.#look() });
    this.reflectors = [this.#secrets, this.#apiServices];
  }

  /** What is served with now; undefined until there is a Secret. */
  get current(): Certificates | undefined {
    return this.#current;
  }

  /** When what is served with ends, in milliseconds since 1970; 0 where there is nothing. */
  get servingEnds(): number {
    return this.#current === undefined ? 0 : endOf(this.#current.serving.certificate);
  }

  start(): void {
    for (const each of this.reflectors) each.start();
  }

  /** From now on it makes and renews. @param writer guarded: it writes for the leader only */
  async lead(writer: Client): Promise<void> {
    await Promise.all(this.reflectors.map((each) => each.whenSynced()));
    this.#writer = writer;
    this.#look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#callOff();
    await this.#looking;
    await Promise.all(this.reflectors.map((each) => each.stop()));
  }

  #follow(): void {
    const found = this.#kept();
    if (found === undefined || found.serving.certificate === this.#current?.serving.certificate) return;
    this.#current = found;
    this.#options.onCertificates(found);
  }

  #kept(): Certificates | undefined {
    const { namespace, secret } = this.#options;
    const found = this.#secrets.get(`${namespace}/${secret}`);
    return found && certificatesIn(Secret.parse(found).data ?? {});
  }

  #look(): void {
    if (this.#writer === undefined || this.#stopped) return;
    this.#lookAgain = true;
    this.#looking ??= this.#lookOn(this.#writer).finally(() => {
      this.#looking = undefined;
    });
  }

  async #lookOn(writer: Client): Promise<void> {
    this.#callOff();
    let wait = LOOK_MS;
    while (this.#lookAgain && !this.#stopped) {
      this.#lookAgain = false;
      try {
        await this.#keep(writer);
      } catch (error) {
        wait = AGAIN_MS;
        this.#options.onTrouble(error);
      }
    }
    if (!this.#stopped) this.#callOff = this.#clock.after(wait, () => this.#look());
  }

  /** The Service, which is the chart's: the Secret goes with it, whoever made what when. */
  async #owner(client: Client): Promise<{ apiVersion: string; kind: string; name: string; uid: string }> {
    const { namespace, service: name } = this.#options;
    const { apiVersion, kind } = KINDS.services;
    const found = await client.get({ apiVersion, kind, metadata: { name, namespace } });
    if (found?.metadata.uid === undefined)
      throw new Error(
        `there is no Service ${name} in the namespace ${namespace}: the chart's metricsApi.enabled makes it`,
      );
    return { apiVersion, kind, name, uid: found.metadata.uid };
  }

  async #keep(writer: Client): Promise<void> {
    const { namespace, secret, service } = this.#options;
    const kept = this.#kept();
    const apiService = this.#apiServices.get(API_SERVICE);
    const published = apiService && Buffer.from(ApiService.parse(apiService).spec.caBundle, 'base64').toString('utf8');
    const dnsNames = [`${service}.${namespace}.svc`, `${service}.${namespace}.svc.cluster.local`];
    const wanted = renewed({ kept, published, dnsNames, now: this.#clock.wall() });
    if (wanted !== kept) {
      const { apiVersion, kind } = KINDS.secrets;
      const metadata = { name: secret, namespace, ownerReferences: [await this.#owner(writer)] };
      await writer.apply({ apiVersion, kind, metadata, ...{ data: secretData(wanted) } });
      // What was written comes back by the watch, and with it the next look.
      return;
    }
    if (apiService !== undefined && published !== kept.bundle)
      await writer.patch(apiService, { spec: { caBundle: Buffer.from(kept.bundle).toString('base64') } });
  }
}
