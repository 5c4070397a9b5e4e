import { createPrivateKey, X509Certificate } from 'node:crypto';
import { issueServing, type KeyPair, newAuthority } from './x509.ts';

/**
 * A serving certificate and its CA, stored in one Secret and renewed before they expire. A new CA is published first and
 * signs only once clients trust it, so that the serving certificate is always trusted.
 */
export type Certificates = {
  authority: KeyPair;
  serving: KeyPair;
  /** PEM of all trusted CAs, `authority` first. */
  bundle: string;
};

const DAY_MS = 86_400_000;
export const AUTHORITY_LASTS_MS = 3_650 * DAY_MS;
/** Remaining validity of a CA when it is replaced: longer than that of the certificates that it signs. */
const AUTHORITY_RENEWED_AT_MS = 365 * DAY_MS;
/** Remaining validity of a serving certificate when it is renewed, as a part of the whole. */
const SERVING_RENEWED_AT = 1 / 3;

const KEYS = { authority: 'ca.crt', authorityKey: 'ca.key', serving: 'tls.crt', servingKey: 'tls.key' } as const;

/** What certificates are for. */
export type Purpose = {
  /** Common name. */
  name: string;
  /** Milliseconds for which a serving certificate is valid: at most those of AUTHORITY_RENEWED_AT_MS. */
  lasts: number;
  /** Servers of this kind connect to each other with their certificates. */
  isForPeers: boolean;
};

export type Situation = {
  purpose: Purpose;
  kept: Certificates | undefined;
  /** The CAs that clients trust; undefined if there is none yet. */
  published: string | undefined;
  /** DNS names of the serving certificate, in their order. */
  dnsNames: readonly string[];
  now: number;
};

/** The certificates to store now: `kept` itself if nothing has to be renewed. */
export function renewed({ purpose, kept, published, dnsNames, now }: Situation): Certificates {
  const { name } = purpose;
  const issue = (authority: KeyPair) => issueServing(authority, { ...purpose, now, dnsNames });
  // CAs have different names: some TLS libraries find the issuer only by its name.
  const authorityName = `${name} authority ${new Date(now).toISOString().slice(0, 10)}`;
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
  if (isSignedByNewest && !isDue(kept.serving.certificate, purpose.lasts, dnsNames, now)) return kept;
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

/** The certificates in the data of a Secret; undefined if they are incomplete or do not match each other. */
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

/** The certificates of a PEM text, each with a trailing newline. */
export function certificatesOf(pem: string): string[] {
  return (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((each) => `${each}\n`);
}

/** When a certificate begins to be valid, milliseconds since 1970. */
export function startOf(certificate: string): number {
  return new X509Certificate(certificate).validFromDate.getTime();
}

/** When a certificate expires, milliseconds since 1970. */
export function endOf(certificate: string): number {
  return new X509Certificate(certificate).validToDate.getTime();
}

function isDue(certificate: string, lasts: number, dnsNames: readonly string[], now: number): boolean {
  const names = dnsNames.map((name) => `DNS:${name}`).join(', ');
  return (
    left(certificate, now) < lasts * SERVING_RENEWED_AT || new X509Certificate(certificate).subjectAltName !== names
  );
}

/** Milliseconds until a certificate expires; 0 if it has expired. */
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
