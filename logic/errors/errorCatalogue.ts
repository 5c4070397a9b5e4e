/**
 * Every error that the push API answers with: code, HTTP status and title. Programs decide by the code, so a code never
 * changes its meaning or status. Titles are for people.
 */
export const ERROR_CATALOGUE = {
  bad_request: { status: 400, title: 'The request is not valid HTTP' },
  malformed_body: { status: 400, title: 'The body is malformed' },
  invalid_request: { status: 400, title: 'The request does not match its schema' },
  unauthorized: { status: 401, title: 'A valid API key is required' },
  forbidden: { status: 403, title: 'The API key is not allowed to do this' },
  loopback_only: { status: 403, title: 'Without API keys only requests from this machine are served' },
  origin_forbidden: { status: 403, title: 'Pages of this origin are not allowed' },
  not_found: { status: 404, title: 'There is no such route' },
  no_history: { status: 404, title: 'The room has no history' },
  method_not_allowed: { status: 405, title: 'The route does not support this method' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  body_too_large: { status: 413, title: 'The body is too large' },
  too_many_items: { status: 413, title: 'Too many items in one request' },
  too_many_pushes: { status: 413, title: 'Too many pushes in one request' },
  item_too_large: { status: 413, title: 'An item is too large' },
  unsupported_media_type: { status: 415, title: 'The body has an unsupported media type' },
  expectation_failed: { status: 417, title: 'The Expect header is not supported' },
  urgent_rate: { status: 429, title: 'Too many urgent pushes' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  internal: { status: 500, title: 'Internal error' },
  bus_unavailable: { status: 503, title: 'The bus is unavailable: nothing was sent' },
  bus_unconfirmed: { status: 503, title: 'The bus did not confirm: the push may have been delivered' },
  overloaded: { status: 503, title: 'Overloaded' },
} as const;

export type ErrorCode = keyof typeof ERROR_CATALOGUE;
