import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import { isText, secretLines, withoutNewline } from '@pushcluster/runtime/secretFile.ts';
import { errors, type JWTPayload, type JWTVerifyOptions } from 'jose';
import { z } from 'zod';
import { verifiedClaims } from './verifiedClaims.ts';

const Header = z.looseObject({ alg: z.string(), crit: z.unknown().optional() });

/**
 * The claims of a token (JWS, RFC 7515) that is signed by HS256 with one of these secrets. Own code for the signature, since
 * jose verifies only in promises, which would take the handshake out of the engine's handler. Takes microseconds, with
 * secrets as key objects: Node checks anything else for seven times as long as it hashes.
 * @throws JOSEError that says what is wrong with the token
 */
export function verifyHs256(token: string, secrets: readonly KeyObject[], options: JWTVerifyOptions): JWTPayload {
  const [header = '', claims = '', signature = '', ...more] = token.split('.');
  if (more.length > 0 || signature === '') throw new errors.JWSInvalid('Invalid Compact JWS');
  const { alg, crit } = headerOf(header);
  if (alg !== 'HS256') throw new errors.JOSEAlgNotAllowed('"alg" (Algorithm) Header Parameter value not allowed');
  if (crit !== undefined) throw new errors.JWSInvalid('"crit" names extensions that are not supported');
  const given = Buffer.from(signature);
  const isValid = secrets.some((secret) => {
    const expected = Buffer.from(createHmac('sha256', secret).update(`${header}.${claims}`).digest('base64url'));
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
  if (!isValid) throw new errors.JWSSignatureVerificationFailed();
  return verifiedClaims(claims, options);
}

/**
 * The secrets of a file, one a line. A file that is no text is one secret. A line counts as it stands and without the space
 * around it, since nobody knows whether signer and editor meant that space.
 * @throws Error with the predicate of a sentence if the file is no list of secrets
 */
export function hs256Secrets(bytes: Buffer): Buffer[] {
  if (!isText(bytes)) {
    if (isUtf16(bytes)) throw new Error('is UTF-16: save it as UTF-8');
    return [withoutNewline(bytes)];
  }
  // The first line of a PEM file is known to everyone, and its content may be a public key.
  if (bytes.includes('-----BEGIN ')) throw new Error('is a PEM file: secretFile takes secrets for HS256, one a line');
  const lines = secretLines(bytes);
  const problem = listProblem(lines);
  if (problem !== undefined) throw new Error(problem);
  const exact = bytes
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '');
  return [...new Set([...lines, ...exact])].map((line) => Buffer.from(line));
}

/** What makes lines no list of secrets: each line would be accepted as one, also lines that everybody knows. */
function listProblem(lines: readonly string[]): string | undefined {
  if (/^[{[]/.test(lines[0] ?? ''))
    return 'is JSON: secretFile takes secrets for HS256, one a line; a JWKS is jwksFile';
  const comment = lines.findIndex((line) => line.startsWith('#'));
  if (comment >= 0) return `has a comment in line ${comment + 1}: every line is a secret`;
  const wrapped = lines.findIndex((line, i) => isWrapped(line, lines[i + 1]));
  if (wrapped >= 0) return `has one secret on lines ${wrapped + 1} and ${wrapped + 2}: write it on one line`;
  return undefined;
}

/** Whether a line continues on the next one, as encoders of Base64 break them: after 64 or 76 characters. */
function isWrapped(line: string, next: string | undefined): boolean {
  return (
    (line.length === 64 || line.length === 76) &&
    next !== undefined &&
    next.length < line.length &&
    isBase64(line) &&
    isBase64(next)
  );
}

function isBase64(line: string): boolean {
  return /^[\w+/-]+=*$/.test(line);
}

function isUtf16(bytes: Buffer): boolean {
  if (bytes.length < 4) return false;
  const mark = bytes.readUInt16BE(0);
  return (mark === 0xfffe && bytes[3] === 0) || (mark === 0xfeff && bytes[2] === 0);
}

function headerOf(encoded: string): z.infer<typeof Header> {
  try {
    return Header.parse(JSON.parse(Buffer.from(encoded, 'base64url').toString()));
  } catch (cause) {
    throw new errors.JWSInvalid('JWS Protected Header is invalid', { cause });
  }
}
