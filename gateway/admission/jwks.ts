import { createPublicKey } from 'node:crypto';
import type { Clock } from '@pushcluster/runtime/clock.ts';
import { createLocalJWKSet, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import { z } from 'zod';

/** Keys of a set at most: a token that names none is tried with each of its algorithm. */
const MAX_KEYS = 100;
/** RFC 7518, 3.3. */
const LEAST_RSA_BITS = 2_048;
/** Bytes that a server of keys may answer with at most. */
const MAX_BYTES = 1024 * 1024;
/** Milliseconds that one fetch may take. */
const FETCH_TIMEOUT_MS = 5_000;
/** Milliseconds between the beginnings of two fetches at least, whatever tokens come. */
const FETCH_APART_MS = 5_000;
/** Keys of this age, milliseconds, are fetched anew while they are in use. */
const REFRESH_MS = 5 * 60_000;
/** Up to this age, milliseconds, they are used without waiting for that. */
const FRESH_MS = 10 * 60_000;
/** Where they can't be fetched they are used up to this age, milliseconds. */
const STALE_MS = 24 * 3_600_000;
/** Tokens that wait for a fetch at most: a server that hangs must not gather all who come meanwhile. */
const MOST_WAITING = 1_000;

export const ALGORITHMS = ['RS256', 'ES256'];

const Jwks = z.object({ keys: z.array(z.unknown()) });
const Jwk = z.looseObject({
  kty: z.enum(['RSA', 'EC']),
  kid: z.string().exactOptional(),
  crv: z.string().exactOptional(),
  alg: z.string().exactOptional(),
  use: z.string().exactOptional(),
  key_ops: z.array(z.string()).exactOptional(),
  /** Of a private key, which has no business in a JWKS. */
  d: z.never().exactOptional(),
});

/** The keys of one JWKS that can check RS256 and ES256. */
export class KeySet {
  readonly #find: ReturnType<typeof createLocalJWKSet>;

  /**
   * Keys that aren't for checking signatures, of another kind, too short, private or broken are left out.
   * @throws Error ("is no JWKS: …") where it is none, holds no usable key or too many
   */
  constructor(text: string) {
    this.#find = createLocalJWKSet({ keys: usableKeys(text) });
  }

  /**
   * The claims of a token whose signature is good. With `kid` its key is tried, without every key of its algorithm.
   * @throws JOSEError with what is wrong with the token
   */
  async check(token: string, options: JWTVerifyOptions): Promise<JWTPayload> {
    const restricted = { ...options, algorithms: ALGORITHMS };
    try {
      return (await jwtVerify(token, this.#find, restricted)).payload;
    } catch (several) {
      if (!(several instanceof errors.JWKSMultipleMatchingKeys)) throw several;
      for await (const key of several) {
        try {
          return (await jwtVerify(token, key, restricted)).payload;
        } catch (error) {
          if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
        }
      }
      throw new errors.JWSSignatureVerificationFailed();
    }
  }
}

function usableKeys(text: string) {
  let keys: unknown[];
  try {
    ({ keys } = Jwks.parse(JSON.parse(text)));
  } catch (cause) {
    throw new Error('is no JWKS: it should be JSON such as {"keys":[{"kty":"RSA",…}]}', { cause });
  }
  if (keys.length > MAX_KEYS) throw new Error(`holds ${keys.length} keys; at most ${MAX_KEYS} are allowed`);
  const usable = keys.flatMap((key) => {
    const jwk = Jwk.safeParse(key);
    return jwk.success && isUsable(jwk.data) ? [jwk.data] : [];
  });
  if (usable.length === 0) throw new Error('holds no public key that RS256 or ES256 could be checked with');
  return usable;
}

function isUsable(jwk: z.infer<typeof Jwk>): boolean {
  const { kty, crv, alg, use, key_ops: operations } = jwk;
  if (alg !== undefined && alg !== (kty === 'RSA' ? 'RS256' : 'ES256')) return false;
  if (kty === 'EC' && crv !== 'P-256') return false;
  if (use !== undefined && use !== 'sig') return false;
  if (operations !== undefined && !operations.includes('verify')) return false;
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: jwk, format: 'jwk' });
    return kty === 'EC' || (asymmetricKeyDetails?.modulusLength ?? 0) >= LEAST_RSA_BITS;
  } catch {
    return false;
  }
}

/** The keys can't be had: whether a token is good, nobody can tell now. */
export class KeysUnavailable extends Error {
  override name = 'KeysUnavailable';
}

export type RemoteKeysOptions = {
  /** A clock that never goes back. */
  clock: Clock;
  /** What the server of keys answers; rejects where that is no use. */
  fetch: () => Promise<string>;
  /** Called with a sentence where they can't be had, or for another reason than before. */
  onProblem: (problem: string) => void;
  onFetched: (outcome: 'ok' | 'failed') => void;
};

