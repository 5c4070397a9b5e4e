import { type IncomingMessage, ServerResponse } from 'node:http';

/** Bytes of a body that are read and discarded after its response, if the client is still sending. */
export const LINGER_BYTES = 64 * 1024 * 1024;
/** Milliseconds for which they are read. */
export const LINGER_MS = 10_000;

/**
 * A response that ends only after the rest of its request has arrived. Closing a socket that has unread bytes resets it, and
 * the reset discards the response of a client that sends its whole request before it reads. So the response is sent at
 * once, and the rest of the request is read and discarded. Beyond the limits above the connection is cut.
 */
export class LingeringResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  #lingers = false;

  override end(chunk?: unknown, encoding?: unknown, callback?: unknown): this {
    const done = [chunk, encoding, callback].find((argument) => typeof argument === 'function');
    if (this.#lingers || this.req.complete || this.req.destroyed || !hasBody(this.req))
      return this.#end(chunk, encoding, callback);
    this.#lingers = true;
    if (typeof chunk === 'string' || chunk instanceof Uint8Array) {
      if (!this.headersSent && !this.hasHeader('transfer-encoding'))
        this.setHeader('content-length', Buffer.byteLength(chunk));
      this.write(chunk);
    } else {
      this.flushHeaders();
    }
    this.#linger(() => this.#end(done, undefined, undefined));
    return this;
  }

  #end(chunk: unknown, encoding: unknown, callback: unknown): this {
    // The base class resolves its overloads itself.
    return Reflect.apply(super.end, this, [chunk, encoding, callback]);
  }

  #linger(end: () => void) {
    const { req } = this;
    let left = LINGER_BYTES;
    const stop = () => {
      clearTimeout(late);
      req.off('data', count).off('end', stop).off('close', stop);
      end();
    };
    const cut = () => {
      stop();
      req.socket.destroy();
    };
    const count = (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) cut();
    };
    const late = setTimeout(cut, LINGER_MS);
    req
      .on('data', count)
      .on('end', stop)
      .on('close', stop)
      .on('error', () => {});
    req.resume();
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}
