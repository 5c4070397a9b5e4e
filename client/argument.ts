/**
 * What a page passes is refused with a sentence where it can't be used.
 *
 * @throws TypeError where `value` is not of this type
 */
export function needed(type: string, name: string, value: unknown): void {
  if (typeof value !== type) throw wrong(name, `of type ${type}`, value);
}

/** Those of other realms and of polyfills are no instances of ours. @throws TypeError where `signal` can't be listened to */
export function onAbort(signal: AbortSignal, run: () => void): void {
  needed('function', 'signal.addEventListener', signal.addEventListener);
  signal.addEventListener('abort', run);
}

/** The error of who passed `value` as `name`. */
export function wrong(name: string, wanted: string, value: unknown): TypeError {
  const is = typeof value === 'number' ? value : typeof value === 'string' ? JSON.stringify(value) : typeof value;
  return new TypeError(`${name} has to be ${wanted}: it is ${is}.`);
}
