/** What a page passes, refused with a sentence where it can't be used. */
/** What can be listened to as an AbortSignal: those of other realms and of polyfills are no instances of ours. */
export function signalOf(signal: AbortSignal | null | undefined): AbortSignal | undefined {
  if (signal == null) return undefined;
  needed('boolean', 'signal.aborted', signal.aborted);
  needed('function', 'signal.addEventListener', signal.addEventListener);
  return signal;
}

/** @throws TypeError where `value` is not of this type */
export function needed(type: string, name: string, value: unknown): void {
  if (typeof value !== type) throw wrong(name, `of type ${type}`, value);
}

/** The error of who passed `value` as `name`. */
export function wrong(name: string, wanted: string, value: unknown): TypeError {
  const is = typeof value === 'number' ? value : typeof value === 'string' ? JSON.stringify(value) : typeof value;
  return new TypeError(`${name} has to be ${wanted}: it is ${is}.`);
}
