import { fromSeed } from '@nats-io/nkeys';
import type { NatsSettings } from '@pushcluster/protocol/settings.ts';
import {
  type Authenticator,
  credsAuthenticator,
  nkeyAuthenticator,
  type TlsOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from 'nats';
import type { z } from 'zod';
import { type Validity, validityOf } from '../certificateMetrics.ts';
import { isBlank } from '../secretFile.ts';
import { readSmallFile } from '../watchedFile.ts';

type Settings = z.infer<typeof NatsSettings>;

/** How a connection authenticates, and the TLS options that it uses. */
export type Credentials = { authenticator: Authenticator[]; tls?: TlsOptions };

/** The credential files that the settings name. They are read for each connection, so that they may rotate. */
export class CredentialFiles {
  readonly #settings: Settings;
  readonly #onProblem: (problem: string) => void;
  #last: Credentials;

  /**
   * @param onProblem called with a sentence if a file can no longer be read or used
   * @throws Error with a sentence if a file cannot be read or used now
   */
  constructor(settings: Settings, onProblem: (problem: string) => void) {
    if (settings.passwordFile !== undefined && settings.user === undefined)
      throw new Error('bus.nats.passwordFile needs bus.nats.user: set the name that the password belongs to');
    this.#settings = settings;
    this.#onProblem = onProblem;
    this.#last = read(settings);
  }

  /** Validity of the client certificate in the file: the next connection uses it. */
  get certificate(): Validity | undefined {
    const file = this.#settings.tls?.certFile;
    if (file === undefined) return undefined;
    try {
      return validityOf(readSmallFile(file));
    } catch {
      // The next connection reports it.
      return undefined;
    }
  }

  /** The present content, or the last that was usable: a rotation in two steps must not lock this process out meanwhile. */
  read(): Credentials {
    try {
      this.#last = read(this.#settings);
    } catch (error) {
      this.#onProblem(`${error instanceof Error ? error.message : String(error)}: the last value stays in use`);
    }
    return this.#last;
  }
}

function read(settings: Settings): Credentials {
  const files = new Map<string, Buffer>();
  for (const [key, path] of credentialFiles(settings)) {
    try {
      files.set(key, readSmallFile(path));
    } catch (error) {
      throw unreadable(key, path, error);
    }
  }
  return build(settings, files);
}

/** Names the credentials of `settings`, without their content. */
export function describeCredentials(settings: Settings): string {
  const parts = [
    settings.user === undefined ? undefined : `user ${settings.user}`,
    ...(['passwordFile', 'tokenFile', 'nkeyFile', 'credsFile'] as const).map((key) =>
      settings[key] === undefined ? undefined : `${key} ${settings[key]}`,
    ),
    settings.tls?.certFile === undefined ? undefined : `tls.certFile ${settings.tls.certFile}`,
  ].filter((part) => part !== undefined);
  return parts.length > 0 ? parts.join(', ') : 'none are set';
}

function credentialFiles(settings: Settings): [key: string, path: string][] {
  const { passwordFile, tokenFile, nkeyFile, credsFile, tls } = settings;
  const named = { passwordFile, tokenFile, nkeyFile, credsFile };
  const ofTls = { 'tls.caFile': tls?.caFile, 'tls.certFile': tls?.certFile, 'tls.keyFile': tls?.keyFile };
  return Object.entries({ ...named, ...ofTls }).flatMap(([key, path]) => (path === undefined ? [] : [[key, path]]));
}

function build(settings: Settings, files: ReadonlyMap<string, Buffer>): Credentials {
  const authenticator: Authenticator[] = [];
  const text = (key: string) => {
    const bytes = files.get(key);
    if (bytes === undefined) return undefined;
    const trimmed = bytes.toString('utf8').trim();
    if (isBlank(bytes)) throw new Error(`bus.nats.${key} is an empty file: put the secret in it`);
    return trimmed;
  };
  if (settings.user !== undefined)
    authenticator.push(usernamePasswordAuthenticator(settings.user, text('passwordFile')));
  const token = text('tokenFile');
  if (token !== undefined) authenticator.push(tokenAuthenticator(token));
  const seed = text('nkeyFile');
  if (seed !== undefined) {
    usable('nkeyFile', 'an NKey seed (it begins with SU)', () => fromSeed(Buffer.from(seed)));
    authenticator.push(nkeyAuthenticator(Buffer.from(seed)));
  }
  const creds = text('credsFile');
  if (creds !== undefined) {
    // nats.js requires the line break after the last dashes.
    const authenticate = credsAuthenticator(Buffer.from(`${creds}\n`));
    usable('credsFile', 'a .creds file (a user JWT and its NKey seed)', () => authenticate('nonce'));
    authenticator.push(authenticate);
  }
  if (settings.tls === undefined) return { authenticator };
  const tls: TlsOptions = {};
  const [ca, cert, key] = [text('tls.caFile'), text('tls.certFile'), text('tls.keyFile')];
  if ((cert === undefined) !== (key === undefined))
    throw new Error('bus.nats.tls needs both certFile and keyFile, or neither');
  if (ca !== undefined) tls.ca = ca;
  if (cert !== undefined) tls.cert = cert;
  if (key !== undefined) tls.key = key;
  return { authenticator, tls };
}

function usable(key: string, what: string, parse: () => unknown): void {
  try {
    parse();
  } catch {
    throw new Error(`bus.nats.${key} is not ${what}`);
  }
}

function unreadable(key: string, path: string, error: unknown): Error {
  return new Error(`bus.nats.${key}: cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`);
}
