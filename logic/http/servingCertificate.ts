import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { type Validity, validityOf } from '@pushcluster/runtime/certificateMetrics.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { SecretFile } from '@pushcluster/runtime/secretFile.ts';
import { readSmallFile } from '@pushcluster/runtime/watchedFile.ts';

export type CertificateFiles = { certFile: string; keyFile: string };

/** A certificate, followed by those of its authorities, and its key: PEM. */
export type CertificatePair = { cert: Buffer; key: Buffer };

/** The certificate of the push API. It follows its files; a pair that can't be used does not replace the former one. */
export class ServingCertificate {
  readonly #settings: CertificateFiles;
  readonly #log: Logger;
  readonly #files: SecretFile<Buffer>[] = [];
  readonly #changes = new Set<(pair: CertificatePair) => void>();
  #pair: CertificatePair;

  /** @throws Error with a sentence if the files can't be used */
  constructor(settings: CertificateFiles, log: Logger) {
    this.#settings = settings;
    this.#log = log;
    this.#pair = readPair(settings);
    for (const path of [settings.certFile, settings.keyFile]) {
      const file = SecretFile.open(path, (bytes) => bytes);
      file.onChange(() => this.#reload());
      file.onProblem((problem) => log.error({ problem }, 'certificate'));
      this.#files.push(file);
    }
  }

  /** The pair in use. */
  get pair(): CertificatePair {
    return this.#pair;
  }

  /** How long the certificate in use is valid. */
  get validity(): Validity | undefined {
    return validityOf(this.#pair.cert);
  }

  /** Calls `listener` with each new pair. */
  onChange(listener: (pair: CertificatePair) => void): void {
    this.#changes.add(listener);
  }

  close(): void {
    for (const file of this.#files) file.close();
    this.#changes.clear();
  }

  /** Each of the two files changes on its own: until both have, they may not fit together. */
  #reload() {
    let pair: CertificatePair;
    try {
      pair = readPair(this.#settings);
    } catch (error) {
      this.#log.error({ err: error }, 'the new certificate could not be used; the former stays');
      return;
    }
    // Both files were read when the first of them changed.
    if (pair.cert.equals(this.#pair.cert) && pair.key.equals(this.#pair.key)) return;
    this.#pair = pair;
    for (const listener of this.#changes) listener(pair);
    this.#log.info('certificate reloaded');
  }
}

function readPair({ certFile, keyFile }: CertificateFiles): CertificatePair {
  try {
    const pair = { cert: readSmallFile(certFile), key: readSmallFile(keyFile) };
    // OpenSSL takes a key of another type (RSA, EC) than the certificate's, and then fails each handshake.
    if (!new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key)))
      throw new Error('the key is that of another certificate');
    createSecureContext(pair);
    return pair;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `logic.tls: certFile ${certFile} and keyFile ${keyFile} can't be used: both must be readable PEM files, and the key that of the certificate (${why})`,
      { cause: error },
    );
  }
}
