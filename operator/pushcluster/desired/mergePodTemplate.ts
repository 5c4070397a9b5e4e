import { isDeepStrictEqual } from 'node:util';

/**
 * Fields of lists whose entries have keys, as in a strategic merge patch of Kubernetes (`patchMergeKey`, and the list
 * keys of server-side apply). Kubernetes replaces other lists.
 */
const KEYS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    containers: ['name'],
    initContainers: ['name'],
    env: ['name'],
    ports: ['containerPort', 'protocol'],
    volumes: ['name'],
    volumeMounts: ['mountPath'],
    volumeDevices: ['devicePath'],
    imagePullSecrets: ['name'],
    hostAliases: ['ip'],
    sysctls: ['name'],
    topologySpreadConstraints: ['topologyKey', 'whenUnsatisfiable'],
    resourceClaims: ['name'],
    schedulingGates: ['name'],
  }),
);
/** Lists to which entries are added: tolerations have no key, and each allows more nodes. */
const ADDED_TO: ReadonlySet<string> = new Set(['tolerations']);
/** What Kubernetes sets if a key is missing. */
const KEY_DEFAULTS: ReadonlyMap<string, string> = new Map([['protocol', 'TCP']]);

/**
 * `given` merged over `made`, both pod templates or parts of one. Values of `given` take precedence; null removes what
 * `made` has. Entries of lists are merged by their key, and new ones follow those of `made`. The arguments stay as they
 * are.
 */
export function mergePodTemplate<T extends object>(made: T, given: object | undefined): T {
  return given === undefined ? made : (mergedValue(made, given, '') as T);
}

function mergedValue(made: unknown, given: unknown, field: string): unknown {
  if (Array.isArray(given)) return mergedList(Array.isArray(made) ? made : [], given, field);
  if (!isRecord(given)) return given;
  const merged: Record<string, unknown> = isRecord(made) ? { ...made } : {};
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    if (value === null) delete merged[name];
    else merged[name] = mergedValue(merged[name], value, name);
  }
  return merged;
}

function mergedList(made: readonly unknown[], given: readonly unknown[], field: string): unknown[] {
  const entries = given.map((entry) => mergedValue(undefined, entry, ''));
  if (ADDED_TO.has(field))
    return [...made, ...entries.filter((entry) => !made.some((each) => isDeepStrictEqual(each, entry)))];
  const keys = KEYS.get(field);
  if (keys === undefined) return entries;
  const merged = new Map(made.map((entry) => [keyOf(entry, keys), entry]));
  given.forEach((entry) => {
    const key = keyOf(entry, keys);
    merged.set(key, mergedValue(merged.get(key), entry, ''));
  });
  return [...merged.values()];
}

function keyOf(entry: unknown, keys: readonly string[]): string {
  return JSON.stringify(keys.map((key) => (isRecord(entry) ? entry[key] : undefined) ?? KEY_DEFAULTS.get(key) ?? null));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
