/** What is at `path` inside `value`; undefined if nothing is. An empty path is `value` itself. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let place = value;
  for (const key of path) place = typeof place === 'object' && place !== null ? Reflect.get(place, key) : undefined;
  return place;
}
