import { Settings } from '@pushcluster/protocol/settings.ts';
import { parseDocument } from 'yaml';
import { settingsProblems } from './settingsProblems.ts';

/** Invalid settings. The message has one problem a line. */
export class SettingsError extends Error {
  override name = 'SettingsError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

/**
 * Settings from YAML or JSON.
 * @param name names the text in messages about its syntax
 * @throws SettingsError with every problem found
 */
export function parseSettings(text: string, name: string): Settings {
  return checkSettings(parseText(text, name));
}

/**
 * What a settings file says, as YAML or JSON; `{}` if it says nothing.
 * @throws SettingsError if the text is neither
 */
export function parseText(text: string, name: string): unknown {
  const document = parseDocument(text, { strict: true, uniqueKeys: true, prettyErrors: true, logLevel: 'error' });
  // The first line says what is wrong and where. The excerpt after it would break "one problem a line".
  const flaws = [...document.errors, ...document.warnings].map((flaw) => `${name}: ${firstLine(flaw.message)}`);
  if (flaws.length > 0) throw new SettingsError(flaws);
  let input: unknown;
  try {
    input = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new SettingsError([`${name}: ${error instanceof Error ? firstLine(error.message) : String(error)}`]);
  }
  return input ?? {};
}

/** `input` as settings, with defaults for what is absent. Throws SettingsError with every problem found. */
export function checkSettings(input: unknown): Settings {
  const result = Settings.safeParse(input, { reportInput: true });
  if (!result.success) throw new SettingsError(settingsProblems(Settings, result.error.issues));
  return result.data;
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0]!.replace(/:$/, '');
}
