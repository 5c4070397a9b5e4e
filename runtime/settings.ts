import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { Settings, STATIC_KEYS } from '@pushcluster/protocol/settings.ts';
import { parseDocument } from 'yaml';
import { settingsProblems } from './settingsProblems.ts';
import { WatchedFile } from './watchedFile.ts';

export { Settings } from '@pushcluster/protocol/settings.ts';

/** Settings that were refused. The message has one problem a line. */
export class SettingsError extends Error {
  override name = 'SettingsError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/**
 * Reads settings from YAML or JSON.
 * @param name what the text is called in messages about its form
 * @throws SettingsError with every problem found
 */
export function parseSettings(text: string, name: string): Settings {
  const document = parseDocument(text, { strict: true, uniqueKeys: true, prettyErrors: true, logLevel: 'error' });
  // The first lines say what and where; the excerpt below them would break "one problem a line".
  const flaws = [...document.errors, ...document.warnings].map((flaw) => `${name}: ${firstLine(flaw.message)}`);
  if (flaws.length > 0) throw new SettingsError(flaws);
  let input: unknown;
  try {
    input = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new SettingsError([`${name}: ${error instanceof Error ? firstLine(error.message) : String(error)}`]);
  }
  return check(input ?? {});
}

export type SettingsFileOptions = {
  /** Applied to everything that is read, before it counts: ports from the environment, say. */
  override?: (settings: Settings) => Settings;
  /** Milliseconds between looks at the file, 1,000 by default. */
  pollInterval?: number;
};

/**
 * The settings of a process: read at the start, and again when the file changes. A file that is wrong is refused whole
 * and the settings stay. Of a file that is right, keys under STATIC_KEYS keep the value of the start.
 */
export class SettingsFile {
  readonly #file: WatchedFile | undefined;
  readonly #override: (settings: Settings) => Settings;
  readonly #changes = new Set<(current: Settings, previous: Settings) => void>();
  readonly #refusals = new Set<(error: SettingsError) => void>();
  readonly #pendings = new Set<(keys: string[]) => void>();
  #current: Settings;
  #accepted = 1;
  #pending: string[] = [];
  #digest: string;
  #refused: SettingsError | undefined;

  /**
   * Opens the file at `path`; without a path all settings are defaults, and stay.
   * @throws SettingsError
   */
  static open(path: string | undefined, options: SettingsFileOptions = {}): SettingsFile {
    return new SettingsFile(path, options);
  }

  private constructor(path: string | undefined, options: SettingsFileOptions) {
    this.#override = options.override ?? ((settings) => settings);
    if (path === undefined) {
      this.#current = frozen(this.#overridden(check({})));
      this.#digest = digestOf('');
      return;
    }
    try {
      this.#file = new WatchedFile(path, {
        ...(options.pollInterval === undefined ? {} : { pollInterval: options.pollInterval }),
        changed: () => this.#changed(),
        unreadable: (problem) => this.#refuse(new SettingsError([`${problem}: the settings stay as they are`])),
        readable: () => {
          if (digestOf(this.#file!.bytes) === this.#digest) this.#refused = undefined;
          else this.#changed();
        },
      });
    } catch (error) {
      throw new SettingsError([error instanceof Error ? error.message : String(error)]);
    }
    try {
      this.#current = frozen(this.#read(this.#file));
      this.#digest = digestOf(this.#file.bytes);
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /** The settings that count now. Frozen. */
  get current(): Settings {
    return this.#current;
  }

  /** The file's `generation`, else one more than the reloads that were accepted. */
  get generation(): number {
    return this.#current.generation ?? this.#accepted;
  }

  /** SHA-256, hex, of the file's bytes that count; of nothing where there is no file. */
  get digest(): string {
    return this.#digest;
  }

  /** Why the file as it is now was refused; undefined where it counts. */
  get refused(): SettingsError | undefined {
    return this.#refused;
  }

  /** The keys that the file has changed and that take effect only at the next start. */
  get pending(): readonly string[] {
    return this.#pending;
  }

  /** Calls `listener`, which must not throw, after each accepted reload, until the returned function is called. */
  onChange(listener: (current: Settings, previous: Settings) => void): () => void {
    return subscribe(this.#changes, listener);
  }

  /** Calls `listener` when a changed file was refused. */
  onRefused(listener: (error: SettingsError) => void): () => void {
    return subscribe(this.#refusals, listener);
  }

  /** Calls `listener` with all keys that wait for the next start, when they change. */
  onPending(listener: (keys: string[]) => void): () => void {
    return subscribe(this.#pendings, listener);
  }

  close(): void {
    this.#file?.close();
    this.#changes.clear();
    this.#refusals.clear();
    this.#pendings.clear();
  }

  #read(file: WatchedFile): Settings {
    return this.#overridden(parseSettings(file.bytes.toString('utf8'), file.path));
  }

  #overridden(settings: Settings): Settings {
    let overridden: Settings;
    try {
      overridden = this.#override(settings);
    } catch (error) {
      throw new SettingsError([error instanceof Error ? error.message : String(error)]);
    }
    return check(overridden);
  }

  #changed(): void {
    let next: Settings;
    let pending: string[];
    try {
      const wanted = this.#read(this.#file!);
      ({ next, pending } = keepStatic(wanted, this.#current));
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error;
      this.#refuse(error);
      return;
    }
    const previous = this.#current;
    this.#current = frozen(next);
    this.#digest = digestOf(this.#file!.bytes);
    this.#refused = undefined;
    this.#accepted++;
    const pendingChanged = !isDeepStrictEqual(pending, this.#pending);
    this.#pending = pending;
    for (const listener of this.#changes) listener(this.#current, previous);
    if (pendingChanged) for (const listener of this.#pendings) listener([...pending]);
  }

  #refuse(error: SettingsError): void {
    this.#refused = error;
    for (const listener of this.#refusals) listener(error);
  }
}

/** `wanted`, but with the values of `running` where a key takes effect only at a start, and which those are. */
function keepStatic(wanted: Settings, running: Settings): { next: Settings; pending: string[] } {
  const next = structuredClone(wanted);
  const pending = STATIC_KEYS.filter((key) => {
    const path = key.split('.');
    const value = at(running, path);
    if (isDeepStrictEqual(at(wanted, path), value)) return false;
    put(next, path, value);
    return true;
  });
  try {
    // Keys are checked against each other: what is right in the file can be wrong beside the values that stay.
    return { next: check(next), pending };
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    const staying = pending.map((key) => `${key} (takes effect only at the next start)`).join(', ');
    throw new SettingsError(error.problems.map((problem) => `${problem}; unchanged until then: ${staying}`));
  }
}

function check(input: unknown): Settings {
  const result = Settings.safeParse(input, { reportInput: true });
  if (!result.success) throw new SettingsError(settingsProblems(Settings, result.error.issues));
  return result.data;
}

function at(object: object, path: readonly string[]): unknown {
  let value: unknown = object;
  for (const key of path) value = isRecord(value) ? value[key] : undefined;
  return value;
}

function put(object: object, path: readonly string[], value: unknown): void {
  const parent = at(object, path.slice(0, -1));
  const key = path.at(-1);
  if (!isRecord(parent) || key === undefined) return;
  if (value === undefined) delete parent[key];
  else parent[key] = structuredClone(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) frozen(part);
  }
  return value;
}

function subscribe<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function digestOf(bytes: string | Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]!.replace(/:$/, '');
}
