import { hash, timingSafeEqual } from 'node:crypto';
import type { ApiKey as ApiKeySchema } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { SecretFile, secretLines } from '@pushcluster/runtime/secretFile.ts';
import type { z } from 'zod';
import { type Caller, unauthorized } from './authorization.ts';

/** One entry of the setting `logic.apiKeys`: a name, the file that holds the keys, and what they may do. */
export type ApiKey = z.infer<typeof ApiKeySchema>;

/** Between attempts to open the file of a key that could not be read, milliseconds. */
const RETRY_MS = 2_000;

type Entry = { caller: Caller; file: SecretFile<Buffer[]> };

/** The configured API keys. A file is read again when it changes; `update` takes a changed list. */
export class ApiKeys {
  readonly #log: Logger;
  readonly #poll: { pollInterval?: number };
  #entries: Entry[] = [];
  #configured = 0;
  #retry: NodeJS.Timeout | undefined;

  /**
   * @param pollInterval milliseconds between looks at the files, 1,000 by default
   * @throws Error with a sentence if the file of a key can't be read or holds no key
   */
  constructor(keys: readonly ApiKey[], log: Logger, pollInterval?: number) {
    this.#log = log;
    this.#poll = pollInterval === undefined ? {} : { pollInterval };
    try {
      for (const key of keys) this.#entries.push(this.#open(key));
    } catch (error) {
      this.close();
      throw error;
    }
    this.#configured = keys.length;
  }

  /** Whether requests need an API key: at least one is configured, even if its file can't be read. */
  get required(): boolean {
    return this.#configured > 0;
  }

  /**
   * Takes a changed list of keys. A file that is still listed is not opened again. If a new file can't be read, that key
   * is logged and admits nobody until its file is there: a Secret may be mounted after the settings that name it. The
   * other keys are in force at once.
   */
  update(keys: readonly ApiKey[]) {
    clearTimeout(this.#retry);
    const old = this.#entries;
    this.#entries = [];
    this.#configured = keys.length;
    const unreadable: ApiKey[] = [];
    for (const key of keys) {
      const kept = old.findIndex((entry) => entry.file.path === key.file);
      const [entry] = kept < 0 ? [] : old.splice(kept, 1);
      if (entry) {
        entry.caller = { name: key.name, scope: key.scope };
        this.#entries.push(entry);
      } else if (!this.#add(key)) unreadable.push(key);
    }
    for (const entry of old) entry.file.close();
    this.#retryLater(unreadable);
  }

  /**
   * Identifies the caller by the value of the header `Authorization`. Throws Problem unauthorized.
   * The digest of the key is compared with all known digests, so that the time taken reveals neither a key nor its entry.
   */
  identify(authorization: string | undefined): Caller {
    const [, token] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    if (token === undefined) throw unauthorized('Send the header Authorization: Bearer with an API key.', '');
    // Node reads the bytes of a header as Latin-1: this yields the bytes again.
    const digest = digestOf(Buffer.from(token, 'latin1'));
    let caller: Caller | undefined;
    for (const entry of this.#entries)
      for (const known of entry.file.value) if (timingSafeEqual(known, digest)) caller ??= entry.caller;
    if (!caller) throw unauthorized('The API key is not valid.', ', error="invalid_token"');
    return caller;
  }

  close() {
    clearTimeout(this.#retry);
    for (const entry of this.#entries) entry.file.close();
    this.#entries = [];
  }

  #add(key: ApiKey): boolean {
    try {
      this.#entries.push(this.#open(key));
      return true;
    } catch (error) {
      this.#log.error(
        { key: key.name, err: error },
        'the file of an API key could not be read: the key is not in force',
      );
      return false;
    }
  }

  #retryLater(unreadable: readonly ApiKey[]) {
    if (unreadable.length === 0) return;
    this.#retry = setTimeout(() => this.#retryLater(unreadable.filter((key) => !this.#add(key))), RETRY_MS).unref();
  }

  #open(key: ApiKey): Entry {
    const file = SecretFile.open(key.file, digestsOf, this.#poll);
    const entry: Entry = { caller: { name: key.name, scope: key.scope }, file };
    file.onChange(() => this.#log.info({ key: key.name, keys: file.value.length }, 'API key reloaded from its file'));
    file.onProblem((problem) =>
      this.#log.error({ key: key.name, problem }, 'the file of an API key could not be reloaded'),
    );
    return entry;
  }
}

/** Digests of the keys of a file, which holds one key per line. Throws Error if a line can't be sent as a key. */
function digestsOf(bytes: Buffer): Buffer[] {
  return secretLines(bytes).map((line, i) => {
    if (/\s/.test(line)) throw new Error(`contains white space in key ${i + 1}: a key is one word`);
    if (/^[#"'{[<]|\p{Cf}/u.test(line) || !/[\p{L}\p{N}]/u.test(line))
      throw new Error(`holds no key in line ${i + 1}: a key is a word without quotes, and there are no comments`);
    return digestOf(line);
  });
}

function digestOf(token: string | Buffer): Buffer {
  return hash('sha256', token, 'buffer');
}
