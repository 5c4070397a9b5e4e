import { createHmac, timingSafeEqual } from 'node:crypto';
import { nameProblem } from '@pushcluster/protocol/names.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { SecretFile } from '@pushcluster/runtime/secretFile.ts';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
  UnsecuredJWT,
} from 'jose';
import { z } from 'zod';
import type { Identity } from './session.ts';

/** Clocks of issuer and gateway may differ by this much, seconds. */
const CLOCK_TOLERANCE = 5;

/** Tokens whose check waits at most: a JWKS that hangs must not gather all who come meanwhile. */
const MOST_CHECKS = 1_000;
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

const Jwks = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) });

export type TokenVerifierOptions = {
  /** Milliseconds between looks at a file of keys. */
  pollInterval?: number;
  /** Called with a sentence where a changed file can't be used: the keys of before stay. */
  onProblem?: (problem: string) => void;
};

/** Checks tokens against the key source of `auth.jwt`: a secret (HS256), or a JWKS by file or URL (RS256, ES256). */
export class TokenVerifier {
  readonly #options: JWTVerifyOptions;
  readonly #check: (token: string) => Promise<{ payload: JWTPayload }>;
  /** The secret of HS256, whose check is a matter of microseconds. */
  readonly #secret: SecretFile | undefined;
  #checks = 0;
  readonly #file: SecretFile | undefined;

  /** Throws Error with a sentence where the secret or JWKS file can't be used. */
  constructor(jwt: NonNullable<Settings['auth']['jwt']>, options: TokenVerifierOptions = {}) {
    const { onProblem = () => {}, ...poll } = options;
    this.#options = {
      clockTolerance: CLOCK_TOLERANCE,
      ...(jwt.audience === undefined ? {} : { audience: jwt.audience }),
      ...(jwt.issuer === undefined ? {} : { issuer: jwt.issuer }),
    };
    if (jwt.secretFile !== undefined) {
      const file = SecretFile.open(jwt.secretFile, poll);
      file.onProblem(onProblem);
      this.#file = file;
      this.#secret = file;
      this.#check = async (token) => ({ payload: this.#checkSecret(token, file.bytes) });
      return;
    }
    const algorithms = ['RS256', 'ES256'];
    if (jwt.jwksFile !== undefined) {
      const file = SecretFile.open(jwt.jwksFile, poll);
      file.onProblem(onProblem);
      this.#file = file;
      let keys = localKeys(file);
      file.onChange(() => {
        try {
          keys = localKeys(file);
        } catch (error) {
          onProblem(`${error instanceof Error ? error.message : String(error)}: the keys of before stay in use`);
        }
      });
      this.#check = (token) => jwtVerify(token, keys, { ...this.#options, algorithms });
      return;
    }
    const keys = createRemoteJWKSet(new URL(jwt.jwksUrl ?? ''));
    this.#check = (token) => jwtVerify(token, keys, { ...this.#options, algorithms });
  }

  /** Who the token says its bearer is. Throws InvalidToken; other errors mean that it could not be checked. */
  async verify(token: string): Promise<Identity> {
    if (this.#checks >= MOST_CHECKS) throw new Error(`${MOST_CHECKS} tokens wait for their check already`);
    this.#checks++;
    try {
      const { payload } = await this.#check(token);
      return identityOf(payload);
    } catch (error) {
      throw refusalOf(error);
    } finally {
      this.#checks--;
    }
  }

  /** The same at once, where the key is a secret; undefined where the check takes time. Throws InvalidToken. */
  verifyNow(token: string): Identity | undefined {
    if (!this.#secret) return undefined;
    try {
      return identityOf(this.#checkSecret(token, this.#secret.bytes));
    } catch (error) {
      throw refusalOf(error);
    }
  }

  close(): void {
    this.#file?.close();
  }

  /** jose checks HS256 only in promises, which would take a handshake out of the engine's handler. */
  #checkSecret(token: string, secret: Uint8Array): JWTPayload {
    const [header = '', claims = '', signature = '', ...more] = token.split('.');
    if (more.length > 0 || signature === '') throw new errors.JWSInvalid('Invalid Compact JWS');
    const { alg, crit } = headerOf(header);
    if (alg !== 'HS256') throw new errors.JOSEAlgNotAllowed('"alg" (Algorithm) Header Parameter value not allowed');
    if (crit !== undefined) throw new errors.JWSInvalid('"crit" names extensions that are not supported');
    const expected = createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url');
    const same = signature.length === expected.length && timingSafeEqual(Buffer.from(signature), Buffer.from(expected));
    if (!same) throw new errors.JWSSignatureVerificationFailed();
    // Its signature is good: what is left are the claims, which jose checks here as it does for signed ones.
    return UnsecuredJWT.decode(`${NO_ALGORITHM}.${claims}.`, this.#options).payload;
  }
}

function identityOf(payload: JWTPayload): Identity {
  const claims = Claims.safeParse(payload);
  if (!claims.success) throw new InvalidToken(`token refused: ${claims.error.issues[0]?.message ?? 'bad claims'}`);
  return { user: claims.data.sub, rooms: claims.data.rooms, expires: Math.floor(claims.data.exp ?? 0) };
}

/** What is wrong with the token as InvalidToken; anything else as it is. */
function refusalOf(error: unknown): unknown {
  if (!(error instanceof errors.JOSEError) || isOfKeySource(error)) return error;
  return new InvalidToken(`token refused: ${error.message}`);
}

const Header = z.looseObject({ alg: z.string(), crit: z.unknown().optional() });

function headerOf(encoded: string): z.infer<typeof Header> {
  try {
    return Header.parse(JSON.parse(Buffer.from(encoded, 'base64url').toString()));
  } catch (cause) {
    throw new errors.JWSInvalid('JWS Protected Header is invalid', { cause });
  }
}

/** Whether it was the JWKS that could not be had, and not the token that is wrong. */
function isOfKeySource(error: errors.JOSEError): boolean {
  return (
    error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSInvalid ||
    // What the fetch of a JWKS throws where the answer is not 200, or not JSON.
    error.code === errors.JOSEError.code
  );
}

/** The keys of a JWKS file. Throws Error with a sentence where it is none. */
function localKeys(file: SecretFile): ReturnType<typeof createLocalJWKSet> {
  try {
    return createLocalJWKSet(Jwks.parse(JSON.parse(file.text)));
  } catch (error) {
    throw new Error(`${file.path} is no JWKS: it should be JSON such as {"keys":[{"kty":"RSA",…}]}`, { cause: error });
  }
}
