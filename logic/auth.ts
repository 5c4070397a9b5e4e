import { hash, timingSafeEqual } from 'node:crypto';
import type { Target } from '@pushcluster/protocol/api.ts';
import { matches } from '@pushcluster/protocol/pattern.ts';
import type { ApiKey as ApiKeySchema } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { SecretFile, secretLines } from '@pushcluster/runtime/secretFile.ts';
import type { z } from 'zod';
import { Problem } from './problems.ts';

export type ApiKey = z.infer<typeof ApiKeySchema>;
export type Scope = NonNullable<ApiKey['scope']>;

/** Who makes a request. Without a scope it may do everything. */
export type Caller = { name: string; scope: Scope | undefined };

/** What a request is about to do. */
export type Act =
  | Target
  | { type: 'disconnect_user'; user: string }
  | { type: 'disconnect_room'; room: string }
  | { type: 'read' };

/** Between looks for a key's file that isn't there. */
const RETRY_MS = 2_000;

type Entry = { caller: Caller; file: SecretFile<Buffer[]> };

/** The configured API keys. The files are read again when they change; the list follows the settings by `update`. */
export class ApiKeys {
  readonly #log: Logger;
  readonly #poll: { pollInterval?: number };
  #entries: Entry[] = [];
  #configured = 0;
  #retry: NodeJS.Timeout | undefined;

  /**
   * @param pollInterval milliseconds between looks at the files, 1,000 by default
   * @throws Error with a sentence where a key's file can't be read or holds no key
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

  /** Whether keys are needed at all. */
  get required(): boolean {
    return this.#configured > 0;
  }

  /**
   * Takes another list of keys; a file that stays is not opened again. One whose file is useless lets nobody in until
   * it is there (a Secret may arrive after the settings that name it), and is logged; the others count.
   */
  update(keys: readonly ApiKey[]) {
    clearTimeout(this.#retry);
    const old = this.#entries;
    this.#entries = [];
    this.#configured = keys.length;
    const useless: ApiKey[] = [];
    for (const key of keys) {
      const kept = old.findIndex((entry) => entry.file.path === key.file);
      const [entry] = kept < 0 ? [] : old.splice(kept, 1);
      if (entry) {
        entry.caller = { name: key.name, scope: key.scope };
        this.#entries.push(entry);
      } else if (!this.#add(key)) useless.push(key);
    }
    for (const entry of old) entry.file.close();
    this.#retryLater(useless);
  }

  /**
   * The caller who presents `authorization` (the header's value). Throws Problem unauthorized.
   * Digests are compared, all of them, so that the time tells neither a key nor which one it was.
   */
  identify(authorization: string | undefined): Caller {
    const [, token] = /^Bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
    if (token === undefined) throw unauthorized('Send Authorization: Bearer with an API key.', '');
    // A header's characters are the bytes that came.
    const digest = digestOf(Buffer.from(token, 'latin1'));
    let caller: Caller | undefined;
    for (const entry of this.#entries)
      for (const known of entry.file.value) if (timingSafeEqual(known, digest)) caller ??= entry.caller;
    if (!caller) throw unauthorized('This API key is not known here.', ', error="invalid_token"');
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
      this.#log.error({ key: key.name, err: error }, 'this API key lets nobody in: its file is useless');
      return false;
    }
  }

  #retryLater(useless: readonly ApiKey[]) {
    if (useless.length === 0) return;
    this.#retry = setTimeout(() => this.#retryLater(useless.filter((key) => !this.#add(key))), RETRY_MS).unref();
  }

  #open(key: ApiKey): Entry {
    const file = SecretFile.open(key.file, digestsOf, this.#poll);
    const entry: Entry = { caller: { name: key.name, scope: key.scope }, file };
    file.onChange(() => this.#log.info({ key: key.name, keys: file.value.length }, 'API key read again'));
    file.onProblem((problem) => this.#log.error({ key: key.name, problem }, 'API key file'));
    return entry;
  }
}

/** Throws Problem forbidden, which says what the scope lacks, where `caller` may not do `act`; unauthorized for nobody. */
export function authorize(caller: Caller | null, act: Act): void {
  if (!caller) throw unauthorized('Send Authorization: Bearer with an API key.', '');
  const lack = caller.scope === undefined ? undefined : lackOf(caller.scope, act);
  if (lack !== undefined) throw new Problem('forbidden', `The key "${caller.name}" may not do that: ${lack}.`);
}

function lackOf(scope: Scope, act: Act): string | undefined {
  switch (act.type) {
    case 'all':
      return scope.all ? undefined : 'its scope lacks all';
    case 'room':
      return unmatched('rooms', scope.rooms, [act.room]);
    case 'rooms':
      return unmatched('rooms', scope.rooms, act.rooms);
    case 'user':
      return unmatched('users', scope.users, [act.user]);
    case 'users':
      return unmatched('users', scope.users, act.users);
    case 'disconnect_user':
      return scope.disconnect ? unmatched('users', scope.users, [act.user]) : 'its scope lacks disconnect';
    case 'disconnect_room':
      return scope.disconnect ? unmatched('rooms', scope.rooms, [act.room]) : 'its scope lacks disconnect';
    case 'read':
      return scope.read ? undefined : 'its scope lacks read';
  }
}

function unmatched(kind: 'rooms' | 'users', patterns: readonly string[], names: readonly string[]): string | undefined {
  const name = names.find((candidate) => !patterns.some((pattern) => matches(pattern, candidate)));
  return name === undefined ? undefined : `no pattern under ${kind} of its scope matches ${JSON.stringify(name)}`;
}

function unauthorized(detail: string, parameter: string): Problem {
  return new Problem('unauthorized', detail, {
    headers: { 'www-authenticate': `Bearer realm="pushcluster"${parameter}` },
  });
}

/** The keys of a file, one a line. Throws Error where a line can't be sent as a key. */
function digestsOf(bytes: Buffer): Buffer[] {
  return secretLines(bytes).map((line, i) => {
    if (/\s/.test(line)) throw new Error(`holds a space within key ${i + 1}: a key is one word`);
    return digestOf(line);
  });
}

function digestOf(token: string | Buffer): Buffer {
  return hash('sha256', token, 'buffer');
}
