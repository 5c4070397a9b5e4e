import { createHmac, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const ALGORITHMS = ['HS256', 'RS256', 'ES256'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

/** Settings of a gateway that takes the tokens, and the file with one token per line: those of `user-0`, `user-1`, … */
export type Tokens = { auth: { jwt: { secretFile: string } | { jwksFile: string } }; file: string };

/** Writes a secret or a JWKS, and the tokens of `users` users, into `folder`. Each may join every room. */
export function writeTokens(folder: string, users: number, algorithm: Algorithm = 'HS256'): Tokens {
  const [jwt, signature] = algorithm === 'HS256' ? secretIn(folder) : keyIn(folder, algorithm);
  const file = join(folder, 'tokens');
  writeFileSync(file, Array.from({ length: users }, (_, i) => token(`user-${i}`, algorithm, signature)).join('\n'));
  return { auth: { jwt }, file };
}

type Sign = (text: string) => Buffer;

function secretIn(folder: string): [{ secretFile: string }, Sign] {
  const secret = randomBytes(32).toString('base64url');
  const secretFile = join(folder, 'secret');
  writeFileSync(secretFile, secret);
  return [{ secretFile }, (text) => createHmac('sha256', secret).update(text).digest()];
}

function keyIn(folder: string, algorithm: 'RS256' | 'ES256'): [{ jwksFile: string }, Sign] {
  const { publicKey, privateKey: key } =
    algorithm === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2_048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwksFile = join(folder, 'jwks');
  writeFileSync(jwksFile, JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'bench' }] }));
  return [{ jwksFile }, (text) => sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })];
}

/** A JWT of a day. */
function token(user: string, alg: Algorithm, signature: Sign): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1_000) + 86_400;
  const text = `${part({ alg, typ: 'JWT', kid: 'bench' })}.${part({ sub: user, rooms: ['*'], exp })}`;
  return `${text}.${signature(text).toString('base64url')}`;
}
