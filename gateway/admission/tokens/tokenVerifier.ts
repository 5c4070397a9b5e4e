import { createSecretKey, type KeyObject } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { nameProblem } from '@pushcluster/protocol/names.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { SecretFile } from '@pushcluster/runtime/secretFile.ts';
import { zodSentence } from '@pushcluster/runtime/zodSentence.ts';
import { errors, type JWTPayload, type JWTVerifyOptions } from 'jose';
import { z } from 'zod';
import type { Identity } from '../identity.ts';
import { fetchJwks } from './fetchJwks.ts';
import { hs256Secrets, verifyHs256 } from './hs256.ts';
import { KeySet } from './keySet.ts';
import { KeysUnavailable, RemoteKeys } from './remoteKeys.ts';

/** How much the clocks of issuer and gateway may differ, seconds. */
const CLOCK_TOLERANCE = 5;

/** The token is not valid. The message says why, and is safe to show to the client. */
export class InvalidToken extends Error {
  override name = 'InvalidToken';
}

const Claims = z.object({
  sub: z
    .string()
    .optional()
    .refine((sub) => sub === undefined || nameProblem(sub) === undefined, 'must be a name of 1 to 128 bytes'),
  rooms: z
    .array(z.string())
    .refine((rooms) => rooms.length <= 1_000, 'has more than 1,000 patterns')
    .optional(),
  exp: z.number().optional(),
});

type Jwt = NonNullable<Settings['auth']['jwt']>;

export type TokenVerifierOptions = {
  /** Milliseconds between two readings of a file of keys. */
  pollInterval?: number;
  /** Called with a sentence if keys are unavailable, or a changed file can't be used. The former keys stay in use. */
  onProblem?: (problem: string) => void;
  /** Called after each fetch of a JWKS by URL. */
  onFetched?: (outcome: 'ok' | 'failed') => void;
  /** Keys of the same URL that were fetched already. */
  remote?: RemoteKeys | undefined;
};

/** Verifies tokens with the key source of `auth.jwt`: secrets (HS256), or a JWKS in a file or at a URL (RS256, ES256). */
export class TokenVerifier {
  readonly settings: Jwt;
  readonly remote: RemoteKeys | undefined;
  readonly #options: JWTVerifyOptions;
  /** The secrets of HS256. */
  readonly #secrets: SecretFile<KeyObject[]> | undefined;
  readonly #keys: SecretFile<KeySet> | undefined;

  /** Throws Error with a sentence if the file of secrets or of the JWKS can't be used. */
  constructor(jwt: Jwt, options: TokenVerifierOptions = {}) {
    const { onProblem = () => {}, onFetched = () => {}, remote, ...poll } = options;
    this.settings = jwt;
    this.#options = {
      clockTolerance: CLOCK_TOLERANCE,
      ...(jwt.audience === undefined ? {} : { audience: jwt.audience }),
      ...(jwt.issuer === undefined ? {} : { issuer: jwt.issuer }),
    };
    const { secretFile, jwksFile, jwksUrl, jwksCaFile } = jwt;
    if (secretFile !== undefined) this.#secrets = SecretFile.open(secretFile, secretKeys, poll);
    if (jwksFile !== undefined)
      this.#keys = SecretFile.open(jwksFile, (bytes) => new KeySet(bytes.toString('utf8')), poll);
    if (jwksUrl !== undefined)
      this.remote =
        remote ??
        new RemoteKeys({ clock: systemClock, fetch: () => fetchJwks(jwksUrl, jwksCaFile), onProblem, onFetched });
    this.#secrets?.onProblem(onProblem);
    this.#keys?.onProblem(onProblem);
  }

  /** Who the token says its bearer is. Rejects with InvalidToken; another error means that it could not be checked now. */
  async verify(token: string): Promise<Identity> {
    try {
      return identityOf(await this.#check(token));
    } catch (error) {
      throw asInvalidToken(error);
    }
  }

  /** The same at once; undefined if the check takes time, or another look. Throws InvalidToken. */
  verifyNow(token: string): Identity | undefined {
    try {
      const claims = this.#secrets
        ? verifyHs256(token, this.#secrets.value, this.#options)
        : (this.#keys?.value ?? this.remote)?.checkNow(token, this.#options);
      return claims && identityOf(claims);
    } catch (error) {
      throw asInvalidToken(error);
    }
  }

  /** Stops reading its file. Keys at a URL may be in use by the next verifier, and need no end. */
  close(): void {
    this.#secrets?.close();
    this.#keys?.close();
  }

  async #check(token: string): Promise<JWTPayload> {
    if (this.#secrets) return verifyHs256(token, this.#secrets.value, this.#options);
    const keys = this.#keys?.value ?? this.remote;
    if (!keys) throw new Error('there is no key source');
    return keys.check(token, this.#options);
  }
}

/** In place of a verifier whose key source can't be used now: no token can be checked. */
export function uncheckable(reason: string): Pick<TokenVerifier, 'verify' | 'verifyNow' | 'close'> {
  return { verify: () => Promise.reject(new KeysUnavailable(reason)), verifyNow: () => undefined, close: () => {} };
}

/**
 * The verifier for `jwt` after `former`, which is kept if nothing changed. Keys of the same URL are kept in any case, since
 * they may be unavailable now.
 * @throws Error with a sentence if a file can't be used
 */
export function nextVerifier(
  former: TokenVerifier | undefined,
  jwt: Jwt | undefined,
  options: Omit<TokenVerifierOptions, 'remote'>,
): TokenVerifier | undefined {
  if (!jwt) return undefined;
  if (former && isDeepStrictEqual(former.settings, jwt)) return former;
  const { jwksUrl, jwksCaFile } = jwt;
  const isSame = former?.settings.jwksUrl === jwksUrl && former?.settings.jwksCaFile === jwksCaFile;
  return new TokenVerifier(jwt, { ...options, remote: jwksUrl !== undefined && isSame ? former?.remote : undefined });
}

function secretKeys(bytes: Buffer): KeyObject[] {
  return hs256Secrets(bytes).map((secret) => createSecretKey(secret));
}

function identityOf(payload: JWTPayload): Identity {
  const claims = Claims.safeParse(payload, { reportInput: true });
  if (!claims.success) {
    const issue = claims.error.issues[0]!;
    throw new InvalidToken(`token refused: ${issue.path.join('.')} ${zodSentence(issue)}`);
  }
  return { user: claims.data.sub, rooms: claims.data.rooms, expires: Math.floor(claims.data.exp ?? 0) };
}

/** An error of jose as InvalidToken; any other error as it is. */
function asInvalidToken(error: unknown): unknown {
  return error instanceof errors.JOSEError ? new InvalidToken(`token refused: ${error.message}`) : error;
}
