import { nameProblem } from '@pushcluster/protocol/names.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { SecretFile } from '@pushcluster/runtime/secretFile.ts';
import { createLocalJWKSet, createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import { z } from 'zod';
import type { Identity } from './session.ts';

/** Clocks of issuer and gateway may differ by this much, seconds. */
const CLOCK_TOLERANCE = 5;

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
      this.#check = (token) =>
        jwtVerify(token, new TextEncoder().encode(file.text), { ...this.#options, algorithms: ['HS256'] });
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
    let payload: JWTPayload;
    try {
      ({ payload } = await this.#check(token));
    } catch (error) {
      if (!(error instanceof errors.JOSEError) || isOfKeySource(error)) throw error;
      throw new InvalidToken(`token refused: ${error.message}`);
    }
    const claims = Claims.safeParse(payload);
    if (!claims.success) throw new InvalidToken(`token refused: ${claims.error.issues[0]?.message ?? 'bad claims'}`);
    return { user: claims.data.sub, rooms: claims.data.rooms, expires: Math.floor(claims.data.exp ?? 0) };
  }

  close(): void {
    this.#file?.close();
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
