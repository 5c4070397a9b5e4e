import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import { type Certificates, certificatesIn, type Purpose, renewed, secretData } from '../certificates/certificates.ts';
import type { Client } from '../kube/client.ts';
import { KINDS } from '../kube/objects.ts';
import { Reflector } from '../kube/reflector.ts';
import { API_SERVICE } from './api.ts';

/** The serving certificate of the metrics API is valid for 90 days. */
const PURPOSE: Purpose = { name: 'pushcluster metrics API', lasts: 90 * 86_400_000, isForPeers: false };
/** Interval of checking the certificates, milliseconds, in addition to each change of the Secret or the APIService. */
const CHECK_MS = 60_000;
/** The same after an error, for example because of missing rights. */
const AGAIN_MS = 5_000;

const Secret = z.object({ data: z.record(z.string(), z.string()).nullish() });
const ApiService = z.object({ spec: z.object({ caBundle: z.string().default('') }) });

export type CertificateRotatorOptions = {
  client: Client;
  /** Namespace of the Secret: the operator's own. */
  namespace: string;
  /** Name of the Secret. */
  secret: string;
  /** Name of the Service through which the API server reaches the operator. */
  service: string;
  onCertificates: (certificates: Certificates) => void;
  onTrouble: (error: unknown) => void;
  clock?: Clock;
};

/**
 * Keeps the certificates of the metrics API in a Secret, and their CA in the APIService. Every replica loads the
 * Secret; the leader creates and renews it.
 */
export class CertificateRotator {
  readonly reflectors: readonly Reflector[];
  readonly #options: CertificateRotatorOptions;
  readonly #clock: Clock;
  readonly #secrets: Reflector;
  readonly #apiServices: Reflector;
  /** The client for writes, set once this process leads. */
  #writer: Client | undefined;
  #current: Certificates | undefined;
  #checking: Promise<void> | undefined;
  #checkAgain = false;
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
        this.#check();
      },
    });
    this.#apiServices = new Reflector({ ...one(API_SERVICE), kind: KINDS.apiServices, onChange: () => this.#check() });
    this.reflectors = [this.#secrets, this.#apiServices];
  }

  /** The current certificates; undefined until the Secret exists. */
  get current(): Certificates | undefined {
    return this.#current;
  }

  start(): void {
    for (const each of this.reflectors) each.start();
  }

  /** Starts to create and renew certificates. @param writer writes only while this process leads */
  async lead(writer: Client): Promise<void> {
    await Promise.all(this.reflectors.map((each) => each.whenSynced()));
    this.#writer = writer;
    this.#check();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#callOff();
    await this.#checking;
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

  #check(): void {
    if (this.#writer === undefined || this.#stopped) return;
    this.#checkAgain = true;
    this.#checking ??= this.#checkUntilDone(this.#writer).finally(() => {
      this.#checking = undefined;
    });
  }

  async #checkUntilDone(writer: Client): Promise<void> {
    this.#callOff();
    let wait = CHECK_MS;
    while (this.#checkAgain && !this.#stopped) {
      this.#checkAgain = false;
      try {
        await this.#renew(writer);
      } catch (error) {
        wait = AGAIN_MS;
        this.#options.onTrouble(error);
      }
    }
    if (!this.#stopped) this.#callOff = this.#clock.after(wait, () => this.#check());
  }

  /** The owner of the Secret: the Service, so that both are deleted with the chart's release. */
  async #owner(client: Client): Promise<{ apiVersion: string; kind: string; name: string; uid: string }> {
    const { namespace, service: name } = this.#options;
    const { apiVersion, kind } = KINDS.services;
    const found = await client.get({ apiVersion, kind, metadata: { name, namespace } });
    if (found?.metadata.uid === undefined)
      throw new Error(`Service ${name} does not exist in namespace ${namespace}: set metricsApi.enabled in the chart`);
    return { apiVersion, kind, name, uid: found.metadata.uid };
  }

  async #renew(writer: Client): Promise<void> {
    const { namespace, secret, service } = this.#options;
    const kept = this.#kept();
    const apiService = this.#apiServices.get(API_SERVICE);
    const published = apiService && Buffer.from(ApiService.parse(apiService).spec.caBundle, 'base64').toString('utf8');
    const dnsNames = [`${service}.${namespace}.svc`, `${service}.${namespace}.svc.cluster.local`];
    const wanted = renewed({ purpose: PURPOSE, kept, published, dnsNames, now: this.#clock.wall() });
    if (wanted !== kept) {
      const { apiVersion, kind } = KINDS.secrets;
      const metadata = { name: secret, namespace, ownerReferences: [await this.#owner(writer)] };
      await writer.apply({ apiVersion, kind, metadata, ...{ data: secretData(wanted) } });
      // The watch returns the written Secret, which triggers the next check.
      return;
    }
    if (apiService !== undefined && published !== kept.bundle)
      await writer.patch(apiService, { spec: { caBundle: Buffer.from(kept.bundle).toString('base64') } });
  }
}
