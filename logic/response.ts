import { type IncomingMessage, ServerResponse } from 'node:http';

/** Of a body that is still being sent when its answer is there, so many bytes are read and thrown away at most. */
export const LINGER_BYTES = 64 * 1024 * 1024;
/** Milliseconds that this may take. */
export const LINGER_MS = 10_000;

/**
 * A response whose end waits for the rest of the request. Closing a socket while bytes of its peer are unread resets it,
 * and the reset takes the answer away from a client that sends all before it reads. So the answer goes out at once, and
 * what is still coming is read and thrown away, within limits; beyond them the connection is cut.
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
    // The base class sorts its overloads out by itself.
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
