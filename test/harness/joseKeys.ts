import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';

/** A key pair made by jose. `sign` puts the JWK's `kid` into the token; another `kid` if given; none if null. */
export type JoseKey = { jwk: JWK; sign: (kid?: string | null) => Promise<string> };

export async function joseKey(algorithm: 'RS256' | 'ES256', kid?: string): Promise<JoseKey> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm);
  return {
    jwk: { ...(await exportJWK(publicKey)), ...(kid === undefined ? {} : { kid }) },
    sign: (named: string | null | undefined = kid) =>
      new SignJWT({ sub: 'ann' })
        .setProtectedHeader({ alg: algorithm, ...(typeof named === 'string' ? { kid: named } : {}) })
        .sign(privateKey),
  };
}

/** The text of a JWKS. */
export function jwksOf(...keys: unknown[]): string {
  return JSON.stringify({ keys });
}
