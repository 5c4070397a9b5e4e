/**
 * Checks an argument of the SDK's user.
 *
 * @throws TypeError with a sentence that names the argument, if `value` is not of this type
 */
export function needed(type: string, name: string, value: unknown): void {
  if (typeof value !== type) throw wrong(name, `a ${type}`, value);
}

/** Runs `run` when `signal` aborts. A signal of another realm or of a polyfill will do. @throws TypeError if it is no signal */
export function onAbort(signal: AbortSignal, run: () => void): void {
  needed('function', 'signal.addEventListener', signal.addEventListener);
  signal.addEventListener('abort', run);
}

/** The error for an argument `name` that is not as `wanted`, such as "a string". */
export function wrong(name: string, wanted: string, value: unknown): TypeError {
  const is = typeof value === 'number' ? value : typeof value === 'string' ? JSON.stringify(value) : typeof value;
  return new TypeError(`${name} must be ${wanted}, not ${is}.`);
}
