import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { LINGER_BYTES, LINGER_MS } from '@pushcluster/runtime/lingeringResponse.ts';
import { Problem } from '../errors/problem.ts';
import { PROBLEM_TYPE } from './errorResponse.ts';

export type MalformedRequestsOptions = {
  /** Milliseconds that a request may take to arrive. */
  requestTimeout: number;
  /** Further headers of the response to this request. */
  headers: (request: IncomingMessage) => Record<string, string>;
};

type Connection = {
  /** Responses that are not finished yet, in order. */
  open: ServerResponse[];
  /** Set once the connection is to end: it is cut when more bytes than this were read. */
  endsAt?: number;
};

/** Answers on the bare socket what Node can't parse into a request: bytes that are not HTTP, requests too slow, and CONNECT. */
export class MalformedRequests {
  readonly #options: MalformedRequestsOptions;
  readonly #connections = new WeakMap<Duplex, Connection>();

  constructor(options: MalformedRequestsOptions) {
    this.#options = options;
  }

  /** Follows the requests of `server`, ahead of its other listeners. */
  watch(server: Server) {
    server.prependListener('request', ({ socket }, response) => {
      const { open } = this.#connectionOf(socket);
      open.push(response);
      response.once('close', () => open.splice(open.indexOf(response), 1));
    });
    server.on('connect', (request, socket) => {
      socket.on('error', () => {});
      const allow = 'GET, HEAD, POST, OPTIONS';
      const problem = new Problem('method_not_allowed', 'CONNECT is not supported: this server is not a proxy.', {
        headers: { allow },
      });
      this.#answer(socket, problem, request);
      socket.resume();
    });
  }

  /** Node could not parse what arrived on `socket`. */
  refuse(error: Error & { code?: string }, socket: Duplex & { bytesRead?: number }) {
    if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return;
    const connection = this.#connectionOf(socket);
    const read = socket.bytesRead ?? 0;
    if (connection.endsAt !== undefined) {
      // Node reports each further chunk, since its parser has given up.
      if (read > connection.endsAt) socket.destroy();
      return;
    }
    connection.endsAt = read + LINGER_BYTES;
    const problem = translateParserError(error, this.#options.requestTimeout);
    void this.#answerInTurn(connection, socket, problem);
  }

  /** Requests that arrived before are answered first: a client matches responses to requests by their order. */
  async #answerInTurn({ open }: Connection, socket: Duplex, problem: Problem) {
    const malformed = open.find(({ req }) => !req.complete);
    for (;;) {
      const earlier = open.find((response) => response !== malformed);
      if (!earlier) break;
      await new Promise<void>((resolve) => earlier.once('close', resolve));
    }
    if (socket.destroyed || !socket.writable) return;
    // This request has its response already: what failed was the rest of its body.
    if (malformed?.headersSent) this.#end(socket, '');
    else this.#answer(socket, problem, malformed?.req);
  }

  #answer(socket: Duplex, problem: Problem, request: IncomingMessage | undefined) {
    const body = problem.toJson();
    const headers = {
      ...problem.headers,
      ...(request ? this.#options.headers(request) : {}),
      'content-type': PROBLEM_TYPE,
      'content-length': String(Buffer.byteLength(body)),
      connection: 'close',
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#end(socket, `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\n${lines.join('')}\r\n${body}`);
  }

  #end(socket: Duplex, text: string) {
    socket.end(text);
    // Not destroyed yet: a reset would discard the response if the client is still sending.
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

function translateParserError(error: Error & { code?: string }, requestTimeout: number): Problem {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Problem('request_timeout', `The request did not arrive within ${requestTimeout / 1_000} seconds.`);
    case 'HPE_HEADER_OVERFLOW':
      return new Problem('headers_too_large', 'The headers are larger than 16 KiB.');
    default:
      return new Problem('bad_request', 'This is not a valid HTTP/1.1 request.');
  }
}
