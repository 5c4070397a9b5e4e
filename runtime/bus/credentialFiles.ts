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

/** How a connection authenticates, and the TLS options that it uses. `line`: that of the file, if it may have several. */
export type Credentials = { authenticator: Authenticator[]; tls?: TlsOptions; line?: string };

/** Lines of a file with passwords or tokens: an old and a new one, and room for mistakes. All are tried at each connect. */
const MAX_LINES = 4;

/** The credential files that the settings name. They are read for each connection, so that they may rotate. */
export class CredentialFiles {
  readonly #settings: Settings;
  readonly #onProblem: (problem: string) => void;
  #last: Credentials[];
  #accepted: string | undefined;

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

  /**
   * The present content, or the last that was usable: a rotation in two steps must not lock this process out meanwhile. One
   * for each line of a file with passwords or tokens, the one that was accepted last first.
   */
  read(): readonly Credentials[] {
    try {
      this.#last = read(this.#settings);
    } catch (error) {
      this.#onProblem(`${error instanceof Error ? error.message : String(error)}: the last value stays in use`);
    }
    const isFirst = ({ line }: Credentials) => (line !== undefined && line === this.#accepted ? 0 : 1);
    return this.#last.toSorted((a, b) => isFirst(a) - isFirst(b));
  }

  /** A server has accepted these. */
  accepted({ line }: Credentials): void {
    this.#accepted = line;
  }
}

function read(settings: Settings): Credentials[] {
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

function build(settings: Settings, files: ReadonlyMap<string, Buffer>): Credentials[] {
  const text = (key: string) => {
    const bytes = files.get(key);
    if (bytes === undefined) return undefined;
    const trimmed = bytes.toString('utf8').trim();
    if (isBlank(bytes)) throw new Error(`bus.nats.${key} is an empty file: put the secret in it`);
    return trimmed;
  };
  const keys = [...nkeyAuthenticators(text('nkeyFile')), ...credsAuthenticators(text('credsFile'))];
  const tls = tlsOptions(settings, [text('tls.caFile'), text('tls.certFile'), text('tls.keyFile')]);
  const { user } = settings;
  const [passwords, tokens] = (['passwordFile', 'tokenFile'] as const).map((key) => linesOf(key, text(key)));
  const lines = passwords ?? tokens ?? [undefined];
  return lines.map((line) => {
    const authenticator = [...keys];
    if (user !== undefined) authenticator.push(usernamePasswordAuthenticator(user, passwords && line));
    const token = passwords ? tokens?.[0] : line;
    if (token !== undefined) authenticator.push(tokenAuthenticator(token));
    return { authenticator, ...(tls ? { tls } : {}), ...(line === undefined ? {} : { line }) };
  });
}

function linesOf(key: string, text: string | undefined): string[] | undefined {
  const lines = text
    ?.split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (lines && lines.length > MAX_LINES)
    throw new Error(`bus.nats.${key} has ${lines.length} lines; at most ${MAX_LINES} are allowed`);
  return lines;
}

function nkeyAuthenticators(seed: string | undefined): Authenticator[] {
  if (seed === undefined) return [];
  usable('nkeyFile', 'an NKey seed (it begins with SU)', () => fromSeed(Buffer.from(seed)));
  return [nkeyAuthenticator(Buffer.from(seed))];
}

function credsAuthenticators(creds: string | undefined): Authenticator[] {
  if (creds === undefined) return [];
  // nats.js requires the line break after the last dashes.
  const authenticate = credsAuthenticator(Buffer.from(`${creds}\n`));
  usable('credsFile', 'a .creds file (a user JWT and its NKey seed)', () => authenticate('nonce'));
  return [authenticate];
}

function tlsOptions(settings: Settings, [ca, cert, key]: (string | undefined)[]): TlsOptions | undefined {
  if (settings.tls === undefined) return undefined;
  if ((cert === undefined) !== (key === undefined))
    throw new Error('bus.nats.tls needs both certFile and keyFile, or neither');
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
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
