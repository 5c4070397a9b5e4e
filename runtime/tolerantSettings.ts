import { Settings } from '@pushcluster/protocol/settings.ts';
import { isWrittenByOperator } from '@pushcluster/protocol/settingsMark.ts';
import type { z } from 'zod';
import { parseSettings, parseText, SettingsError } from './parseSettings.ts';
import { settingsProblems } from './settingsProblems.ts';
import { valueAt } from './valueAt.ts';

/** Settings, and what was left out of the file to get them, a sentence each. */
export type ReadSettings = { settings: Settings; ignored: string[] };

/**
 * Sections of which nothing is left out: who may connect or push, how traffic is encrypted, whose address a client has,
 * and where the process listens and connects. With a default instead, a process would let in more than it should, or
 * work on its own.
 */
const REQUIRED: readonly string[] = [
  'auth',
  'bus',
  'admin',
  'gateway.host',
  'gateway.port',
  'gateway.tls',
  'gateway.proxyProtocol',
  'gateway.forwardedHeaders',
  'logic.host',
  'logic.port',
  'logic.tls',
  'logic.apiKeys',
  'logic.allowedOrigins',
];

/** Maximum number of rounds: what is left out of the file may make other keys invalid. */
const MAX_ROUNDS = 10;

type Path = readonly PropertyKey[];

/**
 * Settings from the text of a file. One that the operator wrote may be of another version than this process; of any other
 * file, nothing is ignored.
 * @param name names the text in messages about its syntax
 * @throws SettingsError with every problem found
 */
export function readSettings(text: string, name: string): ReadSettings {
  if (!isWrittenByOperator(text)) return { settings: parseSettings(text, name), ignored: [] };
  return tolerantSettings(parseText(text, name));
}

/**
 * Settings from a file of another version: a key that this version does not know, or a value that it does not accept, is
 * left out, so that its default applies. Entries of lists are never left out as a whole, since their order matters.
 * @throws SettingsError with every problem, if something is in REQUIRED or cannot be left out
 */
export function tolerantSettings(input: unknown): ReadSettings {
  const rest: unknown = structuredClone(input);
  const ignored: string[] = [];
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const result = Settings.safeParse(rest, { reportInput: true });
    if (result.success) return { settings: result.data, ignored };
    const { issues } = result.error;
    const problems = issues.flatMap(problemsOf);
    const left = problems.map(({ path }) => removable(rest, path));
    const refused = problems.filter((_, i) => left[i] === undefined);
    if (refused.length > 0) throw new SettingsError(refused.map(({ why }) => why));
    for (const path of left) if (path) remove(rest, path);
    ignored.push(...problems.map(({ why }) => why));
  }
  throw new SettingsError(ignored);
}

/** Without the nearest known key: an unknown one is of another version, not misspelt. */
function problemsOf(issue: z.core.$ZodIssue): { path: Path; why: string }[] {
  if (issue.code !== 'unrecognized_keys')
    return settingsProblems(Settings, [issue]).map((why) => ({ path: issue.path, why }));
  const paths = issue.keys.map((key) => [...issue.path, key]);
  return paths.map((path) => ({ path, why: `${path.map(String).join('.')}: unknown key` }));
}

/** The path to leave out for a problem at `path`: what is there or, if that is missing, the nearest that is around it. */
function removable(input: unknown, path: Path): Path | undefined {
  for (let length = path.length; length > 0; length--) {
    const place = path.slice(0, length);
    if (typeof place.at(-1) !== 'string' || REQUIRED.some((section) => isWithin(place, section.split('.'))))
      return undefined;
    if (valueAt(input, place) !== undefined) return place;
  }
  return undefined;
}

function remove(input: unknown, path: Path): void {
  const parent = valueAt(input, path.slice(0, -1));
  const key = path.at(-1);
  if (typeof parent === 'object' && parent !== null && key !== undefined) Reflect.deleteProperty(parent, key);
}

/** Whether `path` is `section`, below it, or around it. */
function isWithin(path: Path, section: readonly string[]): boolean {
  return section.slice(0, path.length).every((key, i) => path[i] === key);
}
