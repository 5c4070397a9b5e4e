import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { Problem } from './problems.ts';
import { LINGER_BYTES, LINGER_MS } from './response.ts';

export type BrokenRequestsOptions = {
  /** Milliseconds within which a request arrives whole. */
  requestTimeout: number;
  /** Headers that an answer to this request has besides. */
  headers: (request: IncomingMessage) => Record<string, string>;
};

type Connection = {
  /** Not yet answered, in order. */
  open: ServerResponse[];
  /** It ends with an answer of ours: bytes that are read until then at most. */
  endsAt?: number;
};

/** Answers on the bare socket what node can't make a request of: what isn't HTTP, arrives too slowly, or is CONNECT. */
export class BrokenRequests {
  readonly #options: BrokenRequestsOptions;
  readonly #connections = new WeakMap<Duplex, Connection>();

  constructor(options: BrokenRequestsOptions) {
    this.#options = options;
  }

  /** Follows the requests of `server`, before anyone else hears of them. */
  watch(server: Server) {
    server.prependListener('request', ({ socket }, response) => {
      const { open } = this.#connectionOf(socket);
      open.push(response);
      response.once('close', () => open.splice(open.indexOf(response), 1));
    });
    server.on('connect', (request, socket) => {
      socket.on('error', () => {});
      const allow = 'GET, HEAD, POST, OPTIONS';
      const problem = new Problem('method_not_allowed', 'This is no proxy.', { headers: { allow } });
      this.#answer(socket, problem, request);
      socket.resume();
    });
  }

  /** Node could not go on with what came. */
  refuse(error: Error & { code?: string }, socket: Duplex & { bytesRead?: number }) {
    if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return;
    const connection = this.#connectionOf(socket);
    const read = socket.bytesRead ?? 0;
    if (connection.endsAt !== undefined) {
      // Told of each further chunk, since the parser has given up.
      if (read > connection.endsAt) socket.destroy();
      return;
    }
    connection.endsAt = read + LINGER_BYTES;
    const problem = problemOf(error, this.#options.requestTimeout);
    void this.#answerInTurn(connection, socket, problem);
  }

  /** What came whole before is answered first, or its answer would be taken for this one's. */
  async #answerInTurn({ open }: Connection, socket: Duplex, problem: Problem) {
    const broken = open.find(({ req }) => !req.complete);
    for (;;) {
      const earlier = open.find((response) => response !== broken);
      if (!earlier) break;
      await new Promise<void>((resolve) => earlier.once('close', resolve));
    }
    if (socket.destroyed || !socket.writable) return;
    // It has its answer: this was the rest of its body.
    if (broken?.headersSent) this.#end(socket, '');
    else this.#answer(socket, problem, broken?.req);
  }

  #answer(socket: Duplex, problem: Problem, request: IncomingMessage | undefined) {
    const body = problem.toJson();
    const headers = {
      ...problem.headers,
      ...(request ? this.#options.headers(request) : {}),
      'content-type': 'application/problem+json',
      'content-length': String(Buffer.byteLength(body)),
      connection: 'close',
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#end(socket, `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${lines.join('')}\r\n${body}`);
  }

  #end(socket: Duplex, text: string) {
    socket.end(text);
    // Not destroyed yet: a reset would take the answer away from a client that is still sending.
    const late = setTimeout(() => socket.destroy(), LINGER_MS);
    socket.once('close', () => clearTimeout(late));
  }

  #connectionOf(socket: Duplex): Connection {
    let connection = this.#connections.get(socket);
    if (!connection) {
      connection = { open: [] };
      this.#connections.set(socket, connection);
    }
    return connection;
  }
}

function problemOf(error: Error & { code?: string }, requestTimeout: number): Problem {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Problem('request_timeout', `The request did not arrive within ${requestTimeout / 1_000} s.`);
    case 'HPE_HEADER_OVERFLOW':
      return new Problem('headers_too_large', 'The headers are over 16 KiB.');
    default:
      return new Problem('bad_request', 'This is not a valid HTTP/1.1 request.');
  }
}
