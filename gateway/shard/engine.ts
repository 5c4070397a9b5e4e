/**
 * What this gateway uses of the WebSocket engine, as interfaces: listener.ts alone imports the engine, and everything else
 * can be tested without it.
 */

/** One WebSocket. After its close every method throws. */
export interface Socket {
  /** Answers SENT, 0 (it waits in the socket's buffer) or DROPPED. */
  send(message: string | Uint8Array | ArrayBuffer, isBinary?: boolean, compress?: boolean): number;
  /** Sends a close frame after what waits. */
  end(code?: number, reason?: string): void;
  /** Closes at once, without a close frame. */
  close(): void;
  /** Bytes that wait for the peer in this process. */
  getBufferedAmount(): number;
}

/** Verdicts of `send`. DROPPED: the buffer is over its limit. */
export const SENT = 1;
export const DROPPED = 2;

/** Valid until the handler that got it returns. */
export interface HttpRequest {
  /** @param name in lower case @returns '' if there is none; of several lines with this name the first */
  getHeader(name: string): string;
  getQuery(name: string): string | undefined;
  getMethod(): string;
  getUrl(): string;
  /** Visits every line of the header. */
  forEach(visit: (name: string, value: string) => void): void;
}

/** Valid until it is answered or aborted. One that is not answered at once needs `onAborted`. */
export interface HttpResponse {
  cork(write: () => void): unknown;
  writeStatus(status: string): unknown;
  writeHeader(name: string, value: string): unknown;
  end(body: string | Uint8Array, closesConnection?: boolean): unknown;
  endWithoutBody(contentLength: number, closesConnection?: boolean): unknown;
  onData(received: (chunk: ArrayBuffer, isLast: boolean) => void): unknown;
  onAborted(aborted: () => void): unknown;
  getRemoteAddressAsText(): ArrayBuffer;
  upgrade<T>(userData: T, key: string, protocol: string, extensions: string, context: UpgradeContext): void;
}

/** The engine's own; only handed back to it. */
export type UpgradeContext = object;

const decoder = new TextDecoder();

/** The address of the peer that the engine sees. */
export function peerAddress(response: Pick<HttpResponse, 'getRemoteAddressAsText'>): string {
  return decoder.decode(response.getRemoteAddressAsText());
}
