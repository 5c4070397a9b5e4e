import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { nextVerifier, type TokenVerifier, uncheckable } from '../admission/tokens/tokenVerifier.ts';
import type { Verifier } from './authentication.ts';

/** Between attempts to open a key source that was useless when this shard started, milliseconds. */
const RETRY_MS = 2_000;

/**
 * A shard's verifier, through changes of `auth.jwt`. The hub opens the key source before any shard gets these settings. If it
 * can't be opened any more, a shard that has a verifier keeps that one. A shard that has just started has none: until the key
 * source can be opened it can check no token, and serves clients that need none.
 */
export class VerifierSource {
  /** Fetches of a JWKS by URL so far. */
  readonly fetches = { ok: 0, failed: 0 };
  readonly #log: Logger;
  readonly #changed: (verifier: Verifier | undefined) => void;
  #verifier: TokenVerifier | undefined;
  #retry: NodeJS.Timeout | undefined;

  /** @param changed called when a key source that was useless at first could be opened */
  constructor(log: Logger, changed: (verifier: Verifier | undefined) => void) {
    this.#log = log;
    this.#changed = changed;
  }

  /** Seconds that keys by URL could not be fetched; 0 while all is well. */
  get staleFor(): number {
    return this.#verifier?.remote?.staleFor ?? 0;
  }

  /** The verifier for these settings. Throws Error with a sentence if there is a former one, which stays in use. */
  open(jwt: Settings['auth']['jwt']): Verifier | undefined {
    clearTimeout(this.#retry);
    const former = this.#verifier;
    try {
      this.#verifier = nextVerifier(former, jwt, {
        onProblem: (problem) => this.#log.error({ problem }, 'a problem with the keys that verify tokens'),
        onFetched: (outcome) => this.fetches[outcome]++,
      });
      if (former !== this.#verifier) former?.close();
      return this.#verifier;
    } catch (error) {
      if (former) throw error;
      const problem = error instanceof Error ? error.message : String(error);
      this.#log.error({ problem }, 'cannot open the keys that verify tokens: until then no token can be checked');
      this.#retry = setTimeout(() => this.#changed(this.open(jwt)), RETRY_MS);
      return uncheckable(problem);
    }
  }
}
