import { createHmac, timingSafeEqual } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { nameProblem } from '@pushcluster/protocol/names.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { isText, SecretFile, secretLines, withoutNewline } from '@pushcluster/runtime/secretFile.ts';
import { errors, type JWTPayload, type JWTVerifyOptions, UnsecuredJWT } from 'jose';
import { z } from 'zod';
import type { Identity } from './identity.ts';
import { fetchJwks, KeySet, KeysUnavailable, RemoteKeys } from './jwks.ts';

/** Clocks of issuer and gateway may differ by this much, seconds. */
const CLOCK_TOLERANCE = 5;

/** `{"alg":"none"}` */
const NO_ALGORITHM = 'eyJhbGciOiJub25lIn0';

/** The token is not good; the message says why and is safe to show. */
export class InvalidToken extends Error {
  override name = 'InvalidToken';
}

const Claims = z.object({
  sub: z
    .string()
    .optional()
    .refine((sub) => sub === undefined || nameProblem(sub) === undefined, 'sub must be a name of 1 to 128 bytes'),
  rooms: z.array(z.string()).max(1_000, 'rooms has more than 1,000 patterns').optional(),
  exp: z.number().optional(),
});

type Jwt = NonNullable<Settings['auth']['jwt']>;

export type TokenVerifierOptions = {
  /** Milliseconds between looks at a file of keys. */
  pollInterval?: number;
  /** Called with a sentence where keys can't be had, or a changed file can't be used: the keys of before stay. */
  onProblem?: (problem: string) => void;
  /** Called after each fetch of a JWKS by URL. */
  onFetched?: (outcome: 'ok' | 'failed') => void;
  /** Keys by the same URL that are there already. */
  remote?: RemoteKeys | undefined;
};

/** Checks tokens against the key source of `auth.jwt`: secrets (HS256), or a JWKS by file or URL (RS256, ES256). */
export class TokenVerifier {
  readonly settings: Jwt;
  readonly remote: RemoteKeys | undefined;
  readonly #options: JWTVerifyOptions;
  /** The secrets of HS256, whose check is a matter of microseconds. */
  readonly #secrets: SecretFile<Buffer[]> | undefined;
  readonly #keys: SecretFile<KeySet> | undefined;

