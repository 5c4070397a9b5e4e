import { BusOverloaded, BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';

/**
 * Every error that the push API answers with: one catalogue. A code never changes its meaning; titles are for people.
 * `/docs` lists it.
 */
export const CATALOGUE = {
  bad_request: { status: 400, title: 'The request is not valid HTTP' },
  malformed_body: { status: 400, title: 'The body is malformed' },
  invalid_request: { status: 400, title: 'The request does not fit its schema' },
  unauthorized: { status: 401, title: 'A valid API key is needed' },
  forbidden: { status: 403, title: 'This key may not do that' },
  loopback_only: { status: 403, title: 'Without API keys only this machine is served' },
  origin_forbidden: { status: 403, title: 'Pages of this origin are not allowed' },
  not_found: { status: 404, title: 'There is no such route' },
  method_not_allowed: { status: 405, title: 'This route does not have that method' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  body_too_large: { status: 413, title: 'The body is too large' },
  too_many_items: { status: 413, title: 'Too many items in one request' },
  item_too_large: { status: 413, title: 'An item is too large' },
  unsupported_media_type: { status: 415, title: 'The body is of the wrong type' },
  expectation_failed: { status: 417, title: 'The server can not do what Expect asks for' },
  urgent_rate: { status: 429, title: 'Too many urgent pushes' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  internal: { status: 500, title: 'The server made a mistake' },
  bus_unavailable: { status: 503, title: 'The bus is away: nothing was sent' },
  bus_unconfirmed: { status: 503, title: 'The bus did not confirm: it may have been delivered' },
  overloaded: { status: 503, title: 'Too much is under way' },
} as const;

export type ProblemCode = keyof typeof CATALOGUE;

/** One place in the request that is wrong: in the body (a JSON pointer as a fragment, such as `#/items/17`), or a parameter. */
export type Complaint = ({ pointer: string } | { parameter: string }) & { detail: string };

/** An error with a code of the catalogue, to be answered as it is. `detail` says what is wrong and what to do. */
export class Problem extends Error {
  override name = 'Problem';
  readonly code: ProblemCode;
  readonly errors: Complaint[] | undefined;
  readonly headers: Record<string, string>;

  constructor(
    code: ProblemCode,
    detail: string,
    more: { errors?: Complaint[]; headers?: Record<string, string> } = {},
  ) {
    super(detail);
    this.code = code;
    this.errors = more.errors;
    this.headers = more.headers ?? {};
  }

  get status(): number {
    return CATALOGUE[this.code].status;
  }

  /** The document of RFC 9457, as JSON text. */
  toJson(): string {
    const { status, title } = CATALOGUE[this.code];
    return JSON.stringify({
      type: `/docs#${this.code}`,
      title,
      status,
      code: this.code,
      detail: this.message,
      ...(this.errors ? { errors: this.errors } : {}),
    });
  }
}

/** `Retry-After` of `seconds` and up to two more, so that those refused together don't come back together. */
export function retryAfter(seconds: number, random: () => number = Math.random): Record<string, string> {
  return { 'retry-after': String(Math.max(1, Math.ceil(seconds)) + Math.floor(random() * 3)) };
}

/** The problem that answers `error`, whatever was thrown. @param bodyLimit bytes */
export function problemOf(error: unknown, bodyLimit: number): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof BusOverloaded)
    return new Problem('overloaded', 'Too much is on its way to the bus; nothing of this was sent. Try again.', {
      headers: retryAfter(1),
    });
  if (error instanceof BusUnavailable)
    return new Problem('bus_unavailable', 'The bus is away; nothing was sent and nothing will be. Try again.', {
      headers: retryAfter(1),
    });
  if (error instanceof BusUnconfirmed)
    return new Problem(
      'bus_unconfirmed',
      'The connection to the bus broke before it confirmed: the items may or may not have been delivered. A retry with the same id is harmless.',
      { headers: retryAfter(1) },
    );
  return problemOfFramework(error, bodyLimit);
}

function problemOfFramework(error: unknown, bodyLimit: number): Problem {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  const detail = error instanceof Error ? error.message : String(error);
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new Problem('body_too_large', `The body is over the limit of ${bodyLimit} bytes. Split the push.`);
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new Problem('unsupported_media_type', 'This route does not take this Content-Type.');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new Problem('bad_request', 'The body is not as long as Content-Length says.');
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new Problem('bad_request', 'The path is not valid percent-encoded UTF-8, or a name in it is too long.');
  }
  if (typeof status === 'number' && status >= 400 && status < 500) return new Problem('bad_request', detail);
  return new Problem('internal', 'Something went wrong in the server; its log says what.');
}
