import { createHash } from 'node:crypto';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { z } from 'zod';
import type { Client } from '../kube/client.ts';
import { authenticated, type Caller } from './frontProxy.ts';

/** Time for which a review is cached, milliseconds: as long as API servers cache them themselves. */
const KEPT_MS = 10_000;
/** Maximum number of cached reviews, since clients can send any token. The oldest are dropped first. */
const MAX_KEPT = 2_000;
/** Maximum number of concurrent reviews: clients must not exhaust the operator's connections to the API server. */
const MAX_ASKED = 32;
/** A group that every Kubernetes cluster allows everything. */
const MASTERS = 'system:masters';

export type Action =
  | { verb: 'get'; path: string }
  | {
      verb: 'get';
      namespace: string;
      group: string;
      version: string;
      resource: string;
      subresource: string;
      name: string;
    };

/** There are too many concurrent reviews. */
export class TooManyReviews extends Error {
  override readonly name = 'TooManyReviews';
}

const texts = z.array(z.string()).nullish();
const TokenReview = z.object({
  status: z
    .object({
      authenticated: z.boolean().default(false),
      user: z
        .object({
          username: z.string().default(''),
          uid: z.string().exactOptional(),
          groups: texts,
          extra: z.record(z.string(), z.array(z.string())).nullish(),
        })
        .prefault({}),
    })
    .prefault({}),
});
const SubjectAccessReview = z.object({
  status: z.object({ allowed: z.boolean().default(false), reason: z.string().default('') }).prefault({}),
});

/**
 * Authenticates and authorizes callers with reviews of the API server. Reviews are cached for 10 s, failures are not.
 */
export class AccessReviews {
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #kept = new Map<string, { until: number; answer: Promise<unknown> }>();
  #asked = 0;

  constructor(client: Client, clock: Clock = systemClock) {
    this.#client = client;
    this.#clock = clock;
  }

  /**
   * The owner of a token; undefined if the token is invalid.
   * @throws TooManyReviews, or a KubeError if the API server does not respond
   */
  async tokenOf(token: string): Promise<Caller | undefined> {
    const { status } = await this.#ask(
      `token ${createHash('sha256').update(token).digest('base64')}`,
      { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token } },
      '/apis/authentication.k8s.io/v1/tokenreviews',
      TokenReview,
    );
    const { username, uid, groups, extra } = status.user;
    if (!status.authenticated || username === '') return undefined;
    return authenticated({ name: username, uid, groups: groups ?? [], extra: extra ?? {} });
  }

  /**
   * Whether a caller is authorized, and the reason.
   * @throws TooManyReviews, or a KubeError if the API server does not respond
   */
  async mayDo(caller: Caller, action: Action): Promise<{ allowed: boolean; reason: string }> {
    if (caller.groups.includes(MASTERS)) return { allowed: true, reason: '' };
    const { name: user, uid, groups, extra } = caller;
    const attributes = 'path' in action ? { nonResourceAttributes: action } : { resourceAttributes: action };
    const spec = { user, groups, extra, ...(uid === undefined ? {} : { uid }), ...attributes };
    const { status } = await this.#ask(
      `access ${createHash('sha256').update(JSON.stringify(spec)).digest('base64')}`,
      { apiVersion: 'authorization.k8s.io/v1', kind: 'SubjectAccessReview', spec },
      '/apis/authorization.k8s.io/v1/subjectaccessreviews',
      SubjectAccessReview,
    );
    return status;
  }

  /** Number of cached reviews. */
  get size(): number {
    return this.#kept.size;
  }

  async #ask<T>(key: string, object: object, path: string, schema: z.ZodType<T>): Promise<T> {
    const now = this.#clock.now();
    const kept = this.#kept.get(key);
    if (kept && kept.until > now) return schema.parse(await kept.answer);
    if (this.#asked >= MAX_ASKED) throw new TooManyReviews(`${MAX_ASKED} reviews of callers are running: retry later`);
    this.#asked++;
    const answer = this.#client.ask(path, object).finally(() => {
      this.#asked--;
    });
    this.#kept.delete(key);
    this.#kept.set(key, { until: now + KEPT_MS, answer });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MAX_KEPT && oldest !== undefined) this.#kept.delete(oldest);
    try {
      return schema.parse(await answer);
    } catch (error) {
      this.#kept.delete(key);
      throw error;
    }
  }
}
