import { createPublicKey } from 'node:crypto';
import { createLocalJWKSet, errors, type JWTPayload, type JWTVerifyOptions, jwtVerify } from 'jose';
import { z } from 'zod';

/** Keys of a set at most: a token that names no key is checked with each key of its algorithm. */
const MAX_KEYS = 100;
/** RFC 7518, 3.3. */
const MIN_RSA_BITS = 2_048;

const ALGORITHMS = ['RS256', 'ES256'];

const Jwks = z.object({ keys: z.array(z.unknown()) });
const Jwk = z.looseObject({
  kty: z.enum(['RSA', 'EC']),
  kid: z.string().exactOptional(),
  crv: z.string().exactOptional(),
  alg: z.string().exactOptional(),
  use: z.string().exactOptional(),
  key_ops: z.array(z.string()).exactOptional(),
  /** Only private keys have it, and those do not belong into a JWKS. */
  d: z.never().exactOptional(),
});

/** The keys of one JWKS (RFC 7517) that can verify RS256 and ES256. */
export class KeySet {
  readonly #find: ReturnType<typeof createLocalJWKSet>;

  /**
   * Keys that are not for signatures, of another kind, too short, private or broken are left out.
   * @throws Error with the predicate of a sentence ("is not a JWKS: …") if it is none, has no usable key or too many keys
   */
  constructor(text: string) {
    this.#find = createLocalJWKSet({ keys: usableKeys(text) });
  }

  /**
   * The claims of a token whose signature is valid. A token with a `kid` is checked with the key of that name, one without
   * with every key of its algorithm.
   * @throws JOSEError that says what is wrong with the token
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
    ({ keys } = Jwks.parse(JSON.parse(text.replace(/^\uFEFF/, ''))));
  } catch (cause) {
    throw new Error('is not a JWKS: it must be JSON such as {"keys":[{"kty":"RSA",…}]}', { cause });
  }
  if (keys.length > MAX_KEYS) throw new Error(`holds ${keys.length} keys; at most ${MAX_KEYS} are allowed`);
  const usable = keys.flatMap((key) => {
    const jwk = Jwk.safeParse(withoutNulls(key));
    return jwk.success && isUsable(jwk.data) ? [jwk.data] : [];
  });
  if (usable.length === 0) throw new Error('holds no public key that RS256 or ES256 could be checked with');
  return usable;
}

/** Some serialisers write members that are absent as null. */
function withoutNulls(key: unknown): unknown {
  if (typeof key !== 'object' || key === null) return key;
  return Object.fromEntries(Object.entries(key).filter(([, value]) => value !== null));
}

function isUsable(jwk: z.infer<typeof Jwk>): boolean {
  const { kty, crv, alg, use, key_ops: operations } = jwk;
  if (alg !== undefined && alg !== (kty === 'RSA' ? 'RS256' : 'ES256')) return false;
  if (kty === 'EC' && crv !== 'P-256') return false;
  if (use !== undefined && use !== 'sig') return false;
  if (operations !== undefined && !operations.includes('verify')) return false;
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: jwk, format: 'jwk' });
    return kty === 'EC' || (asymmetricKeyDetails?.modulusLength ?? 0) >= MIN_RSA_BITS;
  } catch {
    return false;
  }
}
