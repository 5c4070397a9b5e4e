/** Headers of a message that was received. Names are case-sensitive. */
export type BusHeaders = {
  /** The first value of the header; '' if the message has none of this name. */
  get(name: string): string;
  has(name: string): boolean;
  /** Status code of an answer of the server itself, such as NO_RESPONDERS; 0 if there is none. */
  readonly code: number;
  /** Text of the status. */
  readonly description: string;
  /** All names and values. Two texts are equal only if the headers are. */
  toString(): string;
};

/** Status code of the server's answer where nobody subscribes to the subject of a request. */
export const NO_RESPONDERS = 503;

/** Headers to publish with a message, by name: names without colon or white space, values of one line. */
export type PublishedHeaders = Readonly<Record<string, string>>;

/** The line before the headers, and the empty one after them. */
const FRAMING = 'NATS/1.0\r\n\r\n';

/** Bytes of headers, as NATS counts them into a message's size. Throws TypeError if one can't be sent as it is. */
export function headerBytes(headers: PublishedHeaders | undefined): number {
  if (!headers) return 0;
  let size = FRAMING.length;
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[!-9;-~]+$/.test(name)) throw new TypeError(`"${name}" is not the name of a header`);
    if (/[\r\n]/.test(value) || value !== value.trim())
      throw new TypeError(`the value of the header "${name}" must be one line without white space around it`);
    size += name.length + ': \r\n'.length + Buffer.byteLength(value);
  }
  return size;
}
