/**
 * Checks an argument of the SDK's user.
 *
 * @throws TypeError with a sentence that names the argument, if `value` is not of this type
 */
export function needed(type: string, name: string, value: unknown): void {
  if (typeof value !== type) throw wrong(name, `a ${type}`, value);
}

/** As `needed`, where `value` may be absent. */
export function optional(type: string, name: string, value: unknown): void {
  if (value != null) needed(type, name, value);
}

/** Options, or none if they are absent. @throws TypeError if `value` is no object */
export function optionsOf<Options extends object>(name: string, value: Options | null | undefined): Partial<Options> {
  const options = value ?? {};
  if (typeof options !== 'object' || Array.isArray(options)) throw wrong(name, 'an object', options);
  return options;
}

/** A signal of another realm or of a polyfill will do. @throws TypeError if it is none */
export function checkSignal(signal: AbortSignal | null | undefined): void {
  if (signal == null) return;
  needed('boolean', 'signal.aborted', signal.aborted);
  needed('function', 'signal.addEventListener', signal.addEventListener);
  needed('function', 'signal.removeEventListener', signal.removeEventListener);
}

/** The error for an argument `name` that is not as `wanted`, such as "a string". Its cause is what it is. */
export function wrong(name: string, wanted: string, cause: unknown): TypeError {
  return new TypeError(`${name} must be ${wanted}.`, { cause });
}
