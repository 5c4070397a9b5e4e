import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import {
  createLocalJWKSet,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose';
import { z } from 'zod';
import { verifiedClaims } from './verifiedClaims.ts';

/** Keys of a set at most: a token that names no key is checked with each key of its algorithm. */
const MAX_KEYS = 100;
/** RFC 7518, 3.3. */
const MIN_RSA_BITS = 2_048;
/** With a longer key the event loop would wait for over 100 µs. */
const MAX_RSA_BITS_NOW = 4_096;

const ALGORITHMS = ['RS256', 'ES256'];

/** Header, claims and signature of a token in base64url (RFC 7515, 3.1). */
const COMPACT = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/;

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

/** A key of the set that signatures are checked with at once. */
type FastKey = { kid: string | undefined; alg: string; key: KeyObject };

/** The keys of one JWKS (RFC 7517) that can verify RS256 and ES256. */
export class KeySet {
  readonly #find: ReturnType<typeof createLocalJWKSet>;
  readonly #keys: readonly FastKey[];

  /**
   * Keys that are not for signatures, of another kind, too short, private or broken are left out.
   * @throws Error with the predicate of a sentence ("is not a JWKS: …") if it is none, has no usable key or too many keys
   */
  constructor(text: string) {
    const usable = usableKeys(text);
    this.#find = createLocalJWKSet({ keys: usable.map(({ jwk }) => jwk) });
    this.#keys = usable.map(({ jwk: { kid, kty }, key }) => ({ kid, alg: algorithmOf(kty), key }));
  }

  /**
   * The claims of a token that one key alone can have signed, if it has: in microseconds. jose verifies only in promises,
   * which would take the handshake out of the engine's handler, so that it costs twice as much. Undefined otherwise: `check`
   * has to tell.
   * @throws JOSEError that says what is wrong with the claims
   */
  checkNow(token: string, options: JWTVerifyOptions): JWTPayload | undefined {
    const [, header, claims, signature] = COMPACT.exec(token) ?? [];
    if (claims === undefined || signature === undefined) return undefined;
    const fast = this.#onlyKeyOf(token);
    if (!fast || !isSigned(`${header}.${claims}`, signature, fast)) return undefined;
    return verifiedClaims(claims, options);
  }

  /** The only key that may have signed a token, by its header. */
  #onlyKeyOf(token: string): FastKey | undefined {
    const header = headerOf(token);
    if (!header || header.crit !== undefined || header.b64 !== undefined) return undefined;
    const { alg, kid } = header;
    const candidates = this.#keys.filter((each) => each.alg === alg && (kid === undefined || each.kid === kid));
    return candidates.length === 1 && isFast(candidates[0]!) ? candidates[0] : undefined;
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

function usableKeys(text: string): { jwk: z.infer<typeof Jwk>; key: KeyObject }[] {
  let keys: unknown[];
  try {
    ({ keys } = Jwks.parse(JSON.parse(text.replace(/^\uFEFF/, ''))));
  } catch (cause) {
    throw new Error('is not a JWKS: it must be JSON such as {"keys":[{"kty":"RSA",…}]}', { cause });
  }
  if (keys.length > MAX_KEYS) throw new Error(`holds ${keys.length} keys; at most ${MAX_KEYS} are allowed`);
  const usable = keys.flatMap((key) => {
    const jwk = Jwk.safeParse(withoutNulls(key));
    const found = jwk.success ? keyOf(jwk.data) : undefined;
    return jwk.success && found ? [{ jwk: jwk.data, key: found }] : [];
  });
  if (usable.length === 0) throw new Error('holds no public key that RS256 or ES256 could be checked with');
  return usable;
}

/** Some serialisers write members that are absent as null. */
function withoutNulls(key: unknown): unknown {
  if (typeof key !== 'object' || key === null) return key;
  return Object.fromEntries(Object.entries(key).filter(([, value]) => value !== null));
}

/** The key, if it is usable. */
function keyOf(jwk: z.infer<typeof Jwk>): KeyObject | undefined {
  const { kty, crv, alg, use, key_ops: operations } = jwk;
  if (alg !== undefined && alg !== algorithmOf(kty)) return undefined;
  if (kty === 'EC' && crv !== 'P-256') return undefined;
  if (use !== undefined && use !== 'sig') return undefined;
  if (operations !== undefined && !operations.includes('verify')) return undefined;
  try {
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    return kty === 'EC' || bitsOf(key) >= MIN_RSA_BITS ? key : undefined;
  } catch {
    return undefined;
  }
}

function algorithmOf(kty: z.infer<typeof Jwk>['kty']): string {
  return kty === 'RSA' ? 'RS256' : 'ES256';
}

function bitsOf({ asymmetricKeyDetails }: KeyObject): number {
  return asymmetricKeyDetails?.modulusLength ?? 0;
}

function isFast({ key }: FastKey): boolean {
  return bitsOf(key) <= MAX_RSA_BITS_NOW;
}

function isSigned(text: string, signature: string, { alg, key }: FastKey): boolean {
  // Node takes a key object alone in half of the time that it takes one with options.
  const named = alg === 'RS256' ? key : { key, dsaEncoding: 'ieee-p1363' as const };
  return verify('sha256', Buffer.from(text), named, Buffer.from(signature, 'base64url'));
}

/** The header of a token; undefined if it is none. */
function headerOf(token: string): ProtectedHeaderParameters | undefined {
  try {
    return decodeProtectedHeader(token);
  } catch {
    return undefined;
  }
}
