import { createPublicKey, generateKeyPairSync, randomBytes, sign, X509Certificate } from 'node:crypto';
import { AsnConvert, AsnSerializer, OctetString } from '@peculiar/asn1-schema';
import * as asn1 from '@peculiar/asn1-x509';

/** A certificate and its private key, both as PEM. */
export type KeyPair = { certificate: string; key: string };

/** ecdsa-with-SHA256 (RFC 5758). */
const ECDSA_SHA256 = '1.2.840.10045.4.3.2';
const COMMON_NAME = '2.5.4.3';
/** Certificates are valid from a little earlier, since the clocks of API servers and operators differ. */
const SKEW_MS = 5 * 60_000;

type Subject = {
  name: string;
  now: number;
  /** Milliseconds for which it is valid. */
  lasts: number;
};

/** A new self-signed CA (P-256), which can sign no other CA. */
export function newAuthority({ name, now, lasts }: Subject): KeyPair {
  const keys = newKeys();
  const own = keyIdOf(keys.publicKey);
  const certificate = signed({
    subject: nameOf(name),
    issuer: nameOf(name),
    publicKey: keys.publicKey,
    validity: validityOf(now, lasts),
    extensions: [
      extension(asn1.id_ce_basicConstraints, new asn1.BasicConstraints({ cA: true, pathLenConstraint: 0 }), true),
      extension(asn1.id_ce_keyUsage, new asn1.KeyUsage(asn1.KeyUsageFlags.keyCertSign), true),
      extension(asn1.id_ce_subjectKeyIdentifier, new asn1.SubjectKeyIdentifier(own)),
    ],
    signer: keys.key,
  });
  return { certificate, key: keys.key };
}

/**
 * A new server certificate for `dnsNames`, signed by `authority`.
 * @param isForPeers servers also use it as clients of each other
 */
export function issueServing(
  authority: KeyPair,
  { name, now, lasts, dnsNames, isForPeers }: Subject & { dnsNames: readonly string[]; isForPeers: boolean },
): KeyPair {
  const keys = newKeys();
  const signer = AsnConvert.parse(new X509Certificate(authority.certificate).raw, asn1.Certificate);
  const usages = [asn1.id_kp_serverAuth, ...(isForPeers ? [asn1.id_kp_clientAuth] : [])];
  const names = dnsNames.map((dNSName) => new asn1.GeneralName({ dNSName }));
  const certificate = signed({
    subject: nameOf(name),
    issuer: signer.tbsCertificate.subject,
    publicKey: keys.publicKey,
    validity: validityOf(now, lasts),
    extensions: [
      extension(asn1.id_ce_basicConstraints, new asn1.BasicConstraints({ cA: false }), true),
      extension(asn1.id_ce_keyUsage, new asn1.KeyUsage(asn1.KeyUsageFlags.digitalSignature), true),
      extension(asn1.id_ce_extKeyUsage, new asn1.ExtendedKeyUsage(usages)),
      extension(asn1.id_ce_subjectAltName, new asn1.SubjectAlternativeName(names)),
      extension(
        asn1.id_ce_authorityKeyIdentifier,
        new asn1.AuthorityKeyIdentifier({
          keyIdentifier: new asn1.KeyIdentifier(keyIdOf(signer.tbsCertificate.subjectPublicKeyInfo)),
        }),
      ),
    ],
    signer: authority.key,
  });
  return { certificate, key: keys.key };
}

type Unsigned = {
  subject: asn1.Name;
  issuer: asn1.Name;
  publicKey: asn1.SubjectPublicKeyInfo;
  validity: asn1.Validity;
  extensions: asn1.Extension[];
  /** PEM of the key to sign with. */
  signer: string;
};

function signed({ subject, issuer, publicKey, validity, extensions, signer }: Unsigned): string {
  const algorithm = new asn1.AlgorithmIdentifier({ algorithm: ECDSA_SHA256 });
  const tbsCertificate = new asn1.TBSCertificate({
    version: asn1.Version.v3,
    serialNumber: serial(),
    signature: algorithm,
    issuer,
    validity,
    subject,
    subjectPublicKeyInfo: publicKey,
    extensions: new asn1.Extensions(extensions),
  });
  const signature = sign('sha256', Buffer.from(AsnSerializer.serialize(tbsCertificate)), signer);
  const certificate = new asn1.Certificate({
    tbsCertificate,
    signatureAlgorithm: algorithm,
    signatureValue: new Uint8Array(signature).buffer,
  });
  return pemOf(AsnSerializer.serialize(certificate));
}

function newKeys(): { key: string; publicKey: asn1.SubjectPublicKeyInfo } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    publicKey: AsnConvert.parse(spki, asn1.SubjectPublicKeyInfo),
  };
}

/** A positive number of 128 bits. RFC 5280 allows at most 20 bytes. */
function serial(): ArrayBuffer {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return new Uint8Array(bytes).buffer;
}

function nameOf(text: string): asn1.Name {
  const value = new asn1.AttributeValue({ utf8String: text });
  return new asn1.Name([
    new asn1.RelativeDistinguishedName([new asn1.AttributeTypeAndValue({ type: COMMON_NAME, value })]),
  ]);
}

function validityOf(now: number, lasts: number): asn1.Validity {
  return new asn1.Validity({ notBefore: new Date(now - SKEW_MS), notAfter: new Date(now + lasts) });
}

function extension(extnID: string, value: object, critical = false): asn1.Extension {
  return new asn1.Extension({ extnID, critical, extnValue: new OctetString(AsnSerializer.serialize(value)) });
}

/** Identifies a key. Any digest will do (RFC 5280, 4.2.1.2). */
function keyIdOf(publicKey: asn1.SubjectPublicKeyInfo): ArrayBuffer {
  return publicKey.subjectPublicKey.slice(-20);
}

function pemOf(der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
