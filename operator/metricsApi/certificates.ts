import { createPrivateKey, X509Certificate } from 'node:crypto';
import { issueServing, type KeyPair, newAuthority } from './x509.ts';

/**
 * What the metrics API serves with, and what vouches for it: kept in one Secret, renewed before it ends. A new authority
 * is made known first, and signs only when the API server was told of it: at no time is what is served not trusted.
 */
export type Certificates = {
  authority: KeyPair;
  serving: KeyPair;
  /** PEM of all authorities that are to be trusted, `authority` first. */
  bundle: string;
};

const DAY_MS = 86_400_000;
export const AUTHORITY_LASTS_MS = 3_650 * DAY_MS;
/** What is left of an authority when the next one is made: longer than what it signs lasts. */
const AUTHORITY_RENEWED_AT_MS = 365 * DAY_MS;
export const SERVING_LASTS_MS = 90 * DAY_MS;
/** A month in which nobody need look. */
const SERVING_RENEWED_AT_MS = 30 * DAY_MS;
const NAME = 'pushcluster metrics API';

const KEYS = { authority: 'ca.crt', authorityKey: 'ca.key', serving: 'tls.crt', servingKey: 'tls.key' } as const;

export type Situation = {
  kept: Certificates | undefined;
  /** What the API server was told to trust; undefined where it was told nothing yet. */
  published: string | undefined;
  /** DNS names under which it is served, in the order of the certificate. */
  dnsNames: readonly string[];
  now: number;
};

/** The certificates that are to be kept now: what is kept already, where nothing is to be done. */
export function renewed({ kept, published, dnsNames, now }: Situation): Certificates {
  const issue = (authority: KeyPair) => issueServing(authority, { name: NAME, now, lasts: SERVING_LASTS_MS, dnsNames });
  // Authorities differ by name: some verifiers go by nothing else.
  const authorityName = `${NAME} authority ${new Date(now).toISOString().slice(0, 10)}`;
  if (kept === undefined || left(kept.authority.certificate, now) <= 0) {
    const authority = newAuthority({ name: authorityName, now, lasts: AUTHORITY_LASTS_MS });
    return { authority, serving: issue(authority), bundle: authority.certificate };
  }
  if (left(kept.authority.certificate, now) < AUTHORITY_RENEWED_AT_MS) {
    const authority = newAuthority({ name: authorityName, now, lasts: AUTHORITY_LASTS_MS });
    return { ...kept, authority, bundle: authority.certificate + kept.bundle };
  }
  const isSignedByNewest = signedBy(kept.serving.certificate, kept.authority.certificate);
  const isKnown = published?.includes(kept.authority.certificate.trim()) ?? false;
  if (!isSignedByNewest && !isKnown && left(kept.serving.certificate, now) > 0) return kept;
  if (isSignedByNewest && !isDue(kept.serving.certificate, dnsNames, now)) return kept;
  const bundle = certificatesOf(kept.bundle).filter((each) => left(each, now) > 0);
  return { ...kept, serving: issue(kept.authority), bundle: bundle.join('') };
}

/** The data (base64) of the Secret. */
export function secretData({ authority, serving, bundle }: Certificates): Record<string, string> {
  return {
    [KEYS.authority]: base64(bundle),
    [KEYS.authorityKey]: base64(authority.key),
    [KEYS.serving]: base64(serving.certificate),
    [KEYS.servingKey]: base64(serving.key),
  };
}

/** The certificates in a Secret's data; undefined where they are incomplete, or don't belong together. */
export function certificatesIn(data: Readonly<Record<string, string>>): Certificates | undefined {
  const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString('utf8');
  const bundle = certificatesOf(text(KEYS.authority));
  const [newest] = bundle;
  if (newest === undefined) return undefined;
  const found = {
    authority: { certificate: newest, key: text(KEYS.authorityKey) },
    serving: { certificate: text(KEYS.serving), key: text(KEYS.servingKey) },
    bundle: bundle.join(''),
  };
  const isVouchedFor = bundle.some((each) => signedBy(found.serving.certificate, each));
  return isVouchedFor && fits(found.authority) && fits(found.serving) ? found : undefined;
}

/** Each certificate of a PEM text, with a line's end. */
export function certificatesOf(pem: string): string[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((each) => `${each}\n`);
}

/** When a certificate ends, in milliseconds since 1970. */
export function endOf(certificate: string): number {
  return new X509Certificate(certificate).validToDate.getTime();
}

function isDue(certificate: string, dnsNames: readonly string[], now: number): boolean {
  const names = dnsNames.map((name) => `DNS:${name}`).join(', ');
  return left(certificate, now) < SERVING_RENEWED_AT_MS || new X509Certificate(certificate).subjectAltName !== names;
}

/** Milliseconds until it ends; 0 where it has ended. */
function left(certificate: string, now: number): number {
  return Math.max(0, endOf(certificate) - now);
}

function signedBy(certificate: string, authority: string): boolean {
  try {
    return new X509Certificate(certificate).verify(new X509Certificate(authority).publicKey);
  } catch {
    return false;
  }
}

function fits({ certificate, key }: KeyPair): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
