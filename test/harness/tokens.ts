import { createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';

export type Claims = { sub?: string; rooms?: readonly string[]; exp?: number; [claim: string]: unknown };
export type Algorithm = 'RS256' | 'ES256';

/** Seconds of Unix time, `seconds` from now. */
export function secondsFromNow(seconds: number): number {
  return Math.floor(Date.now() / 1_000) + seconds;
}

/** A JWT signed with a shared secret. */
export function hs256(secret: string, claims: Claims): string {
  const text = unsigned({ alg: 'HS256', typ: 'JWT' }, claims);
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

/** A key pair that signs JWTs, and its public key as a JWK. */
export class SigningKey {
  readonly algorithm: Algorithm;
  readonly id = randomUUID();
  readonly #private: KeyObject;
  readonly #public: KeyObject;

  constructor(algorithm: Algorithm) {
    this.algorithm = algorithm;
    const pair =
      algorithm === 'RS256'
        ? generateKeyPairSync('rsa', { modulusLength: 2_048 })
        : generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#private = pair.privateKey;
    this.#public = pair.publicKey;
  }

  token(claims: Claims): string {
    const text = unsigned({ alg: this.algorithm, typ: 'JWT', kid: this.id }, claims);
    const key = { key: this.#private, dsaEncoding: 'ieee-p1363' as const };
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`;
  }

  get jwk(): object {
    return { ...this.#public.export({ format: 'jwk' }), kid: this.id, alg: this.algorithm, use: 'sig' };
  }
}

/** A JWKS document. */
export function jwks(...keys: SigningKey[]): string {
  return JSON.stringify({ keys: keys.map((key) => key.jwk) });
}

function unsigned(header: object, claims: Claims): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
  return `${encode(header)}.${encode(claims)}`;
}
