import type { IncomingMessage, ServerResponse } from 'node:http';
import { PushRequest } from '@pushcluster/protocol/api.ts';
import type { Caller } from '../access/authorization.ts';
import { Problem } from '../errors/problem.ts';
import { type AdmissionOptions, admit, identify } from '../http/admission.ts';
import { bodyItems, parseBody } from '../http/bodyParsers.ts';
import { type ErrorLog, loggedProblem, PROBLEM_TYPE } from '../http/errorResponse.ts';
import type { Metrics, TargetLabel } from '../metrics.ts';
import { answerPush } from '../publish/pushAnswer.ts';
import type { PushService } from '../publish/pushService.ts';

export type DirectPushOptions = AdmissionOptions & {
  pushes: PushService;
  metrics: Metrics;
  log: ErrorLog;
  /** Largest body in bytes. */
  bodyLimit: number;
  /** Whether each connection is to close after its next response. */
  leaving: () => boolean;
};

const URL = '/v1/push';
const JSON_TYPE = 'application/json';
const JSON_UTF8 = 'application/json; charset=utf-8';

/**
 * `POST /v1/push` ahead of fastify: its request and reply, hooks and content-type parser cost more than the push itself.
 * Takes what backends send: a JSON body of known length, which is not too long. Anything else, and what is refused before
 * its body is read, is left to the route of the same name (v1.ts), which answers alike.
 */
export function directPush(
  options: DirectPushOptions,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  return (request, response) => {
    if (request.url !== URL || request.method !== 'POST' || !hasPlainBody(request, options.bodyLimit)) return false;
    const caller = admittedCaller(request, options);
    if (!caller) return false;
    const push = new DirectPush(request, response, caller, options);
    push.read();
    return true;
  };
}

/** Whether the body is JSON by its type, and neither missing, too long, nor in chunks. */
function hasPlainBody({ headers }: IncomingMessage, bodyLimit: number): boolean {
  const { 'content-type': type, 'content-length': length } = headers;
  if (type !== JSON_TYPE && type !== JSON_UTF8) return false;
  return length !== undefined && length !== '0' && Number(length) <= bodyLimit;
}

/** Who makes the request; undefined if it is refused, or of a page, whose response needs more headers. */
function admittedCaller(request: IncomingMessage, options: AdmissionOptions): Caller | undefined {
  try {
    return admit(request, URL, options) === undefined ? identify(request, options.keys) : undefined;
  } catch {
    return undefined;
  }
}

class DirectPush {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #caller: Caller;
  readonly #options: DirectPushOptions;
  #target: TargetLabel = 'unknown';

  constructor(request: IncomingMessage, response: ServerResponse, caller: Caller, options: DirectPushOptions) {
    this.#request = request;
    this.#response = response;
    this.#caller = caller;
    this.#options = options;
  }

  read() {
    const chunks: Buffer[] = [];
    this.#request
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .on('end', () => void this.#push(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)))
      // The client has left. There is nobody to answer.
      .on('error', ({ message }) => this.#logged(new Problem('bad_request', message)));
  }

  async #push(body: Buffer) {
    const { pushes } = this.#options;
    try {
      const push = parseBody(PushRequest, body);
      this.#target = push.to.type;
      const answer = await answerPush(pushes, this.#caller, push, bodyItems(body));
      this.#answer(answer.status, JSON.stringify(answer.body), { 'content-type': JSON_UTF8 });
    } catch (error) {
      const problem = this.#logged(error);
      this.#answer(problem.status, problem.toJson(), { ...problem.headers, 'content-type': PROBLEM_TYPE });
    }
  }

  #answer(status: number, text: string, headers: Record<string, string>) {
    const { leaving, metrics } = this.#options;
    this.#response
      .writeHead(status, {
        ...(leaving() ? { connection: 'close' } : {}),
        ...headers,
        'content-length': Buffer.byteLength(text),
      })
      .end(text);
    // A client that has left gets no answer.
    if (!this.#response.destroyed) metrics.answered(this.#target, status);
  }

  #logged(error: unknown): Problem {
    const { method, url, socket } = this.#request;
    return loggedProblem(error, { method, url, peer: socket.remoteAddress, caller: this.#caller }, this.#options);
  }
}
