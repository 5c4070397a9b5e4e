import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { keepStaticSettings } from './keepStaticSettings.ts';
import { checkSettings, SettingsError } from './parseSettings.ts';
import { type ReadSettings, readSettings } from './tolerantSettings.ts';
import { WatchedFile } from './watchedFile.ts';

export type SettingsFileOptions = {
  /** Applied to everything that is read before it takes effect, such as ports from the environment. */
  override?: (settings: Settings) => Settings;
  /** Milliseconds between two checks of the file, 1,000 by default. */
  pollInterval?: number;
};

/**
 * The settings of a process: read at the start, and again when the file changes. An invalid file is refused as a whole,
 * and the previous settings stay in effect; of a file that the operator wrote, what this version does not know is ignored
 * (tolerantSettings.ts). Of a valid file the live settings take effect at once, while the static ones (STATIC_KEYS)
 * keep their values until the next start.
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
  #ignored: readonly string[] = [];

  /**
   * Opens the file at `path`. Without a path all settings keep their defaults.
   * @throws SettingsError
   */
  static open(path: string | undefined, options: SettingsFileOptions = {}): SettingsFile {
    return new SettingsFile(path, options);
  }

  private constructor(path: string | undefined, options: SettingsFileOptions) {
    this.#override = options.override ?? ((settings) => settings);
    if (path === undefined) {
      this.#current = frozen(this.#overridden(checkSettings({})));
      this.#digest = digestOf('');
      return;
    }
    try {
      this.#file = new WatchedFile(path, {
        ...(options.pollInterval === undefined ? {} : { pollInterval: options.pollInterval }),
        changed: () => this.#changed(),
        unreadable: (problem) => this.#refuse(new SettingsError([`${problem}: the previous settings stay in effect`])),
        readable: () => {
          if (digestOf(this.#file!.bytes) === this.#digest) this.#refused = undefined;
          else this.#changed();
        },
      });
    } catch (error) {
      throw new SettingsError([error instanceof Error ? error.message : String(error)]);
    }
    try {
      const { settings, ignored } = this.#read(this.#file);
      this.#current = frozen(settings);
      this.#ignored = ignored;
      this.#digest = digestOf(this.#file.bytes);
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /** The settings in force. Frozen. */
  get current(): Settings {
    return this.#current;
  }

  /** The file's `generation`; without one, 1 + the number of accepted reloads. */
  get generation(): number {
    return this.#current.generation ?? this.#accepted;
  }

  /** SHA-256 (hex) of the file's bytes that are in force; of no bytes if there is no file. */
  get digest(): string {
    return this.#digest;
  }

  /** Why the present file was refused; undefined if it is in force. */
  get refused(): SettingsError | undefined {
    return this.#refused;
  }

  /** What this version left out of a file that the operator of another version wrote, a sentence each. */
  get ignored(): readonly string[] {
    return this.#ignored;
  }

  /** The static settings that the file has changed: they take effect at the next start. */
  get pending(): readonly string[] {
    return this.#pending;
  }

  /** Calls `listener` after each accepted reload, until the returned function is called. It must not throw. */
  onChange(listener: (current: Settings, previous: Settings) => void): () => void {
    return subscribe(this.#changes, listener);
  }

  /** Calls `listener` when a changed file was refused. */
  onRefused(listener: (error: SettingsError) => void): () => void {
    return subscribe(this.#refusals, listener);
  }

  /** Calls `listener` with `pending` when it has changed. */
  onPending(listener: (keys: string[]) => void): () => void {
    return subscribe(this.#pendings, listener);
  }

  close(): void {
    this.#file?.close();
    this.#changes.clear();
    this.#refusals.clear();
    this.#pendings.clear();
  }

  #read(file: WatchedFile): ReadSettings {
    const { settings, ignored } = readSettings(file.bytes.toString('utf8'), file.path);
    return { settings: this.#overridden(settings), ignored };
  }

  #overridden(settings: Settings): Settings {
    let overridden: Settings;
    try {
      overridden = this.#override(settings);
    } catch (error) {
      throw new SettingsError([error instanceof Error ? error.message : String(error)]);
    }
    return checkSettings(overridden);
  }

  #changed(): void {
    let next: Settings;
    let pending: string[];
    let ignored: readonly string[];
    try {
      const read = this.#read(this.#file!);
      ({ next, pending } = keepStaticSettings(read.settings, this.#current));
      ({ ignored } = read);
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error;
      this.#refuse(error);
      return;
    }
    const previous = this.#current;
    this.#current = frozen(next);
    this.#digest = digestOf(this.#file!.bytes);
    this.#refused = undefined;
    this.#ignored = ignored;
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
