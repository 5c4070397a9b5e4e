import { createHmac, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Settings of a gateway that takes the tokens, and the file with one token per line: those of `user-0`, `user-1`, … */
export type Tokens = { auth: { jwt: { secretFile: string } }; file: string };

/** Writes a secret and the tokens of `users` users into `folder`. Each may join every room. */
export function writeTokens(folder: string, users: number): Tokens {
  const secret = randomBytes(32).toString('base64url');
  const secretFile = join(folder, 'secret');
  const file = join(folder, 'tokens');
  writeFileSync(secretFile, secret);
  writeFileSync(file, Array.from({ length: users }, (_, i) => token(`user-${i}`, secret)).join('\n'));
  return { auth: { jwt: { secretFile } }, file };
}

/** A JWT (HS256) of a day. */
function token(user: string, secret: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.floor(Date.now() / 1_000) + 86_400;
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, rooms: ['*'], exp })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}