  /** Throws Error with a sentence where the secret or JWKS file can't be used. */
  constructor(jwt: Jwt, options: TokenVerifierOptions = {}) {
    const { onProblem = () => {}, onFetched = () => {}, remote, ...poll } = options;
    this.settings = jwt;
    this.#options = {
      clockTolerance: CLOCK_TOLERANCE,
      ...(jwt.audience === undefined ? {} : { audience: jwt.audience }),
      ...(jwt.issuer === undefined ? {} : { issuer: jwt.issuer }),
    };
    const { secretFile, jwksFile, jwksUrl } = jwt;
    if (secretFile !== undefined) this.#secrets = SecretFile.open(secretFile, secretsOf, poll);
    if (jwksFile !== undefined)
      this.#keys = SecretFile.open(jwksFile, (bytes) => new KeySet(bytes.toString('utf8')), poll);
    if (jwksUrl !== undefined)
      this.remote =
        remote ?? new RemoteKeys({ clock: systemClock, fetch: () => fetchJwks(jwksUrl), onProblem, onFetched });
    this.#secrets?.onProblem(onProblem);
    this.#keys?.onProblem(onProblem);
  }

  /** Who the token says its bearer is. Throws InvalidToken; other errors mean that it could not be checked now. */
  async verify(token: string): Promise<Identity> {
    try {
      return identityOf(await this.#check(token));
    } catch (error) {
      throw refusalOf(error);
    }
  }

  /** The same at once, where the key is a secret; undefined where the check takes time. Throws InvalidToken. */
  verifyNow(token: string): Identity | undefined {
    if (!this.#secrets) return undefined;
    try {
      return identityOf(this.#checkSecrets(token, this.#secrets.value));
    } catch (error) {
      throw refusalOf(error);
    }
  }

  /** Looks at its file no more. Keys by URL may be in use elsewhere, and need no end. */
  close(): void {
    this.#secrets?.close();
    this.#keys?.close();
  }

  async #check(token: string): Promise<JWTPayload> {
    if (this.#secrets) return this.#checkSecrets(token, this.#secrets.value);
    const keys = this.#keys?.value ?? this.remote;
    if (!keys) throw new Error('there is no key source');
    return keys.check(token, this.#options);
  }

  /** jose checks HS256 only in promises, which would take a handshake out of the engine's handler. */
  #checkSecrets(token: string, secrets: readonly Buffer[]): JWTPayload {
    const [header = '', claims = '', signature = '', ...more] = token.split('.');
    if (more.length > 0 || signature === '') throw new errors.JWSInvalid('Invalid Compact JWS');
    const { alg, crit } = headerOf(header);
    if (alg !== 'HS256') throw new errors.JOSEAlgNotAllowed('"alg" (Algorithm) Header Parameter value not allowed');
    if (crit !== undefined) throw new errors.JWSInvalid('"crit" names extensions that are not supported');
    const given = Buffer.from(signature);
    const good = secrets.some((secret) => {
      const expected = Buffer.from(createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url'));
      return given.length === expected.length && timingSafeEqual(given, expected);
    });
    if (!good) throw new errors.JWSSignatureVerificationFailed();
    // Its signature is good: what is left are the claims, which jose checks here as it does for signed ones.
    return UnsecuredJWT.decode(`${NO_ALGORITHM}.${claims}.`, this.#options).payload;
  }
}

/** In place of a verifier whose key source is useless just now: of no token can be told whether it is good. */
export function uncheckable(reason: string): Pick<TokenVerifier, 'verify' | 'verifyNow' | 'close'> {
  return { verify: () => Promise.reject(new KeysUnavailable(reason)), verifyNow: () => undefined, close: () => {} };
}

/**
 * The verifier for `jwt` after `former`, which is kept where nothing changed; keys by the same URL are kept in any case:
 * what has been fetched may be not to be had just now.
 * Throws Error with a sentence where a file can't be used.
 */
export function nextVerifier(
  former: TokenVerifier | undefined,
  jwt: Jwt | undefined,
  options: Omit<TokenVerifierOptions, 'remote'>,
): TokenVerifier | undefined {
  if (!jwt) return undefined;
  if (former && isDeepStrictEqual(former.settings, jwt)) return former;
  const sameUrl = jwt.jwksUrl !== undefined && former?.settings.jwksUrl === jwt.jwksUrl;
  return new TokenVerifier(jwt, { ...options, remote: sameUrl ? former.remote : undefined });
}

/**
 * Secrets of HS256, one a line; what is no text is one secret. A line counts as it stands and without the space around
 * it, which signers and editors may or may not have meant.
 */
function secretsOf(bytes: Buffer): Buffer[] {
  if (!isText(bytes)) {
    if (isUtf16(bytes)) throw new Error('is UTF-16: save it as UTF-8');
    return [withoutNewline(bytes)];
  }
  // Its first line is known to everyone, and what it holds may be a public key.
  if (bytes.includes('-----BEGIN ')) throw new Error('is a PEM file: secretFile takes secrets for HS256, one a line');
  const exact = bytes
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '');
  return [...new Set([...secretLines(bytes), ...exact])].map((line) => Buffer.from(line));
}

function isUtf16(bytes: Buffer): boolean {
  if (bytes.length < 4) return false;
  const mark = bytes.readUInt16BE(0);
  return (mark === 0xfffe && bytes[3] === 0) || (mark === 0xfeff && bytes[2] === 0);
}

function identityOf(payload: JWTPayload): Identity {
  const claims = Claims.safeParse(payload);
  if (!claims.success) throw new InvalidToken(`token refused: ${claims.error.issues[0]?.message ?? 'bad claims'}`);
  return { user: claims.data.sub, rooms: claims.data.rooms, expires: Math.floor(claims.data.exp ?? 0) };
}

/** What is wrong with the token as InvalidToken; anything else as it is. */
function refusalOf(error: unknown): unknown {
  return error instanceof errors.JOSEError ? new InvalidToken(`token refused: ${error.message}`) : error;
}

const Header = z.looseObject({ alg: z.string(), crit: z.unknown().optional() });

function headerOf(encoded: string): z.infer<typeof Header> {
  try {
    return Header.parse(JSON.parse(Buffer.from(encoded, 'base64url').toString()));
  } catch (cause) {
    throw new errors.JWSInvalid('JWS Protected Header is invalid', { cause });
  }
}
