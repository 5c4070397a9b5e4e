import type { Clock } from '@pushcluster/runtime/clock.ts';
import { errors, type JWTPayload, type JWTVerifyOptions } from 'jose';
import { KeySet } from './keySet.ts';

/** Time between the beginnings of two fetches at least, milliseconds, whatever tokens come. */
const FETCH_INTERVAL_MS = 5_000;
/** Keys of this age, milliseconds, are fetched again while they are in use. */
const REFRESH_MS = 5 * 60_000;
/** Up to this age, milliseconds, they are used without waiting for that fetch. */
const FRESH_MS = 10 * 60_000;
/** While fetches fail, keys are used up to this age, milliseconds. */
const STALE_MS = 24 * 3_600_000;
/** Tokens that wait for a fetch at most, so that a server that hangs does not gather everyone who connects meanwhile. */
const MAX_WAITING = 1_000;

/** The keys are unavailable: nobody can tell now whether a token is valid. */
export class KeysUnavailable extends Error {
  override name = 'KeysUnavailable';
}

export type RemoteKeysOptions = {
  /** A clock that never goes back. */
  clock: Clock;
  /** Fetches the JWKS. Rejects with the predicate of a sentence. */
  fetch: () => Promise<string>;
  /** Called with a sentence when a fetch fails, unless the one before failed for the same reason. */
  onProblem: (problem: string) => void;
  onFetched: (outcome: 'ok' | 'failed') => void;
};

/** The keys at a URL: fetched when they are needed, kept, and used beyond their age while fetches fail. */
export class RemoteKeys {
  readonly #options: RemoteKeysOptions;
  #keys: KeySet | undefined;
  /** When the fetch began that brought the keys. */
  #asOf = Number.NEGATIVE_INFINITY;
  /** When the last fetch began. */
  #begun = Number.NEGATIVE_INFINITY;
  #underWay: Promise<void> | undefined;
  /** The fetch that begins as soon as the interval allows. */
  #next: Promise<void> | undefined;
  /** Why the last fetch failed; undefined if it did not. */
  #failure: string | undefined;
  #failingSince = 0;
  #waiting = 0;

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
  }

  /** While fetches fail, seconds since the keys in use were fetched; otherwise 0. */
  get staleFor(): number {
    if (this.#failure === undefined) return 0;
    return (this.#options.clock.now() - (this.#keys ? this.#asOf : this.#failingSince)) / 1_000;
  }

  /** Tokens that wait for a fetch now. */
  get waiting(): number {
    return this.#waiting;
  }

  /** As KeySet has it, with keys that need not be fetched again yet. */
  checkNow(token: string, options: JWTVerifyOptions): JWTPayload | undefined {
    const isFresh = this.#options.clock.now() - this.#asOf < REFRESH_MS;
    return isFresh ? this.#keys?.checkNow(token, options) : undefined;
  }

  /**
   * The claims of a token, as KeySet has them. If the token's key is unknown, the keys are fetched again, now or as soon as
   * the interval allows.
   * @throws KeysUnavailable if it can't be told now whether the token is valid
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

  /** The keys as the server has them now or later. */
  async #renewed(): Promise<KeySet> {
    if (this.#failure !== undefined && !this.#mayFetch) throw this.#unavailable();
    this.#next ??= this.#fetchWhenAllowed();
    await this.#wait(this.#next);
    if (this.#failure !== undefined || !this.#keys) throw this.#unavailable();
    return this.#keys;
  }

  get #mayFetch(): boolean {
    return this.#options.clock.now() - this.#begun >= FETCH_INTERVAL_MS;
  }

  async #wait(fetch: Promise<void>): Promise<void> {
    if (this.#waiting >= MAX_WAITING)
      throw new KeysUnavailable(`${MAX_WAITING} tokens wait for their keys to be fetched already`);
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
    const wait = this.#begun + FETCH_INTERVAL_MS - clock.now();
    if (wait > 0) await new Promise<void>((resolve) => clock.after(wait, resolve));
    // A token that comes from here on may need a key that this fetch is too early for.
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

/** Whether the token may be valid with a key that the server has published since, also under a name that was in use before. */
function mayBeOfNewKey(error: unknown): boolean {
  return error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed;
}