/** The keys behind a URL: fetched when they are needed, kept, and served stale while they can't be had. */
export class RemoteKeys {
  readonly #options: RemoteKeysOptions;
  #keys: KeySet | undefined;
  /** When the fetch began that brought them. */
  #asOf = Number.NEGATIVE_INFINITY;
  /** When the last fetch began. */
  #begun = Number.NEGATIVE_INFINITY;
  #underWay: Promise<void> | undefined;
  /** The fetch that begins when it may. */
  #next: Promise<void> | undefined;
  /** Why the last fetch brought nothing. */
  #failure: string | undefined;
  #failingSince = 0;
  #waiting = 0;

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
  }

  /** Seconds since the server had the keys in use, where they can't be fetched anew; 0 while all is well. */
  get staleFor(): number {
    if (this.#failure === undefined) return 0;
    return (this.#options.clock.now() - (this.#keys ? this.#asOf : this.#failingSince)) / 1_000;
  }

  /** Tokens that wait for a fetch now. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * The claims of a token, like KeySet. A key that isn't there is looked for at the server: at once, or as soon as one
   * more fetch is allowed.
   * @throws KeysUnavailable where that can't be told now
   */
  async check(token: string, options: JWTVerifyOptions): Promise<JWTPayload> {
    const came = this.#options.clock.now();
    const keys = await this.#current();
    const asOf = this.#asOf;
    try {
      return await keys.check(token, options);
    } catch (error) {
      if (asOf >= came || !mayBeOfNewKey(error)) throw error;
      return (await this.#renewed()).check(token, options);
    }
  }

  async #current(): Promise<KeySet> {
    const age = this.#options.clock.now() - this.#asOf;
    if (this.#keys && age < REFRESH_MS) return this.#keys;
    if (!this.#underWay && this.#mayFetch) this.#fetch();
    const usable = age < FRESH_MS || (this.#failure !== undefined && age < STALE_MS);
    if (this.#keys && usable) return this.#keys;
    if (this.#underWay) await this.#wait(this.#underWay);
    if (this.#keys && this.#options.clock.now() - this.#asOf < STALE_MS) return this.#keys;
    throw this.#unavailable();
  }

  /** The keys as the server has them from now on. */
  async #renewed(): Promise<KeySet> {
    if (this.#failure !== undefined && !this.#mayFetch) throw this.#unavailable();
    this.#next ??= this.#fetchWhenAllowed();
    await this.#wait(this.#next);
    if (this.#failure !== undefined || !this.#keys) throw this.#unavailable();
    return this.#keys;
  }

  get #mayFetch(): boolean {
    return this.#options.clock.now() - this.#begun >= FETCH_APART_MS;
  }

  async #wait(fetch: Promise<void>): Promise<void> {
    if (this.#waiting >= MOST_WAITING)
      throw new KeysUnavailable(`${MOST_WAITING} tokens wait for their keys to be fetched already`);
    this.#waiting++;
    try {
      await fetch;
    } finally {
      this.#waiting--;
    }
  }

  async #fetchWhenAllowed(): Promise<void> {
    await this.#underWay;
    const { clock } = this.#options;
    const wait = this.#begun + FETCH_APART_MS - clock.now();
    if (wait > 0) await new Promise<void>((resolve) => clock.after(wait, resolve));
    // Who comes from here on may need what this one is too early for.
    this.#next = undefined;
    await (this.#underWay ?? this.#fetch());
  }

  #fetch(): Promise<void> {
    this.#begun = this.#options.clock.now();
    this.#underWay = this.#fetchNow(this.#begun).finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  async #fetchNow(began: number): Promise<void> {
    const { clock, fetch, onFetched, onProblem } = this.#options;
    try {
      this.#keys = new KeySet(await fetch());
      this.#asOf = began;
      this.#failure = undefined;
      onFetched('ok');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const known = this.#failure === reason;
      if (this.#failure === undefined) this.#failingSince = clock.now();
      this.#failure = reason;
      onFetched('failed');
      if (!known) onProblem(`the JWKS by URL ${reason}${this.#keys ? ': the keys of before stay in use' : ''}`);
    }
  }

  #unavailable(): KeysUnavailable {
    return new KeysUnavailable(`the JWKS by URL ${this.#failure ?? 'is too old'}`);
  }
}

/** Whether a key that the server has published since could make the token good: one under a name that is used again too. */
function mayBeOfNewKey(error: unknown): boolean {
  return error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed;
}

/** What `url` answers. Rejects with the predicate of a sentence. Redirects are not followed: where they lead, nobody set. */
export async function fetchJwks(url: string): Promise<string> {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
  try {
    const headers = { accept: 'application/json, application/jwk-set+json' };
    const { status, body } = await fetch(url, { redirect: 'manual', signal, headers });
    if (status === 200) return await textOf(body);
    await body?.cancel();
    throw new Error(`is answered with ${status}${status >= 300 && status < 400 ? ': redirects are not followed' : ''}`);
  } catch (error) {
    if (signal.aborted) throw new Error(`did not arrive within ${FETCH_TIMEOUT_MS / 1_000} s`);
    // What fetch itself throws says no more than that it failed.
    const cause = error instanceof TypeError && error.cause instanceof Error ? error.cause : undefined;
    if (cause) throw new Error(`can't be fetched: ${cause.message || cause.name}`, { cause: error });
    throw error;
  }
}

async function textOf(body: ReadableStream<Uint8Array> | null): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_BYTES) throw new Error(`is larger than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
